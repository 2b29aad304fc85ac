"""What the source view tells is read off the training's own loss, on the same masks."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict
from runs import save_run

from benchmarks import source_view
from configs.mannequin import get_config
from mv2mae_jax.data import loader
from mv2mae_jax.losses import pretraining_loss
from mv2mae_jax.model import build
from mv2mae_jax.training.parameters import split
from mv2mae_jax.training.step import sample_keys


@pytest.fixture
def config(mannequin_dir: Path) -> ConfigDict:
    config = get_config()
    config.data.data_dir = str(mannequin_dir)
    config.data.image_size, config.data.num_frames = 16, 4
    config.data.repeats = 2  # two crops of an activity would be beside each other
    config.model.patch_size = (2, 8, 8)
    return config


def measured(*words: object) -> int:
    return source_view.main(list(map(str, words)))


def test_losses_are_those_of_training(config: ConfigDict, tmp_path: Path, capsys):
    random = np.random.default_rng(0)
    definition, parameters = split(build.pretraining_model(config, nnx.Rngs(0)))
    for name, value in parameters.items():  # so large that the source matters
        parameters[name] = value + jnp.float32(0.2 * random.normal(size=value.shape))
    save_run(tmp_path / "run", config, parameters)
    flags = ("--batches", 2, "--batch-size", 4, "--json", tmp_path / "told.json")
    assert not measured("--workdir", tmp_path / "run", "--data-dir", config.data.data_dir, *flags)

    config.data.repeats, config.batch_size, config.seed = 1, 4, source_view.SEED
    model, rows = definition.bind(parameters), []
    with loader.pretraining_batches(config) as batches:
        for batch in (next(batches), next(batches)):
            keys, clips = sample_keys(config.seed, batch["index"]), batch["clips"]
            of_others = np.stack([clips[:, 0], clips[[3, 0, 1, 2], 1]], axis=1)
            _, own = pretraining_loss(config, model, {"clips": jnp.array(clips)}, keys)
            _, another = pretraining_loss(config, model, {"clips": jnp.array(of_others)}, keys)
            alone, crossed, same, crossed_another = (
                float(metrics[f"{name}_view_target"])
                for metrics in (own, another)
                for name in ("self", "cross")
            )
            assert alone == pytest.approx(same, rel=1e-5)
            assert crossed != pytest.approx(crossed_another, rel=1e-3)
            rows.append([alone, crossed, crossed_another])
    alone, crossed, another = np.array(rows).T
    expected = {
        "self_view": alone,
        "cross_view": crossed,
        "less": 100 * (alone - crossed) / alone.mean(),
        "another_more": 100 * (another - crossed) / crossed.mean(),
    }
    (told,) = json.loads((tmp_path / "told.json").read_text())["runs"].values()
    printed = capsys.readouterr().out
    for name, (first, second) in expected.items():  # of two numbers the error is half of |a - b|
        by_hand = ((first + second) / 2, abs(first - second) / 2)
        assert told[name] == pytest.approx(by_hand, rel=1e-3, abs=1e-5)
    assert "{:.5f} ± {:.5f}".format(*told["cross_view"]) in printed
    assert "{:.2f} ± {:.2f}".format(*told["another_more"]) in printed


def test_what_cannot_be_measured_is_one_line(config: ConfigDict, tmp_path: Path, capsys):
    config.objective.cross_view = 0.0
    save_run(tmp_path / "alone", config, split(build.pretraining_model(config, nnx.Rngs(0)))[1])
    for run, message in (("none", "has no checkpoints; "), ("alone", "has no cross-view decoder")):
        assert measured("--workdir", tmp_path / run, "--data-dir", config.data.data_dir) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: {tmp_path / run} {message}")
    with pytest.raises(SystemExit) as stopped:
        measured("--workdir", tmp_path, "--data-dir", tmp_path, "--batch-size", 1)
    assert stopped.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.endswith("argument --batch-size: '1' is not a number from 2 to 1000000")
