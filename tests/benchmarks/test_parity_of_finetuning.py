"""The benchmark of parity finds both frameworks equal, and fails where they are not."""

import json
import math
from pathlib import Path

import jax.numpy as jnp
import pytest
from flax import nnx
from runs import save_run

from benchmarks import finetuning_parity as benchmark
from configs.base import get_config
from mv2mae_jax.model import build
from mv2mae_jax.training.parameters import split


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> Path:
    """A work directory whose encoder has other random values than the benchmark's own."""
    config = get_config()
    config.model.variant = "mini"
    _, parameters = split(build.pretraining_model(config, nnx.Rngs(1)))
    workdir = tmp_path_factory.mktemp("pretrain")
    save_run(workdir, config, parameters)
    return workdir


@pytest.fixture
def words(mannequin_dir, pretrained, tmp_path) -> list[str]:
    small = ["--variant=mini", "--image-size=32", "--frames=4", "--batch=4", "--steps=3"]
    return [
        *(*small, f"--data-dir={mannequin_dir}", f"--checkpoint={pretrained}"),
        f"--json={tmp_path / 'parity.json'}",
    ]


@pytest.fixture(scope="module")
def trained() -> list:
    """What `train_with_jax` gave."""
    return []


@pytest.fixture(autouse=True)
def train_once(trained, monkeypatch):
    """JAX's side is the same in both tests: it is compiled and run once."""
    train = benchmark.train_with_jax

    def once(*arguments):
        if not trained:
            trained.append(train(*arguments))
        return trained[0]

    monkeypatch.setattr(benchmark, "train_with_jax", once)


def test_steps_are_pytorchs(words, pretrained, tmp_path, capsys):
    assert benchmark.main(words) == 0
    report = json.loads((tmp_path / "parity.json").read_text())
    assert report["largest_loss_difference"] < 1e-4 and report["largest_logit_difference"] < 1e-4
    assert report["held_out_clips"] == 4 and report["largest_logit"] > 1e-2
    losses = report["loss"]["jax"]
    assert len(set(losses)) == len(report["loss"]["pytorch"]) == 3  # it does train
    printed = capsys.readouterr().out
    assert f"tensors taken from {pretrained}" in printed
    assert all(f"{loss:.6f}" in printed for loss in losses)


def test_what_differs_is_found(words, tmp_path, monkeypatch, capsys):
    """Colours in the other order: the same sizes, other numbers."""
    right = benchmark.common.export_parameters

    def mistaken(config, parameters, folder: Path) -> Path:
        colours = jnp.reshape(parameters["encoder.embed.kernel"], (-1, 3, 128))
        other = {"encoder.embed.kernel": colours[:, ::-1].reshape(-1, 128)}
        return right(config, parameters | other, folder)

    monkeypatch.setattr(benchmark.common, "export_parameters", mistaken)
    assert benchmark.main(words) == 1
    assert "error: the largest loss difference is" in capsys.readouterr().err
    assert (tmp_path / "parity.json").exists()


@pytest.mark.parametrize(
    ("loss", "logit", "message"),
    [
        (1e-3, 1e-2, ""),
        (1.1e-3, 0.0, "the largest loss difference is 1.1e-03, more than 0.001"),
        (0.0, 0.02, "the largest logit difference is 2.0e-02, more than 0.01"),
        (math.nan, 0.0, "the largest loss difference is nan, more than 0.001"),
    ],
)
def test_bounds(loss, logit, message):
    report = {"largest_loss_difference": loss, "largest_logit_difference": logit}
    assert benchmark.wrong(report) == message
