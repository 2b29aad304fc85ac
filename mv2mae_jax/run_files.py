"""What the files of a work directory say about its run: one reader for each, none of which guesses.

Whoever can do without a file asks whether it is there, and then reads it.
"""

import csv
import io
import json
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from etils import epath
from jaxtyping import Bool, Float, Int
from ml_collections import ConfigDict

from mv2mae_jax.check import stored_config
from mv2mae_jax.errors import InputError, is_name
from mv2mae_jax.storage import to_path

CONFIG, CLASSES = "config.json", "classes.json"  # training/workdir.py writes them
CHECKPOINTS = "checkpoints"  # the folder of training/checkpoints.py
IMPORT_REPORT = "import.json"  # of weights from elsewhere, which no run here has trained
METRICS = "metrics.jsonl"  # training writes it
PROBE, PROBE_PREDICTIONS = "probe.json", "probe_predictions.csv"  # tasks/probe.py writes them
RESULTS, PREDICTIONS = "results.json", "predictions.csv"  # tasks/evaluate.py writes them
TOP1 = ("top1_single_clip", "top1_single_view", "top1_multi_view")
TESTED_ON = ("dataset", "protocol", "split", "clips", "crops")  # in results
A_RUN = "name the work directory of a run"
ANEW = "delete it, and the run's command writes it anew"
PROBE_IT = "probe the run again by the variant probe of its config"
TEST_IT = "test it again by the variant evaluate of its config"
A_TESTED_RUN = f"name the work directory of a fine-tuned run, or {TEST_IT}"


class Tested(NamedTuple):
    """What a run said about each video of its test, videos in the order of their names.

    Attributes:
      videos: activity and view.
      names: of all classes.
      labels: the true classes.
      predicted: the classes they were taken for.
      single_clip: the classes that a single clip of them was taken for.
      probabilities: of all classes.
    """

    videos: list[tuple[str, str]]
    names: tuple[str, ...]
    labels: Int[np.ndarray, " V"]
    predicted: Int[np.ndarray, " V"]
    single_clip: Int[np.ndarray, " V"]
    probabilities: Float[np.ndarray, "V K"]

    @property
    def activities(self) -> Int[np.ndarray, " V"]:
        """A number for each video's activity, in the order of their names."""
        return np.unique([activity for activity, _ in self.videos], return_inverse=True)[1]


def read_config(workdir: epath.PathLike) -> ConfigDict:
    """The config of a run; what its version did not have is as in configs/base.py.

    Raises:
      InputError: there is none, or it is damaged.
    """
    return _parsed(workdir, CONFIG, A_RUN, ANEW, lambda text: stored_config(json.loads(text)))


def read_classes(workdir: epath.PathLike) -> tuple[str, ...]:
    """The names of a classifier's classes; none if they are not there.

    Raises:
      InputError: the file is damaged.
    """
    if not (to_path(workdir) / CLASSES).exists():
        return ()
    return _parsed(workdir, CLASSES, A_RUN, ANEW, _classes)


def read_metrics(workdir: epath.PathLike) -> list[dict[str, float]]:
    """What training has logged, in the order of its steps; a line that is cut is left out.

    Raises:
      InputError: there is no such file, or it is damaged.
    """
    file = to_path(workdir) / METRICS
    absent = "name the work directory of a training run"
    *whole, _ = _text(file, absent, "remove what is no text").split("\n")
    lines: list[dict[str, float]] = []
    for number, text in enumerate(whole, start=1):
        try:
            line = _numbers(json.loads(text))
            if lines and line["step"] <= lines[-1]["step"]:
                raise ValueError(f"step {line['step']:g} after {lines[-1]['step']:g}")
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise InputError(f"line {number} of {file} is damaged ({error}); remove it") from error
        lines.append(line)
    return lines


def read_probe(workdir: epath.PathLike) -> dict[str, Any]:
    """What probes of the frozen encoder found: accuracies, and of what they are.

    Raises:
      InputError: the run was not probed, or what is there is damaged.
    """
    return _parsed(workdir, PROBE, PROBE_IT, PROBE_IT, _probed)


def read_probe_predictions(workdir: epath.PathLike) -> dict[str, Bool[np.ndarray, " V"]]:
    """Which predictions of each probe are right, in the order of activities and views.

    Raises:
      InputError: the run was not probed, or what is there is damaged.
    """
    return _parsed(workdir, PROBE_PREDICTIONS, PROBE_IT, PROBE_IT, _right)


def read_results(workdir: epath.PathLike) -> dict[str, Any]:
    """What testing a classifier found: accuracies, counts, intervals, and of what they are.

    Raises:
      InputError: there are no results, or they are damaged.
    """
    return _parsed(workdir, RESULTS, A_TESTED_RUN, TEST_IT, _scores)


