"""Every video counts once, on any devices; and what is written says the same everywhere."""

import csv
import json
import shutil
import sys
from collections import defaultdict
from pathlib import Path

import cv2
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from processes import environment, finish, free_port, start
from runs import save_run

from configs.mannequin import get_config
from mv2mae_jax.data import loader
from mv2mae_jax.data.decode import decode_frames
from mv2mae_jax.data.records import RecordSource, load_index
from mv2mae_jax.data.splits import class_names, split_videos
from mv2mae_jax.errors import InputError
from mv2mae_jax.evaluation.features import FrozenEncoder
from mv2mae_jax.evaluation.predictions import Predictions
from mv2mae_jax.model import build
from mv2mae_jax.tasks.evaluate import evaluate as find
from mv2mae_jax.tasks.finetune import standardizing_norm
from mv2mae_jax.training.parameters import Parameters, split
from mv2mae_jax.training.workdir import write_classes

ACCURACIES = ("top1_single_clip", "top1_single_view", "top1_multi_view", "top5_single_view")
VIDEOS, ACTIVITIES, CLASSES = 36, 12, 12  # of the subject that is for testing, in three views


def small_config():
    config = get_config("finetune,protocol=xsub")
    config.data.num_frames, config.data.image_size = 4, 28
    return config


@pytest.fixture(scope="module")
def parameters(mannequin_dir: Path) -> Parameters:
    """Of a classifier that is right now and then: its head fits two of three test videos."""
    config = small_config()
    config.data.data_dir = str(mannequin_dir)
    _, parameters = split(build.classifier(config, CLASSES, nnx.Rngs(0)))
    encoder = {name: x for name, x in parameters.items() if name.startswith("encoder.")}
    parameters |= standardizing_norm(config, encoder)
    with loader.evaluation_batches(config, "test", clips=1, crops=1) as batches:
        videos = [video for batch in batches for video in zip(*batch.values(), strict=True)]
    clips, labels = np.stack([video[0][0] for video in videos]), [video[1] for video in videos]
    features = FrozenEncoder(config, parameters).encode(clips)
    fitted = np.arange(len(videos)) % 3 > 0
    onto_classes = np.linalg.pinv(features[fitted]) @ np.eye(CLASSES)[labels][fitted]
    return parameters | {"head.kernel": jnp.asarray(5 * onto_classes, jnp.float32)}


