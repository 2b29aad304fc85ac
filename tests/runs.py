"""Small runs, with training and without, and what makes two of them the same."""

from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from processes import metrics

from mv2mae_jax.training.checkpoints import Checkpoints, load_parameters
from mv2mae_jax.training.parameters import Parameters

SMALL = (
    "--config.data.image_size=16",
    "--config.data.num_frames=4",
    "--config.model.patch_size=(2,8,8)",
    "--config.batch_size=8",
    "--config.epochs=6",
    "--config.log_every=1",
    "--config.checkpoint_every=3",
    "--config.optimizer.warmup_epochs=1.0",
    "--config.probe.every_epochs=2.0",
    "--config.pictures_every_epochs=0.0",
    "--config.probe.train_videos=24",
    "--config.probe.test_videos=12",
)
STEPS = 18  # 24 activities, 6 epochs in batches of 8
MEASURED = ("loss", "self_view", "cross_view", "masked_motion", "effective_patches", "epoch")
PROBES = ("probe_tokens", "probe_logistic", "probe_knn")


def flags(data_dir: Path, workdir: Path, *overrides: str, variant: str = "pretrain") -> list[str]:
    where = (f"--config.data.data_dir={data_dir}", f"--workdir={workdir}")
    return [f"--config=configs/mannequin.py:{variant}", *where, *SMALL, *overrides]


def save_run(workdir: Path, config: ConfigDict, parameters: Parameters) -> None:
    """Makes the work directory of a run, with nothing in it but a checkpoint of step 1."""
    with Checkpoints(workdir) as checkpoints:
        checkpoints.save(1, {"parameters": parameters}, config)


def assert_same_run(workdir: Path, expected: Path) -> None:
    """The same samples, masks, losses and probes step by step; in the end the same parameters."""
    lines, others = metrics(workdir), metrics(expected)
    assert [x["step"] for x in lines] == [x["step"] for x in others] == list(range(1, STEPS + 1))
    for name in MEASURED:
        values = [[x[name] for x in run] for run in (lines, others)]
        np.testing.assert_allclose(*values, rtol=2e-5, err_msg=name)
    probed = [
        [(x["step"], *(x[p] for p in PROBES)) for x in run if PROBES[0] in x]
        for run in (lines, others)
    ]
    assert probed[0] == probed[1] and [x[0] for x in probed[0]] == [6, 12, 18]
    parameters, others = load_parameters(workdir)[0], load_parameters(expected)[0]
    for name, value in others.items():
        # Adam turns rounding of tiny gradients into steps of its own size: few, and bounded.
        difference = np.abs(parameters[name] - value)
        assert difference.max() < 1e-3 and np.mean(difference > 1e-5) < 0.01, name
