"""From a raw tree in its official layout to a training step, for every data set."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from ml_collections import ConfigDict
from trial_trees import TREES, Tree

from benchmarks.training import Training
from configs.base import get_config
from mv2mae_jax.data.loader import finetuning_batches, num_samples, pretraining_batches
from mv2mae_jax.data.records import RecordSource, load_index

# Protocol -> activities that have two training views, or, where one view is all there is, videos.
PROTOCOLS = {
    "ntu": ("ntu60_xview", 4),
    "etri": ("xsub", 2),
    "synadl": ("all", 2),
    "nucla": ("xview", 3),
    "pku_mmd2": ("xsub", 3),
    "rocog_v2": ("ground", 2),
}


@pytest.fixture(scope="module", params=TREES)
def built(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Tree, Path, str]:
    """A data set, its raw tree, where its records are, and what the command printed."""
    folder = tmp_path_factory.mktemp(request.param)
    tree = Tree(folder / "raw")
    TREES[request.param](tree)
    flags = (f"--raw-dir={tree.raw_dir}", f"--data-dir={folder}", "--jobs=1", "--quality=95")
    words = [sys.executable, "-m", "mv2mae_jax.prepare", request.param, *flags]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return request.param, tree, folder, done.stdout


def config_of(dataset: str, data_dir: Path) -> ConfigDict:
    """Small steps of pre-training."""
    config = get_config()
    config.data.data_dir = str(data_dir)
    config.data.dataset = dataset
    config.data.protocol = PROTOCOLS[dataset][0]
    config.data.num_frames = 4
    config.data.image_size = 32
    config.model.variant = "mini"
    config.model.patch_size = (2, 16, 16)
    config.model.dtype = "float32"
    config.optimizer.warmup_epochs = 0.0
    config.batch_size = 2
    return config


@pytest.fixture(scope="module")
def training() -> Training:
    """Compiled once for all data sets, whose batches are alike."""
    return Training(config_of("ntu", Path()))


def test_every_frame_of_every_view_is_stored_as_filmed(built: tuple[str, Tree, Path, str]) -> None:
    dataset, tree, data_dir, _ = built
    index = load_index(data_dir, dataset)
    counts = {(a.id, view): n for a in index.activities for view, n in a.views.items()}
    assert counts == {video: len(frames) for video, frames in tree.videos.items()}
    records = RecordSource(index)
    for activity in index.activities:
        for view, length in activity.views.items():
            jpegs = records.frames(activity.position, view, np.arange(length))
            images = [simplejpeg.decode_jpeg(jpegs[time]) for time in range(length)]
            stored = np.array(images, np.float32)
            difference = np.abs(stored - tree.videos[activity.id, view]).mean((1, 2, 3))
            assert difference.max() < 4, (activity.id, view)


def test_what_is_odd_is_named(built: tuple[str, Tree, Path, str]) -> None:
    _, tree, _, output = built
    named = [line.split(": ")[1] for line in output.splitlines() if line.startswith("not read: ")]
    assert sorted(named) == sorted(tree.odd)
    assert "could not use" not in output


def test_a_step_of_training(built: tuple[str, Tree, Path, str], training: Training) -> None:
    dataset, _, data_dir, _ = built
    config = config_of(dataset, data_dir)
    if dataset == "rocog_v2":  # its clips are single views: nothing to pre-train on
        config.task = "finetune"
        with finetuning_batches(config) as batches:
            batch = next(batches)
        assert batch["clips"].shape == (2, 4, 32, 32, 3)
        assert sorted(batch["label"]) == [4, 6]
    else:
        with pretraining_batches(config) as batches:
            batch = next(batches)
        assert batch["clips"].shape == (2, 2, 4, 32, 32, 3)
        [metrics] = training.on([batch])
        assert all(np.isfinite(metrics[name]) for name in ("loss", "self_view", "cross_view"))
    assert num_samples(config) == PROTOCOLS[dataset][1]