@pytest.fixture(scope="module")
def trained(parameters: Parameters, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work directory with a checkpoint."""
    workdir = tmp_path_factory.mktemp("trained")
    save_run(workdir, small_config(), parameters)
    return workdir


def evaluate(
    trained: Path, workdir: Path, data_dir: Path, processes: int = 1, devices: int = 1
) -> list[str]:
    """Evaluates a copy of `trained`; what each process printed."""
    shutil.copytree(trained, workdir)
    port = free_port()
    words = [sys.executable, "tests/tasks/evaluation.py", str(workdir), str(data_dir)]
    place = (str(processes), str(port))
    ended = finish(
        [
            start([*words, str(process), *place], **environment(devices, PYTHONPATH="."))
            for process in range(processes)
        ]
    )
    assert [end.code for end in ended] == [0] * processes, ended[0].stderr
    return [end.stdout for end in ended]


@pytest.fixture(scope="module")
def plain(trained: Path, mannequin_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Evaluated by one process with one device."""
    workdir = tmp_path_factory.mktemp("plain") / "run"
    (printed,) = evaluate(trained, workdir, mannequin_dir)
    assert "1 of 1 devices" in printed
    results = json.loads((workdir / "results.json").read_text())
    for line, name in zip(printed.splitlines()[2:6], ACCURACIES, strict=True):
        low, high = results["interval_95"][name]
        assert line.split() == [
            *(name, f"{results[name]:.1%}", f"{low:.1%}", "to", f"{high:.1%}"),
            str(results["count"][name]),
        ]
    return workdir


def rows(workdir: Path) -> list[dict[str, str]]:
    with (workdir / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def probabilities(workdir: Path) -> np.ndarray:
    columns = [name for name in rows(workdir)[0] if name.startswith("p(")]
    return np.array([[float(row[name]) for name in columns] for row in rows(workdir)])


@pytest.mark.parametrize(("processes", "devices"), [(1, 3), (2, 1)])
def test_any_devices_find_the_same(
    plain: Path, trained: Path, mannequin_dir: Path, tmp_path: Path, processes: int, devices: int
):
    """Neither 13 videos a batch nor the 36 in all can be split over 3 devices or 2 processes."""
    workdir = tmp_path / "run"
    printed = evaluate(trained, workdir, mannequin_dir, processes, devices)
    assert all(f"{devices} of {processes * devices} devices" in text for text in printed)
    assert ["accuracy" in text for text in printed] == [True] + [False] * (processes - 1)
    assert (workdir / "results.json").read_text() == (plain / "results.json").read_text()
    names = ("activity", "view", "label", "predicted", "correct", "predicted_single_clip")
    for row, expected in zip(rows(workdir), rows(plain), strict=True):
        assert [row[name] for name in names] == [expected[name] for name in names]
    np.testing.assert_allclose(probabilities(workdir), probabilities(plain), atol=1e-6)


def test_the_table_gives_every_number_of_the_results(plain: Path):
    results = json.loads((plain / "results.json").read_text())
    table = rows(plain)
    assert results["num_videos"] == VIDEOS == len({(x["activity"], x["view"]) for x in table})
    assert results["num_activities"] == ACTIVITIES and results["num_classes"] == CLASSES
    values = [results[name] for name in ACCURACIES]
    assert min(values) > 0 and max(values) < 1 and len(set(values)) > 1

    by_class, by_activity, among_five = defaultdict(list), defaultdict(list), []
    for row in table:
        right = row["label"] == row["predicted"]
        shares = {name[2:-1]: float(p) for name, p in row.items() if name.startswith("p(")}
        assert max(shares, key=shares.get) == row["predicted"]
        assert float(row["probability"]) == shares[row["predicted"]]
        assert sum(shares.values()) == pytest.approx(1)
        assert row["correct"] == str(int(right))
        among_five.append(row["label"] in sorted(shares, key=shares.get)[-5:])
        by_class[row["label"]].append(right)
        by_activity[row["activity"], row["label"]].append(list(shares.values()))
    names = list(shares)
    fused = [
        names[int(np.mean(views, axis=0).argmax())] == label
        for (_, label), views in by_activity.items()
    ]
    recomputed = {
        "top1_single_clip": [row["predicted_single_clip"] == row["label"] for row in table],
        "top1_single_view": [row["predicted"] == row["label"] for row in table],
        "top1_multi_view": fused,
        "top5_single_view": among_five,
    }
    for name, right in recomputed.items():
        assert results[name] == np.mean(right)
        assert results["count"][name] == len(right)
    assert results["per_class_accuracy"] == {name: np.mean(x) for name, x in by_class.items()}
    assert results["count"]["per_class_accuracy"] == {n: len(x) for n, x in by_class.items()}
    for name in ACCURACIES:
        low, high = results["interval_95"][name]
        assert 0 <= low <= results[name] <= high <= 1
    assert set(results["interval_95"]["per_class_accuracy"]) == set(by_class)


def test_probabilities_are_the_mean_softmax_over_clips_and_crops(
    plain: Path, parameters: Parameters, mannequin_dir: Path
):
    """Worked out crop by crop for one video, from its frames."""
    config = small_config()
    index = load_index(mannequin_dir, "mannequin")
    row = rows(plain)[5]
    (activity,) = [activity for activity in index.activities if activity.id == row["activity"]]
    length = activity.views[row["view"]]
    last = length - 1 - 3 * config.data.stride
    assert last > 0
    definition, _ = split(build.classifier(config, CLASSES, nnx.Rngs(0)))
    model = definition.bind(parameters)
    found = []
    for first in (0, last):
        times = first + config.data.stride * np.arange(4)
        jpegs = RecordSource(index).frames(activity.position, row["view"], times)
        frames = decode_frames(jpegs, times)
        scale = 32 / min(frames.shape[1:3])
        size = (round(frames.shape[2] * scale), round(frames.shape[1] * scale))
        frames = np.stack([cv2.resize(f, size, interpolation=cv2.INTER_LINEAR) for f in frames])
        low, right = frames.shape[1] - 28, frames.shape[2] - 28
        for y, x in ((0, 0), (0, right), (low, 0), (low, right), (low // 2, right // 2)):
            crop = jnp.asarray(frames[None, :, y : y + 28, x : x + 28])
            logits = np.asarray(model(build.clip_patches(config, crop))[0], np.float64)
            found.append(np.exp(logits) / np.exp(logits).sum())
    np.testing.assert_allclose(np.mean(found, axis=0), probabilities(plain)[5], atol=1e-6)


def test_classes_that_were_renamed_since_are_refused(
    trained: Path, mannequin_dir: Path, tmp_path: Path
):
    """Labels count the sorted names: they would be of other classes."""
    workdir = shutil.copytree(trained, tmp_path / "run")
    config = small_config()
    config.data.data_dir = str(mannequin_dir)
    names = class_names(config)
    wrong = ((*names[:3], "jumping", *names[4:]), "number 3 is jumping there, pull here")
    more = ((*names, "zigzag"), "number 12 is zigzag there, missing here")
    for trained_with, said in (wrong, more):
        write_classes(workdir, trained_with)
        with pytest.raises(InputError, match=said):
            find(config, workdir)
    assert not (workdir / "results.json").exists()


def test_what_is_not_a_number_is_no_result(
    parameters: Parameters, mannequin_dir: Path, tmp_path: Path
):
    config = small_config()
    config.data.data_dir = str(mannequin_dir)
    bias = parameters["head.bias"].at[3].set(jnp.nan)
    save_run(tmp_path, config, parameters | {"head.bias": bias})
    with pytest.raises(InputError, match="says of 36 of 36 videos what is not a number"):
        find(config, tmp_path)
    assert not (tmp_path / "results.json").exists()


def test_the_picture_is_written(plain: Path):
    picture = cv2.imread(str(plain / "confusion.png"))
    assert picture is not None and picture.std() > 10


def test_another_data_set_is_refused(trained: Path, mannequin_dir: Path):
    """Its classes may be as many, and others."""
    config = small_config()
    config.data.data_dir, config.data.dataset = str(mannequin_dir), "ntu"
    with pytest.raises(InputError, match=r"trained with data\.dataset=mannequin, testing .* ntu"):
        find(config, trained)


def test_of_classes_that_are_alike_the_first_are_the_best(mannequin_dir: Path):
    """A classifier that says nothing is right by chance, in top-5 as in top-1."""
    config = get_config("finetune")
    config.data.data_dir = str(mannequin_dir)
    videos = split_videos(config, "test")
    said = Predictions(videos, np.full((len(videos), 12), 1 / 12, np.float32))
    for count in (1, 5, 12):
        assert said.among_best(count).tolist() == (said.labels < count).tolist()
    assert said.correct.tolist() == said.among_best(1).tolist()
    said.probabilities[:, 7] = 0.5
    assert said.among_best(2).tolist() == np.isin(said.labels, (7, 0)).tolist()