def read_predictions(workdir: epath.PathLike) -> Tested:
    """What a classifier said about each video of its test.

    Raises:
      InputError: there are no predictions, or they are damaged.
    """
    file = to_path(workdir) / PREDICTIONS
    text = _text(file, A_TESTED_RUN, TEST_IT)
    table = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = [x for x in table.fieldnames or () if x.startswith("p(") and x.endswith(")")]
        names = tuple(column[2:-1] for column in columns)
        if not all(map(is_name, names)):
            raise ValueError("a class has no name in one line")
        classes = {name: number for number, name in enumerate(names)}
        told, shares = {}, {}  # by video: classes; probabilities
        for row in table:
            if None in row.values():
                raise ValueError("it ends within a row")
            video = row["activity"], row["view"]
            if video in told:
                raise ValueError("its video is there twice")
            told[video] = [classes[row[x]] for x in ("label", "predicted", "predicted_single_clip")]
            shares[video] = np.array([row[x] for x in columns], np.float32)  # as it was written
            if not np.isfinite(shares[video]).all():
                raise ValueError("a probability is not finite")
        if not told:
            raise ValueError("no videos")
        if not text.endswith("\n"):
            raise ValueError("it ends within a row")
    except (csv.Error, KeyError, TypeError, ValueError) as error:
        where = f"line {table.line_num} of {file}"
        raise InputError(f"{where} is damaged ({error}); {TEST_IT}") from error
    videos = sorted(told)
    labels, predicted, single_clip = np.array([told[video] for video in videos]).T
    probabilities = np.stack([shares[video] for video in videos])
    return Tested(videos, names, labels, predicted, single_clip, probabilities)


def _text(file: epath.Path, absent: str, damaged: str) -> str:
    """The text of a file; what to do where there is none, or one of other bytes.

    Raises:
      InputError: it is not there, or cannot be read.
    """
    if not file.exists():
        raise InputError(f"{file} is not there; {absent}")
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{file} cannot be read ({error.strerror}); give the right to read it"
        ) from error
    except ValueError as error:
        raise InputError(f"{file} is damaged ({error}); {damaged}") from error


def _parsed(
    workdir: epath.PathLike, name: str, absent: str, damaged: str, parse: Callable[[str], Any]
) -> Any:
    file = to_path(workdir) / name
    text = _text(file, absent, damaged)
    try:
        return parse(text)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{file} is damaged ({error}); {damaged}") from error


def _classes(text: str) -> tuple[str, ...]:
    names = json.loads(text)
    if not isinstance(names, list) or not all(map(is_name, names)):
        raise ValueError("it is no list of names")
    return tuple(names)


def _numbers(line: Any) -> dict[str, float]:
    """A line of metrics as it is written: finite numbers by name, one of them the step.

    Raises:
      ValueError, KeyError, TypeError: it is none.
    """
    numbers = {name: float(value) for name, value in {"step": line["step"], **line}.items()}
    if not all(map(math.isfinite, numbers.values())):
        raise ValueError("a number is not finite")
    return numbers


def _probed(text: str) -> dict[str, Any]:
    """Findings of probes, whose fractions are all accuracies; one is that of chance."""
    found = json.loads(text)
    _require_count("num_videos", found["num_videos"])
    _require_name("split", found.get("split", "test"))
    shares = {name: value for name, value in found.items() if isinstance(value, float)}
    for name, share in ({x: found[x] for x in ("chance", "tokens_after")} | shares).items():
        _require_share(name, share)
    return found


def _right(text: str) -> dict[str, Bool[np.ndarray, " V"]]:
    """Of a table of predictions, by the column, which are right."""
    table = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        rows = list(table)
    except csv.Error as error:
        raise ValueError(error) from error
    if not rows or not text.endswith("\n") or any(None in row.values() for row in rows):
        raise ValueError("it ends within a row")
    rows.sort(key=lambda row: (row["activity"], row["view"]))
    probes = [x for x in rows[0] if x not in ("activity", "view", "label")]
    return {x: np.array([row[x] == row["label"] for row in rows]) for x in probes}


def _scores(text: str) -> dict[str, Any]:
    """Results that say what was tested, and of each accuracy its count and interval."""
    results = json.loads(text)
    if missing := [key for key in TESTED_ON if key not in results]:
        raise ValueError(f"{missing[0]} is not there")
    for name in ("dataset", "protocol", "split"):
        _require_name(name, results[name])
    counts, intervals = results["count"], results["interval_95"]
    for name in TOP1:
        low, high = intervals[name]
        accuracy, count = results[name], counts[name]
        if not (0 <= low <= accuracy <= high <= 1 and isinstance(count, int) and count > 0):
            raise ValueError(f"{name} is {accuracy} of {count}, from {low} to {high}")
    for name, accuracy in results["per_class_accuracy"].items():
        _require_share(name, accuracy)
        _require_count(name, counts["per_class_accuracy"][name])
    return results


def _require_name(name: str, value: Any) -> None:
    if not is_name(value):
        raise ValueError(f"{name} is {value}")


def _require_share(name: str, value: Any) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is {value}")


def _require_count(name: str, value: Any) -> None:
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} is of {value}")
