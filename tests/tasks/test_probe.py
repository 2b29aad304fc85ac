"""Probes of frozen encoders: what each column says, and of which data."""

import csv
import json
import shutil
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict
from runs import save_run
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from configs.mannequin import get_config
from mv2mae_jax.data import splits
from mv2mae_jax.errors import InputError
from mv2mae_jax.evaluation.features import FrozenEncoder
from mv2mae_jax.evaluation.probes import PENALTIES
from mv2mae_jax.evaluation.video_features import extract
from mv2mae_jax.model import build
from mv2mae_jax.run_files import read_probe, read_probe_predictions
from mv2mae_jax.tasks.probe import probe
from mv2mae_jax.training.parameters import Parameters, initial, split


@pytest.fixture
def config(mannequin_dir: Path) -> ConfigDict:
    config = get_config("probe,protocol=xsub")
    config.data.data_dir = str(mannequin_dir)
    config.data.num_frames, config.data.image_size = 4, 28
    return config


def save(workdir: Path, config: ConfigDict) -> Parameters:
    """A run whose parameters are not those of the untrained encoder of seed 0."""
    _, parameters = split(build.pretraining_model(config, nnx.Rngs(1)))
    save_run(workdir, config, parameters)
    return parameters


def test_videos_of_one_class_are_refused(config: ConfigDict, tmp_path: Path):
    config.probe.train_videos = 1
    save(tmp_path, config)
    with pytest.raises(InputError, match=r"the 1 training videos .* of one class"):
        probe(config, tmp_path)


def test_a_test_without_fitted_classes_is_refused(
    config: ConfigDict, mannequin_dir: Path, tmp_path: Path
):
    save(tmp_path, config)
    config.data.data_dir = str(shutil.copytree(mannequin_dir, tmp_path / "data"))
    (file,) = Path(config.data.data_dir).glob("mannequin/*/index.json")
    index = json.loads(file.read_text())
    index["classes"].append("another")
    for activity in index["activities"]:
        if activity["subject"] == "2":  # whom `xsub` tests
            activity["label"] = 12
    file.write_text(json.dumps(index))
    with pytest.raises(InputError, match="no video of the test split is of a class"):
        probe(config, tmp_path)


def test_clips_of_single_frames_are_refused(config: ConfigDict, tmp_path: Path):
    trained = config.copy_and_resolve_references()
    trained.data.num_frames, trained.model.patch_size = 1, (1, 7, 7)
    save(tmp_path, trained)
    with pytest.raises(InputError, match="single frames"):
        probe(config, tmp_path)


def test_weights_from_elsewhere_are_probed_on_the_data_that_the_config_names(
    config: ConfigDict, tmp_path: Path
):
    trained = config.copy_and_resolve_references()
    trained.data.dataset = trained.data.protocol = ""  # as of imported weights
    save(tmp_path, trained)
    probe(config, tmp_path)
    found = read_probe(tmp_path)
    assert (found["dataset"], found["protocol"], found["split"]) == ("mannequin", "xsub", "test")
    right = read_probe_predictions(tmp_path)
    assert len(right["tokens_after"]) == found["num_videos"] == 36
    assert right["tokens_after"].mean() == found["tokens_after"]


def test_as_many_videos_as_the_command_says(config: ConfigDict, tmp_path: Path):
    """Whatever the probes while the run was trained had."""
    trained = config.copy_and_resolve_references()
    trained.probe.train_videos, trained.probe.test_videos = 12, 12
    save(tmp_path, trained)
    config.probe.train_videos, config.probe.test_videos = 30, 24
    probe(config, tmp_path)
    found = read_probe(tmp_path)
    assert (found["num_train_videos"], found["num_videos"]) == (30, 24)


def test_every_column_is_of_the_features_that_it_names(config: ConfigDict, tmp_path: Path):
    """Scikit-learn's classifier on features written out here, of every training video."""
    parameters = save(tmp_path, config)
    probe(config, tmp_path)
    _, begun = initial(partial(build.pretraining_model, config), jax.random.key(config.seed))

    def motion(clips: np.ndarray) -> np.ndarray:
        """Of two times and 2 x 2 places, the mean absolute frame difference."""
        steps = np.abs(np.diff(clips.astype(float), axis=1))[:, [0, 0, 1, 2]]
        return steps.reshape(-1, 2, 2, 2, 14, 2, 14, 3).mean(axis=(2, 4, 6, 7))

    features = {
        "pixels": lambda clips: clips[:, :, ::2, ::2],
        "motion_map": lambda clips: motion(clips).mean(axis=1),
        "motion_map_over_time": motion,
        "tokens_before": FrozenEncoder(config, begun).tokens,
        "tokens_after": FrozenEncoder(config, parameters).tokens,
    }
    labels, *train = extract(config, splits.split_videos(config, "train"), [*features.values()])
    videos = splits.split_videos(config, "test")
    _, *tested = extract(config, videos, [*features.values()])
    with (tmp_path / "probe_predictions.csv").open() as file:
        said = {(row["activity"], row["view"]): row for row in csv.DictReader(file)}
    names = splits.class_names(config)
    found = {}
    for column, fitted, others in zip(features, train, tested, strict=True):
        flat, other = (x.reshape(len(x), -1).astype(np.float32) for x in (fitted, others))
        ridge = make_pipeline(StandardScaler(), RidgeClassifierCV(PENALTIES)).fit(flat, labels)
        expected = [names[number] for number in ridge.predict(other)]
        found[column] = [said[video.activity.id, video.view][column] for video in videos]
        agree = np.mean(np.array(found[column]) == expected)
        assert agree > 0.9, (column, agree)  # of wide features rounding may turn a close call
    assert len({tuple(x) for x in found.values()}) == len(features)
