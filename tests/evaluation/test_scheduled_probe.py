"""Probes during pre-training: when they come, on what, and the same numbers on split parameters."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from damage import damaged_mannequin
from flax import nnx
from probe_devices import probe_of_initial_parameters
from processes import environment

from configs.mannequin import get_config
from mv2mae_jax.data.probe_videos import training_videos
from mv2mae_jax.data.records import DamagedRecord
from mv2mae_jax.evaluation import scheduled_probe as module
from mv2mae_jax.evaluation.features import FrozenEncoder
from mv2mae_jax.evaluation.probes import TokenFeatures, probe_predictions
from mv2mae_jax.evaluation.scheduled_probe import scheduled_probe
from mv2mae_jax.evaluation.video_features import extract
from mv2mae_jax.model import build
from mv2mae_jax.tasks.pretrain import pretrain
from mv2mae_jax.training.checkpoints import load_parameters
from mv2mae_jax.training.parameters import split
from mv2mae_jax.training.sharding import make_mesh

PROBES = ("probe_tokens", "probe_logistic", "probe_knn", "probe_chance", "probe_seconds")


@pytest.fixture
def config(mannequin_dir: Path):
    config = get_config()
    config.data.data_dir = str(mannequin_dir)
    config.data.image_size, config.data.num_frames = 16, 4
    config.model.patch_size = (2, 8, 8)
    config.batch_size, config.epochs, config.log_every = 8, 1, 1000  # 3 steps an epoch
    config.pictures_every_epochs = 0.0
    config.probe.every_epochs = 2 / 3
    config.probe.train_videos, config.probe.test_videos = 24, 12
    return config


def lines(workdir: Path) -> dict[int, dict]:
    found = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert len({line["step"] for line in found}) == len(found)
    return {line.pop("step"): line for line in found}


def test_a_run_has_probes_and_the_last_is_of_the_trained_encoder(config, tmp_path, capfd):
    pretrain(config, tmp_path)
    assert list(lines(tmp_path)) == [2, 3]  # every 2 steps and the last; nothing else is logged
    assert all(set(PROBES) <= set(line) for line in lines(tmp_path).values())
    assert capfd.readouterr().out.count("probe of 12 videos · tokens ") == 2
    parameters, _ = load_parameters(tmp_path)
    encoder = FrozenEncoder(config, parameters)
    videos = training_videos(config)
    features = [TokenFeatures(*extract(config, part, [encoder.tokens])[::-1]) for part in videos]
    train, test = features
    predicted = probe_predictions(train, test.tokens)
    expected = {name: np.mean(x == test.labels) for name, x in predicted.items()}
    written = lines(tmp_path)[3]
    assert {name: written[f"probe_{name}"] for name in expected} == expected
    assert written["probe_chance"] == pytest.approx(1 / 12)
    assert [len(x.labels) for x in features] == [24, 12]


def test_a_damaged_activity_that_may_be_is_left_out(config, mannequin_dir, tmp_path, capfd):
    """And training ends, with a checkpoint."""
    activity = training_videos(config).test[0].activity.id
    config.data.data_dir = damaged_mannequin(mannequin_dir, tmp_path / "data", activity)
    with pytest.raises(DamagedRecord, match=activity):
        pretrain(config, tmp_path / "strict")
    config.data.bad_records = 1
    pretrain(config, tmp_path / "run")
    assert list(lines(tmp_path / "run")) == [2, 3]
    left = sum(video.activity.id != activity for video in training_videos(config).test)
    assert 0 < left < 12
    assert capfd.readouterr().out.count(f"probe of {left} videos · tokens ") == 2
    load_parameters(tmp_path / "run")


@pytest.mark.parametrize(("train", "test", "part"), [(24, 1, "test"), (2, 12, "train")])
def test_a_probe_that_damage_leaves_nothing_to_is_none(
    config, mannequin_dir, tmp_path, caplog, train, test, part
):
    """No video to test on, or a single class to fit."""
    config.probe.train_videos, config.probe.test_videos = train, test
    config.data.bad_records = 1
    activity = getattr(training_videos(config), part)[0].activity.id
    config.data.data_dir = damaged_mannequin(mannequin_dir, tmp_path / "data", activity)
    pretrain(config, tmp_path / "run")
    assert caplog.text.count("no probe: too many of its videos are damaged") == 2
    assert all("probe_tokens" not in line for line in lines(tmp_path / "run").values())
    load_parameters(tmp_path / "run")


def test_one_compilation_for_all_probes(config, monkeypatch):
    traces = []
    original = build.clip_patches
    monkeypatch.setattr(
        build, "clip_patches", lambda *arguments: traces.append(1) or original(*arguments)
    )
    mesh = make_mesh(1)
    probe = scheduled_probe(config, mesh)
    accuracies = []
    for seed in (0, 1):
        make = partial(build.pretraining_model, config)
        parameters = split(make(nnx.Rngs(seed)))[1]
        accuracies.append(probe(jax.device_put(parameters, jax.NamedSharding(mesh, jax.P()))))
    assert len(traces) == 1
    assert accuracies[0].keys() == set(PROBES)


def test_no_probe_without_two_classes(config, monkeypatch, caplog):
    caplog.set_level("INFO", logger="mv2mae_jax")
    one = training_videos(config)
    one = one._replace(train=[v for v in one.train if v.activity.label == 0])
    monkeypatch.setattr(module, "training_videos", lambda config: one)
    assert scheduled_probe(config, make_mesh(1)) is None
    assert "no probe" in caplog.text and len(caplog.records) == 1
    config.probe.every_epochs = 0.0
    assert scheduled_probe(config, make_mesh(1)) is None
    assert len(caplog.records) == 1  # asked for: nothing to say


def test_split_parameters_give_the_same_probe(config, tmp_path):
    """Eight devices, parameters split over four of them, against this process's one."""
    words = [sys.executable, "tests/evaluation/probe_devices.py", config.data.data_dir, "4"]
    words.append(str(tmp_path / "8.json"))
    subprocess.run(words, check=True, env=environment(8, PYTHONPATH="."))
    split_over_4 = json.loads((tmp_path / "8.json").read_text())
    whole = probe_of_initial_parameters(config.data.data_dir, fsdp=1)
    assert split_over_4.pop("parts") == 4 and whole.pop("parts") == 1
    features = [np.array(x.pop("features")) for x in (split_over_4, whole)]
    np.testing.assert_allclose(*features, atol=1e-4)
    assert np.ptp(features[0]) > 1
    assert split_over_4 == whole
    assert whole.keys() == {"probe_tokens", "probe_logistic", "probe_knn", "probe_chance"}
