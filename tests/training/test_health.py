"""Numbers that are not finite: the first is named, the run ends with one line and can go on."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict

from configs.mannequin import get_config
from mv2mae_jax.learner import learner_of
from mv2mae_jax.model import build
from mv2mae_jax.training.checkpoints import load_parameters
from mv2mae_jax.training.health import first_nonfinite
from mv2mae_jax.training.parameters import split
from mv2mae_jax.training.sharding import make_mesh
from mv2mae_jax.training.step import Learner


class Root(nnx.Module):
    def __init__(self, rngs: nnx.Rngs | None = None):
        self.value = nnx.Param(jnp.ones(()))


def root_loss(model: Root, batch: dict, keys):
    """The gradient is infinite where x is 0, the loss where x is negative is not a number."""
    value = jnp.sqrt(model.value[...] * batch["x"]).mean()
    return value, {"root": value}


@pytest.mark.parametrize(
    ("x", "name"),
    [
        ([1.0, 2.0, 3.0, 4.0], None),
        ([1.0, 0.0, 3.0, 4.0], "value (gradient)"),
        ([1.0, 0.0, 3.0, -4.0], "root"),  # all four are one micro-batch
        ([1.0, np.inf, 3.0, 4.0], "x (batch)"),
    ],
)
def test_order_of_search(x: list[float], name: str | None):
    definition, parameters = split(Root())
    batch = {"x": jnp.array(x), "index": jnp.arange(4)}
    search = partial(
        first_nonfinite, definition, Learner(Root, root_loss), seed=0, mesh=make_mesh(1)
    )
    assert search(parameters, batch, accumulation=1) == name


def test_the_first_micro_batch_counts():
    definition, parameters = split(Root())
    batch = {"x": jnp.array([1.0, 0.0, -3.0, 4.0]), "index": jnp.arange(4)}
    search = partial(
        first_nonfinite, definition, Learner(Root, root_loss), seed=0, mesh=make_mesh(1)
    )
    assert search(parameters, batch, accumulation=2) == "root"  # samples 0 and 2, then 1 and 3
    assert search(parameters, batch, accumulation=4) == "value (gradient)"


def test_gradients_of_what_does_not_train_are_not_looked_at():
    definition, parameters = split(Root())
    frozen = Learner(Root, root_loss, lambda parameters: {})
    batch = {"x": jnp.array([1.0, 0.0]), "index": jnp.arange(2)}
    search = partial(first_nonfinite, definition, seed=0, accumulation=1, mesh=make_mesh(1))
    assert search(Learner(Root, root_loss), parameters, batch) == "value (gradient)"
    assert search(frozen, parameters, batch) is None


def test_memory_that_does_not_suffice_to_look_does_not_hide_the_failure(
    caplog: pytest.LogCaptureFixture,
):
    """A step's own error is what the run ends with; its cure may be set only once it is told."""

    def loss(model: Root, batch: dict, keys):
        many = jnp.broadcast_to(batch["x"], (2**22, 2)) * model.value[...]
        return jnp.square(many @ many.T).mean(), {}

    definition, parameters = split(Root())
    batch = {"x": jnp.array([1.0, 0.0]), "index": jnp.arange(2)}
    learner = Learner(Root, loss)
    mesh = make_mesh(1)
    search = partial(first_nonfinite, definition, learner, seed=0, accumulation=1, mesh=mesh)
    assert search(parameters, batch) is None
    assert "cannot be found out: Out of memory allocating" in caplog.text


def small_config(**model) -> ConfigDict:
    config = get_config()
    config.data.image_size, config.data.num_frames = 16, 4
    config.model.patch_size = (2, 8, 8)
    config.model.update(model)
    return config


@pytest.mark.parametrize(
    ("poisoned", "scale", "remat", "suffix"),
    [
        ("encoder.blocks.2.mlp.up", jnp.nan, False, ".kernel (parameter)"),
        ("encoder.blocks.2.mlp.up", 3e38, True, " (output)"),
        ("cross_view_decoder.blocks.0.cross_attention.value", 3e38, False, " (output)"),
    ],
)
def test_first_tensor_of_the_model(poisoned: str, scale: float, remat: bool, suffix: str):
    """A kernel of up to `scale`: its products overflow."""
    config = small_config(remat=remat)
    definition, parameters = split(build.pretraining_model(config, nnx.Rngs(0)))
    kernel = parameters[f"{poisoned}.kernel"]
    parameters[f"{poisoned}.kernel"] = scale * (kernel / jnp.abs(kernel).max())
    clips = np.random.default_rng(0).integers(0, 256, (2, 2, 4, 16, 16, 3)).astype(np.uint8)
    found = first_nonfinite(
        definition,
        learner_of(config),
        parameters,
        {"clips": jnp.array(clips), "index": jnp.arange(2)},
        seed=0,
        accumulation=1,
        mesh=make_mesh(1),
    )
    assert found == poisoned + suffix


def run(workdir: Path, data_dir: Path, *overrides: str) -> subprocess.CompletedProcess:
    small = (
        "--config.data.image_size=32",
        "--config.data.num_frames=4",
        "--config.model.patch_size=(2,16,16)",
        "--config.batch_size=8",
        "--config.epochs=3",
        "--config.log_every=5",
        "--config.pictures_every_epochs=0.0",
        f"--config.data.data_dir={data_dir}",
    )
    flags = ("--config=configs/mannequin.py", f"--workdir={workdir}", *small, *overrides)
    words = [sys.executable, "-m", "mv2mae_jax.main", *flags]
    return subprocess.run(words, capture_output=True, text=True)


def test_a_run_that_diverges_says_so_and_goes_on_from_before(mannequin_dir: Path, tmp_path: Path):
    workdir = tmp_path / "run"
    # The rate is 0 in the first step and beyond float32 after it.
    absurd = run(workdir, mannequin_dir, "--config.optimizer.base_learning_rate=1e24")
    assert absurd.returncode == 1
    error = absurd.stderr.splitlines()
    assert len(error) == 1
    assert "step 2 met numbers that are not finite, first in update_norm" in error[0]
    assert "checkpoint 1" in error[0]

    report = json.loads((workdir / "nonfinite.json").read_text())
    assert report["step"] == 2
    assert report["tensor"] == "update_norm"
    assert len(set(report["batch"])) == 8
    assert ", ".join(report["batch"][:4]) + ", ... (8 in all" in error[0]
    assert report["metrics"]["parameter_norm"] == "inf"
    assert 0 < report["metrics"]["gradient_norm"] < 100
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1]

    assert [path.name for path in (workdir / "checkpoints").iterdir()] == ["1"]
    parameters, config = load_parameters(workdir)
    for name, initial in split(build.pretraining_model(config, nnx.Rngs(0)))[1].items():
        np.testing.assert_allclose(parameters[name], initial, rtol=1e-6, atol=1e-7, err_msg=name)

    sane = ("--config.optimizer.base_learning_rate=0.05", "--config.optimizer.clip_norm=1.0")
    cured = run(workdir, mannequin_dir, *sane)
    assert cured.returncode == 0, cured.stderr
    assert "from step 1 of 9" in cured.stdout
    lines = [json.loads(x) for x in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 5, 9]
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert not (workdir / "nonfinite.json").exists()
