"""What fine-tuning starts from, and what it measures on its way."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import damaged_mannequin
from flax import nnx
from ml_collections import ConfigDict
from runs import save_run

from configs.mannequin import get_config
from mv2mae_jax.data import loader, splits
from mv2mae_jax.data.records import DamagedRecord
from mv2mae_jax.errors import InputError
from mv2mae_jax.evaluation.features import FrozenEncoder
from mv2mae_jax.model import build
from mv2mae_jax.run_files import read_metrics
from mv2mae_jax.tasks.evaluate import evaluate
from mv2mae_jax.tasks.finetune import (
    STANDARDIZED_CLIPS,
    finetune,
    initial_parameters,
    standardizing_norm,
)
from mv2mae_jax.training.checkpoints import load_parameters
from mv2mae_jax.training.parameters import split


def test_pooled_features_start_at_mean_0_and_variance_1(mannequin_dir: Path) -> None:
    config = get_config("finetune")
    config.data.data_dir = str(mannequin_dir)
    config.batch_size = 24  # not a divisor of the 256 clips
    _, parameters = split(build.pretraining_model(config, nnx.Rngs(0)))
    encoder = {name: x for name, x in parameters.items() if name.startswith("encoder.")}
    norm = standardizing_norm(config, encoder)
    frozen = FrozenEncoder(config, encoder | norm)
    with loader.finetuning_batches(config) as batches:
        pooled = [frozen.encode(next(batches)["clips"]) for _ in range(11)]
    features = np.concatenate(pooled)[:STANDARDIZED_CLIPS]
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(features.std(axis=0), 1, atol=1e-3)


def test_a_pooled_feature_that_never_varies_is_centred(
    mannequin_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = get_config("finetune")
    config.data.data_dir = str(mannequin_dir)
    _, parameters = split(build.pretraining_model(config, nnx.Rngs(0)))
    pooled = np.random.default_rng(0).normal(size=(256, 128)).astype(np.float32)
    pooled[:, 3] = 0.5
    monkeypatch.setattr(FrozenEncoder, "encode", lambda self, clips: pooled[: len(clips)])
    norm = standardizing_norm(config, parameters)
    assert (norm["norm.scale"][3], norm["norm.bias"][3]) == (1, -0.5)
    assert norm["norm.scale"][0] == pytest.approx(1 / pooled[:, 0].std(), rel=1e-5)


def test_pooled_features_are_left_alone_unless_asked_for(mannequin_dir: Path, tmp_path: Path):
    config = get_config("finetune")
    config.data.data_dir, config.batch_size = str(mannequin_dir), 8
    _, parameters = split(build.pretraining_model(config, nnx.Rngs(0)))
    save_run(tmp_path, get_config(), parameters)
    config.finetune.init_from = str(tmp_path)
    norms = []
    for standardize in (False, True):
        config.finetune.standardize = standardize
        norms.append([x for x in initial_parameters(config) if x.startswith("norm.")])
    assert norms == [[], ["norm.scale", "norm.bias"]]


def short(data_dir: Path) -> ConfigDict:
    """A fine-tuning of small clips, 48 videos an epoch, tested by one crop each."""
    config = get_config("finetune")
    config.data.data_dir = str(data_dir)
    config.data.num_frames, config.data.image_size = 4, 28
    config.batch_size, config.epochs, config.log_every = 8, 1, 100
    config.evaluation.clips, config.evaluation.crops = 1, 1
    return config


def test_the_pretrained_encoder_is_trained_from_the_block_that_the_config_names(
    mannequin_dir: Path, tmp_path: Path
) -> None:
    config = short(mannequin_dir)
    _, pretrained = split(build.pretraining_model(config, nnx.Rngs(1)))
    save_run(tmp_path / "pretrained", get_config(), pretrained)
    config.finetune.init_from = str(tmp_path / "pretrained")
    config.finetune.trainable_blocks = 1
    finetune(config, tmp_path / "finetuned")
    trained, _ = load_parameters(tmp_path / "finetuned")
    same = {
        name
        for name, value in trained.items()
        if name in pretrained and np.array_equal(value, pretrained[name])
    }
    encoder = {name for name in trained if name.startswith("encoder.")}
    assert same == {name for name in encoder if not name.startswith("encoder.blocks.3.")}
    assert trained.keys() - encoder == {"norm.scale", "norm.bias", "head.kernel", "head.bias"}


def test_classes_of_other_data_do_not_take_the_place_of_the_runs(
    mannequin_dir: Path, tmp_path: Path
) -> None:
    config = short(mannequin_dir)
    workdir = tmp_path / "run"
    finetune(config, workdir)
    before = (workdir / "classes.json").read_text()
    config.data.data_dir = str(shutil.copytree(mannequin_dir, tmp_path / "data"))
    (index,) = Path(config.data.data_dir).glob("mannequin/*/index.json")
    stored = json.loads(index.read_text())
    stored["classes"] = stored["classes"][::-1]
    index.write_text(json.dumps(stored))
    for task in (finetune, evaluate):
        with pytest.raises(InputError, match="with other classes than the data set has now"):
            task(config, workdir)
    assert (workdir / "classes.json").read_text() == before
    stored["classes"] = [*stored["classes"][::-1], "another"]
    index.write_text(json.dumps(stored))
    (workdir / "classes.json").unlink()
    with pytest.raises(InputError, match="with 12 classes, the data set has 13"):
        evaluate(config, workdir)
    with pytest.raises(InputError, match="the data set has changed since step 6"):
        finetune(config, workdir)


def test_a_run_that_could_not_be_tested_is_not_begun(mannequin_dir: Path, tmp_path: Path) -> None:
    config = short(mannequin_dir)
    config.data.protocol = "all"
    with pytest.raises(InputError, match=r"the test split of protocol all of .* is empty"):
        finetune(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def relabelled(mannequin_dir: Path, data: Path, change: Callable[[dict[str, Any]], int]) -> str:
    """The data set with other labels, by what stands of each activity in the index."""
    shutil.copytree(mannequin_dir, data)
    (index,) = data.glob("mannequin/*/index.json")
    stored = json.loads(index.read_text())
    for activity in stored["activities"]:
        activity["label"] = change(activity)
    index.write_text(json.dumps(stored))
    return str(data)


def test_one_class_is_nothing_to_tell_apart(mannequin_dir: Path, tmp_path: Path) -> None:
    config = short(mannequin_dir)
    config.data.data_dir = relabelled(mannequin_dir, tmp_path / "data", lambda _: 3)
    with pytest.raises(InputError, match="all training videos of protocol xview are of one class"):
        finetune(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_classes_that_are_tested_and_not_trained_are_named(
    mannequin_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = short(mannequin_dir)
    config.data.protocol = "xsub"

    def kept_from_training(activity: dict[str, Any]) -> int:  # which is of the odd subjects
        trains = int(activity["subject"]) % 2
        return min(activity["label"], 10) if trains else activity["label"]

    config.data.data_dir = relabelled(mannequin_dir, tmp_path / "data", kept_from_training)
    with pytest.raises(InputError, match="its label is 11"):  # the records are not fooled
        finetune(config, tmp_path / "run")
    (line,) = (x.message for x in caplog.records if "classes" in x.message)
    name = splits.class_names(config)[11]
    assert line == f"no training video is of these classes, which are tested: {name}"


def test_the_validation_split_is_tested_meanwhile(mannequin_dir: Path, tmp_path: Path) -> None:
    config = short(mannequin_dir)
    config.data.validation_subjects = ("2",)
    config.epochs = 3  # 24 videos: 3 steps an epoch
    config.finetune.validate_every_epochs = 2.0
    config.data.evaluate_on = "validation"
    finetune(config, tmp_path)
    found = {x["step"]: x["validation_accuracy"] for x in read_metrics(tmp_path)}
    assert list(found) == [6, 9]
    tested = json.loads((tmp_path / "results.json").read_text())
    assert tested["num_videos"] == 24 and found[9] == tested["top1_single_clip"]


def test_validation_leaves_out_what_may_be_damaged(
    mannequin_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = short(mannequin_dir)
    config.data.validation_subjects = ("2",)
    config.finetune.validate_every_epochs = 1.0
    activity = splits.split_videos(config, "validation")[0].activity.id
    config.data.data_dir = damaged_mannequin(mannequin_dir, tmp_path / "data", activity)
    config.data.bad_records = 1
    with pytest.raises(DamagedRecord, match=activity):  # the test, which leaves nothing out
        finetune(config, tmp_path / "run")
    assert read_metrics(tmp_path / "run")[-1]["validation_accuracy"] >= 0
    assert "validation of 22 videos" in capfd.readouterr().out
    load_parameters(tmp_path / "run")


def test_validation_of_which_all_is_damaged_is_none(
    mannequin_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    config = short(mannequin_dir)
    config.data.validation_subjects = ("2",)
    config.finetune.validate_every_epochs = 1.0
    config.data.bad_records = 1
    views = splits.split_videos(config, "validation")[:2]
    activity = {video.activity.id for video in views}.pop()
    config.data.data_dir = damaged_mannequin(mannequin_dir, tmp_path / "data", activity)
    whole = splits.split_videos
    monkeypatch.setattr(
        splits, "split_videos", lambda of, split: whole(of, split) if split == "train" else views
    )
    with pytest.raises(DamagedRecord):  # the test
        finetune(config, tmp_path / "run")
    assert "no validation: all of its videos are damaged" in caplog.text
    assert "validation_accuracy" not in read_metrics(tmp_path / "run")[-1]
    load_parameters(tmp_path / "run")
