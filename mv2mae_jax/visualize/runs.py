"""What work directories say about their runs: config, metrics and results."""

import argparse
import json
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from mv2mae_jax.check import stored_config
from mv2mae_jax.errors import InputError
from mv2mae_jax.storage import to_path

LETTERS = 48  # of a run's name in a picture, at most
TESTED_ON = ("dataset", "protocol", "split", "clips", "crops")  # in results.json
TEST_IT = (
    "name the work directory of a fine-tuned run, or test it again by the variant evaluate of its "
    "config"
)
PALETTE = "tab10", 10  # colours that are told apart, and how many there are


def add_workdirs(parser: argparse.ArgumentParser, help: str) -> None:
    """The option of pictures that are drawn from several work directories."""
    parser.add_argument(
        "--workdir",
        "--workdirs",
        dest="workdirs",
        metavar="DIR",
        nargs="+",
        action="extend",
        required=True,
        help=help,
    )


def named(workdirs: Sequence[str]) -> dict[str, epath.Path]:
    """The work directories by the names of their runs: their last folders, if these all differ.

    Raises:
      InputError: one is named twice, or its bucket cannot be reached.
    """
    paths = [to_path(os.path.normpath(x) if "://" not in x else x.rstrip("/")) for x in workdirs]
    texts = [os.fspath(path) for path in paths]
    if twice := next((text for text in texts if texts.count(text) > 1), ""):
        raise InputError(f"{twice} is named twice; name each work directory once")
    names = [path.name for path in paths]
    return dict(zip(names if len(set(names)) == len(names) else texts, paths, strict=True))


def shortened(name: str) -> str:
    """A name that has room in a picture: without its beginning, where folders differ least."""
    return name if len(name) <= LETTERS else f"…{name[1 - LETTERS :]}"


def read_config(workdir: epath.Path) -> ConfigDict:
    """The config of a run; what its version did not have is as in configs/base.py.

    Raises:
      InputError: there is none, or it is damaged.
    """
    remedy = "name the work directory of a run"
    return _parsed(workdir / "config.json", remedy, lambda text: stored_config(json.loads(text)))


def read_metrics(workdir: epath.Path) -> list[dict[str, float]]:
    """The lines of `metrics.jsonl`, in the order of their steps; one that is cut is left out.

    Raises:
      InputError: there is none, or it is damaged.
    """
    file = workdir / "metrics.jsonl"
    *whole, _ = read_text(file, "name the work directory of a training run").split("\n")
    lines: list[dict[str, float]] = []
    for number, text in enumerate(whole, start=1):
        try:
            line = _numbers(json.loads(text))
            if lines and line["step"] <= lines[-1]["step"]:
                raise ValueError(f"step {line['step']:g} after {lines[-1]['step']:g}")
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise InputError(f"line {number} of {file} is damaged ({error}); remove it") from error
        lines.append(line)
    if not lines:
        raise InputError(f"{file} has no line yet; a run writes one every config.log_every steps")
    return lines


def read_results(workdir: epath.Path) -> dict[str, Any]:
    """What testing a classifier found (`tasks/evaluate.py`).

    Raises:
      InputError: there are no results, or they are damaged.
    """
    return _parsed(workdir / "results.json", TEST_IT, _scores)


def has_results(workdir: epath.Path) -> bool:
    """Whether a classifier was tested there."""
    return (workdir / "results.json").exists()


def read_text(file: epath.Path, remedy: str) -> str:
    """The text of a file; `remedy` says what to do where there is none.

    Raises:
      InputError: it is not there, or cannot be read.
    """
    if not file.exists():
        raise InputError(f"{file} is not there; {remedy}")
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read ({error}); {remedy}") from error


def _parsed(file: epath.Path, remedy: str, parse: Callable[[str], Any]) -> Any:
    text = read_text(file, remedy)
    try:
        return parse(text)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{file} is damaged ({error}); {remedy}") from error


def _numbers(line: Any) -> dict[str, float]:
    """A line of metrics as it is written: finite numbers by name, one of them the step.

    Raises:
      ValueError, KeyError, TypeError: it is none.
    """
    numbers = {name: float(value) for name, value in {"step": line["step"], **line}.items()}
    if not all(map(math.isfinite, numbers.values())):
        raise ValueError("a number is not finite")
    return numbers


def _scores(text: str) -> dict[str, Any]:
    """Results that say what was tested, and of each top-1 accuracy its count and interval."""
    results = json.loads(text)
    if missing := [key for key in TESTED_ON if key not in results]:
        raise ValueError(f"{missing[0]} is not there")
    for name in ("top1_single_clip", "top1_single_view", "top1_multi_view"):
        low, high = results["interval_95"][name]
        accuracy, count = results[name], results["count"][name]
        if not (0 <= low <= accuracy <= high <= 1 and isinstance(count, int) and count > 0):
            raise ValueError(f"{name} is {accuracy} of {count}, from {low} to {high}")
    return results
