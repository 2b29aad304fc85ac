"""Probes of an encoder that was trained on other data."""

from pathlib import Path

import pytest
from flax import nnx

from configs.mannequin import get_config
from mv2mae_jax.errors import InputError
from mv2mae_jax.model import build
from mv2mae_jax.run_files import read_probe, read_probe_predictions
from mv2mae_jax.tasks.probe import probe
from mv2mae_jax.training.checkpoints import Checkpoints
from mv2mae_jax.training.parameters import split


def test_videos_of_one_class_are_refused(mannequin_dir: Path, tmp_path: Path):
    config = get_config("probe")
    config.data.data_dir = str(mannequin_dir)
    config.probe.train_videos = 1
    _, parameters = split(build.pretraining_model(config, nnx.Rngs(0)))
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(1, {"parameters": parameters}, config)
    with pytest.raises(InputError, match=r"the 1 training videos .* of one class"):
        probe(config, tmp_path)


def test_weights_from_elsewhere_are_probed_on_the_data_that_the_config_names(
    mannequin_dir: Path, tmp_path: Path
):
    config = get_config("probe,protocol=xsub")
    config.data.data_dir = str(mannequin_dir)
    config.data.num_frames, config.data.image_size = 4, 28
    trained = config.copy_and_resolve_references()
    trained.data.dataset = trained.data.protocol = ""  # as of imported weights
    _, parameters = split(build.pretraining_model(config, nnx.Rngs(0)))
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(1, {"parameters": parameters}, trained)
    probe(config, tmp_path)
    found = read_probe(tmp_path)
    assert (found["dataset"], found["protocol"], found["split"]) == ("mannequin", "xsub", "test")
    right = read_probe_predictions(tmp_path)
    assert len(right["tokens_after"]) == found["num_videos"] == 36
    assert right["tokens_after"].mean() == found["tokens_after"]
