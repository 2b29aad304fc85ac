"""The benchmark runs, and both ways make the same views."""

import json
import subprocess
import sys
from itertools import product

import numpy as np

from benchmarks.evaluation import view_alone, whole
from configs.mannequin import get_config
from mv2mae_jax.data import loader, splits
from mv2mae_jax.data.records import RecordSource, load_index
from mv2mae_jax.evaluation import predictions
from mv2mae_jax.evaluation.crops import over_crops


def test_both_ways_make_the_same_views(mannequin_dir):
    config = get_config("evaluate")
    config.data.data_dir = str(mannequin_dir)
    config.data.image_size, config.evaluation.batch_size = 126, 2
    with loader.evaluation_batches(config, "train", clips=2, crops=10) as batches:
        batch = next(batches)
    views = over_crops(lambda crop: crop, batch["clips"], 126, 10)
    records = RecordSource(load_index(mannequin_dir, "mannequin"))
    videos = splits.split_videos(config, "train")
    for video, view in product(range(2), range(20)):
        alone = view_alone(config, records, videos[video], view, clips=2, crops=10)
        assert np.array_equal(views[view // 10, view % 10, video], alone)


def test_only_the_first_call_traces(mannequin_dir, monkeypatch):
    config = get_config("evaluate")
    config.data.data_dir = str(mannequin_dir)
    config.data.image_size, config.data.num_frames = 28, 4
    traced = []
    monkeypatch.setattr(
        predictions, "over_crops", lambda *args: traced.append(True) or over_crops(*args)
    )
    assert len(whole(config, clips=1, crops=1, about=12, calls=3)) == 3
    assert traced == [True]


def test_the_command_measures_all_ways(mannequin_dir, tmp_path):
    command = [sys.executable, "-m", "benchmarks.evaluation", "--rounds", "1", "--videos", "8"]
    command += ["--data-dir", mannequin_dir, "--dataset", "mannequin", "--protocol", "xview"]
    command += ["--variant", "mini", "--frames", "4", "--image-size", "64"]
    command += ["--json", tmp_path / "rates.json"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rates = json.loads((tmp_path / "rates.json").read_text())["seconds_per_video"]
    ways = ("", ", the host's part", ", each view alone")
    assert set(rates) == {
        *(f"{views}{way}" for views in ("1 x 1", "5 x 1", "5 x 10") for way in ways),
        *("5 x 10, whole", "5 x 10, whole, compiling"),
    }
    assert all(name in done.stdout for name in rates)
    assert all(rate["median"] > 0 for rate in rates.values())
