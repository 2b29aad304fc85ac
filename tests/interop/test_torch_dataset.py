"""Items for PyTorch: the loader's own for testing, drawn by PyTorch's rules for training."""

import subprocess
import sys
from itertools import product
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from configs.mannequin import get_config
from mv2mae_jax.data import loader, splits
from mv2mae_jax.data.decode import decode_frames
from mv2mae_jax.data.records import RecordSource, load_index
from mv2mae_jax.errors import InputError
from mv2mae_jax.interop.torch_dataset import VideoDataset
from mv2mae_jax.model import build


@pytest.fixture
def config(mannequin_dir):
    config = get_config("finetune")
    config.data.data_dir = str(mannequin_dir)
    return config


def normalized(config, clips):
    """[... T H W C] bytes to [... T C H W], in numpy."""
    mean, std = np.float32(config.data.mean), np.float32(config.data.std)
    return np.moveaxis((clips.astype(np.float32) / np.float32(255) - mean) / std, -1, -3)


def test_test_items_are_the_loaders(config):
    dataset = VideoDataset(config, "test")
    assert len(dataset) == 24 and dataset.class_names == splits.class_names(config)
    assert [video.view for video in dataset.videos] == ["1"] * 24
    seen = 0
    with loader.evaluation_batches(config, "test", clips=1, crops=1) as batches:
        for batch in batches:
            for row in np.flatnonzero(batch["valid"]):
                item, clip = dataset[batch["video"][row]], batch["clips"][row, 0]
                pixels = item["pixel_values"]
                assert pixels.dtype == torch.float32 and pixels.is_contiguous()
                assert np.array_equal(pixels.numpy(), normalized(config, clip))
                ours = build.normalized(config, jnp.array(clip[None]))[0]
                np.testing.assert_allclose(pixels, np.moveaxis(ours, -1, -3), atol=1e-6)
                assert item["labels"] == batch["label"][row] and type(item["labels"]) is int
                seen += 1
    assert seen == len(dataset)


def test_training_items_are_clips_of_their_video(config):
    """As large as they are stored, frames are only cut and mirrored: when and where is found."""
    size = config.data.image_size = 120  # of 160 in width
    config.data.crop_scales, config.data.repeats = (1.0,), 3
    dataset = VideoDataset(config, "train")
    assert len(dataset) == loader.num_samples(config) == 48
    activity, view = dataset.videos[7]
    records = RecordSource(load_index(config.data.data_dir, "mannequin"))
    times = np.arange(activity.views[view])
    stored = decode_frames(records.frames(activity.position, view, times), times)
    stored = normalized(config, stored)
    last = len(stored) - 1 - 7 * config.data.stride
    candidates = {}
    for start, left in product(range(last + 1), range(0, 41, 10)):
        clip = stored[start :: config.data.stride][:8, ..., left : left + size]
        candidates[clip.tobytes()] = (start, left, False)
        candidates[clip[..., ::-1].tobytes()] = (start, left, True)
    torch.manual_seed(0)
    items = [dataset[7] for _ in range(60)]
    drawn = {candidates[item["pixel_values"].numpy().tobytes()] for item in items}
    starts, lefts, mirrored = map(set, zip(*drawn, strict=True))
    assert starts == set(range(last + 1)) and lefts == {0, 10, 20, 30, 40}
    assert mirrored == {False, True}
    assert {item["labels"] for item in items} == {activity.label}


def test_training_items_repeat_only_with_the_seed(config):
    dataset = VideoDataset(config, "train")

    def epoch():
        return [dataset[number]["pixel_values"] for number in range(4)]

    torch.manual_seed(3)
    first, second = epoch(), epoch()
    assert not any(map(torch.equal, first, second))
    torch.manual_seed(3)
    assert all(map(torch.equal, epoch(), first))
    torch.manual_seed(4)
    assert not any(map(torch.equal, epoch(), first))


def test_workers(mannequin_dir):
    """Forked and spawned, without jax, and with a word where a fork cannot read."""
    program = Path(__file__).with_name("torch_workers.py")
    done = subprocess.run(
        [sys.executable, program, mannequin_dir], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_what_is_not_there_is_named(config):
    with pytest.raises(InputError, match="validation_subjects"):
        VideoDataset(config, "validation")
    with pytest.raises(InputError, match="no split 'eval'"):
        VideoDataset(config, "eval")
    config.data.data_dir = "nowhere"
    with pytest.raises(InputError, match="no data set in nowhere/mannequin; build it"):
        VideoDataset(config, "train")
