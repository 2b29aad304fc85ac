"""Accuracy by the value of a config field, from tested runs: Figures 3 and 4, Tables 7 to 11.

python -m mv2mae_jax.visualize ablation --workdirs runs/temperature-*-finetune \\
    --field config.objective.temperature --out temperature.png

A fine-tuned run is placed by what its pre-training was, where fine-tuning does not read the field
(masks, objective, views), or where --pretraining asks for it. Runs of one value, as of several
seeds, become their mean and standard deviation. Prints the table, and what else differs.
"""

import argparse
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from etils import epath
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from tabulate import tabulate

from mv2mae_jax.check import fields
from mv2mae_jax.errors import InputError, did_you_mean
from mv2mae_jax.figures import save_figure
from mv2mae_jax.run_files import CONFIG, IMPORT_REPORT, TESTED_ON, TOP1, read_config, read_results
from mv2mae_jax.storage import out_path, to_path
from mv2mae_jax.training.workdir import FREE_FIELDS
from mv2mae_jax.visualize.runs import add_out, add_workdirs, named

# Fields that fine-tuning does not read; those of its own config say nothing about a run.
OF_PRETRAINING = (
    "data.crops",
    "data.num_views",
    "data.source_views",
    "data.target_view",
    "masking.",
    "model.projector",
    "objective.",
    "pretrain.",
    "probe.",
)
OF_FINETUNING = ("evaluation.", "finetune.")
START = "finetune.init_from"
BETWEEN_SEEDS = ("seed", "task", START, "pretrain.init_from")  # these may differ
LOG_RATIO = 8  # of the largest to the smallest value, from which they are placed by logarithms
INFINITE = 1.2  # its place, where finite values reach from 0 to 1
BESIDE = 0.012  # from the mean of several runs to the first of them, and to the next
LABEL_ROOM = 0.05  # the least distance of labels of values

Value = float | str
Config = dict[str, Any]  # by full field names
Results = dict[str, Any]


class Run(NamedTuple):
    """A tested run."""

    name: str
    accuracy: float
    interval: tuple[float, float]
    tested: int  # videos, or activities, that the accuracy is of


class Level(NamedTuple):
    """All runs of one value."""

    value: Value
    runs: tuple[Run, ...]

    @property
    def mean(self) -> float:
        """Accuracy over the runs."""
        return float(np.mean([run.accuracy for run in self.runs]))

    @property
    def deviation(self) -> float:
        """Standard deviation of the runs' accuracies, with n - 1; nan for a single run."""
        return float(np.std([r.accuracy for r in self.runs], ddof=1)) if self.runs[1:] else math.nan


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this picture."""
    add_workdirs(parser, "work directories of fine-tuned runs")
    parser.add_argument("--field", required=True, help="config.objective.temperature, for example")
    parser.add_argument(
        "--metric", choices=TOP1, default="top1_single_view", help="of results.json"
    )
    parser.add_argument(
        "--pretraining",
        action="store_true",
        help="take the field from the pre-training that each run started from",
    )
    add_out(parser)


def draw(args: argparse.Namespace) -> None:
    """Draws the runs by the field, and prints the table."""
    out, workdirs = out_path(args.out), named(args.workdirs)
    field = args.field.removeprefix("config.")
    results = {name: read_results(path) for name, path in workdirs.items()}
    test = same_test(results, args.metric)
    of_pretraining = args.pretraining or field.startswith(OF_PRETRAINING)
    configs = {name: stages(path, of_pretraining) for name, path in workdirs.items()}
    placed = {name: x[1 if of_pretraining else 0] for name, x in configs.items()}
    levels = levels_of(results, placed, field, args.metric)
    also = also_differing(list(configs.values()), field, of_pretraining)
    save_figure(ablation_figure(levels, f"config.{field}", args.metric, test, also), out)
    print(table(levels, f"config.{field}", args.metric))
    if also:
        print(f"between these runs differ too: {', '.join(also)}")


def same_test(results: Mapping[str, Results], metric: str) -> str:
    """In words, what all runs were tested on.

    Raises:
      InputError: they were tested on different things, which cannot be compared.
    """
    tests = {
        name: {**{key: x[key] for key in TESTED_ON}, "count": x["count"][metric]}
        for name, x in results.items()
    }
    first, test = next(iter(tests.items()))
    for name, other in tests.items():
        for key, value in test.items():
            if other[key] != value:
                raise InputError(
                    f"{name} was tested with {key} {other[key]}, {first} with {value}: their "
                    "accuracies cannot be compared; draw them apart"
                )
    way = "" if metric == "top1_single_clip" else f", {test['clips']} clips x {test['crops']} crops"
    where = f"{test['dataset']}, {test['protocol']}, {test['split']}"
    return f"{where}: n = {test['count']:,}{way}"


def flat_config(workdir: epath.Path) -> Config:
    """The fields of a run's config."""
    return dict(fields(read_config(workdir)))


def stages(workdir: epath.Path, of_pretraining: bool) -> list[Config]:
    """The fields of a run, then those of its pre-training, if it has one that can be read.

    Raises:
      InputError: it has none, and `of_pretraining` asks for it.
    """
    own = flat_config(workdir)
    try:
        return [own, flat_config(pretraining_of(workdir))]
    except InputError:
        if of_pretraining:
            raise
        return [own]


def pretraining_of(workdir: epath.Path) -> epath.Path:
    """The work directory of the pre-training that a run started from, over any runs between.

    Raises:
      InputError: there is none here, or none that knows its own config.
    """
    path, passed = workdir, set()
    while (config := read_config(path)).task != "pretrain" or (path / IMPORT_REPORT).exists():
        passed.add(path)
        start = config.finetune.init_from
        problem = ""
        if (path / IMPORT_REPORT).exists():
            problem = f"{path} holds weights from elsewhere"
        elif not start:
            problem = f"{path} started from random values"
        elif not (to_path(start) / CONFIG).exists():
            problem = f"{path} started from {start}, and no run is there, seen from this folder"
        elif to_path(start) in passed:
            problem = f"{path} started from {start}, which is itself"
        if problem:
            raise InputError(
                f"{workdir} has no pre-training whose config can be read: {problem}; leave it out, "
                "or give the command where training was started"
            )
        path = to_path(start)
    return path


def levels_of(
    results: Mapping[str, Results], configs: Mapping[str, Config], field: str, metric: str
) -> list[Level]:
    """The runs by their value of a field: numbers by size, other values as they come.

    Args:
      results: of the runs, by name.
      configs: that have the field's value, by the same names.
      field: its full name, without `config.`.
      metric: of results.json.

    Raises:
      InputError: there is no such field, or all runs have one value.
    """
    by_value: dict[Value, list[Run]] = {}
    for name, found in results.items():
        if field not in configs[name]:
            near = did_you_mean(field, configs[name])
            raise InputError(
                f"--field config.{field}: no such field{near} (all fields: configs/base.py)"
            )
        low, high = found["interval_95"][metric]
        run = Run(name, found[metric], (low, high), found["count"][metric])
        by_value.setdefault(_value(configs[name][field]), []).append(run)
    values = list(by_value)
    if len(values) == 1:
        raise InputError(
            f"all runs have config.{field}={label(values[0])}; name runs that differ in it, or "
            "--pretraining if those do that they started from"
        )
    if all(isinstance(value, float) for value in values):
        values.sort()
    return [Level(value, tuple(by_value[value])) for value in values]


def also_differing(
    configs: Sequence[Sequence[Config]], field: str, of_pretraining: bool
) -> list[str]:
    """Other fields that are not alike in all runs, besides seeds and where a run was made.

    Args:
      configs: of each run its `stages`.
      field: that is meant to differ.
      of_pretraining: whether its value is the pre-training's.
    """
    names = []
    if field == START:  # its values are what is compared
        configs = [own[:1] for own in configs]
    elif min(map(len, configs)) == 1 and len({own[0][START] for own in configs}) > 1:
        names = [f"config.{START}"]  # weights from elsewhere, or none, beside others
    for number, stage in enumerate(zip(*configs, strict=False)):
        unread = OF_FINETUNING if number else OF_PRETRAINING
        ignored = (*FREE_FIELDS, *BETWEEN_SEEDS, *unread)
        names += [
            f"config.{name}" + (" of pre-training" if number else "")
            for name, value in stage[0].items()
            if not (name == field and number == of_pretraining)
            and not name.startswith(ignored)
            and any(x.get(name) != value for x in stage)
        ]
    return names


def places(values: Sequence[Value]) -> Float[np.ndarray, " L"]:
    """Where values are drawn: numbers from 0 to 1 by size, infinity beyond; others evenly.

    Positive numbers over a wide range are placed by their logarithms.
    """
    if not all(isinstance(value, float) for value in values):
        return np.linspace(0, 1, len(values))
    numbers = np.array(values, float)
    finite = numbers[np.isfinite(numbers)]
    if len(finite) < 2:
        return np.where(np.isfinite(numbers), 0.0, INFINITE)
    wide = finite.min() > 0 and finite.max() > LOG_RATIO * finite.min()
    scaled = np.log(numbers) if wide else numbers
    low, high = (np.log(finite) if wide else finite)[[0, -1]]
    return np.where(np.isfinite(numbers), (scaled - low) / (high - low), INFINITE)


def table(levels: Sequence[Level], field: str, metric: str) -> str:
    """For people: of each value its runs, their mean, and how far it can be trusted."""
    rows = []
    for level in levels:
        single = len(level.runs) == 1
        (low, high), count = level.runs[0].interval, level.runs[0].tested
        rows.append(
            [
                label(level.value),
                len(level.runs),
                f"{level.mean:.1%}",
                "" if single else f"{level.deviation:.1%}",
                f"{low:.1%} to {high:.1%}" if single else "",
                ", ".join(f"{run.name} {run.accuracy:.1%}" for run in level.runs),
                count,
            ]
        )
    deviation, interval = "standard deviation", "95% interval"
    headers = [field, "runs", metric, deviation, interval, "of each run", "count"]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def label(value: Value) -> str:
    """A value as it is shown."""
    if isinstance(value, float):
        return "∞" if value == math.inf else f"{value:g}"
    return value


@matplotlib.rc_context({"text.parse_math": False})  # names are not formulas
def ablation_figure(
    levels: Sequence[Level], field: str, metric: str, test: str, also: Sequence[str]
) -> Figure:
    """Every run with its interval, and the mean and deviation where a value has several.

    Args:
      levels: of the values, in their order.
      field: what differs.
      metric: the accuracy that is drawn.
      test: what the runs were tested on, in words.
      also: what else differs between the runs.
    """
    at = places([level.value for level in levels])
    width = max(5.5, 0.7 * len(levels) + 2)
    figure, axis = plt.subplots(figsize=(width, 4), layout="constrained")
    _draw_line(axis, levels, at)
    for place, level in zip(at, levels, strict=True):
        _draw_level(axis, place, level)
    shown: list[int] = []
    for number in np.argsort(at):
        if not shown or at[number] - at[shown[-1]] >= LABEL_ROOM:
            shown.append(int(number))
    labels = [label(levels[number].value) for number in shown]
    slanted = sum(map(len, labels)) > 9 * width
    rotation, alignment = (30, "right") if slanted else (0, "center")
    axis.set_xticks(at[shown], labels, rotation=rotation, ha=alignment)
    most = max(len(level.runs) for level in levels)
    axis.set_xlim(at.min() - 0.08, at.max() + max(0.08, BESIDE * (most + 2)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    axis.grid(color="0.92", axis="y")
    others = textwrap.fill(f"differs too: {', '.join(also)}", int(15 * width)) if also else ""
    axis.set_xlabel(f"{field}\n{others}".strip())
    axis.set_ylabel(metric)
    several = any(len(level.runs) > 1 for level in levels)
    squares = "; squares: mean ± standard deviation of runs" if several else ""
    axis.set_title(f"{test}\ndots: a run, 95 % interval of its test{squares}", fontsize=9)
    return figure


def _draw_line(axis: Axes, levels: Sequence[Level], at: Float[np.ndarray, " L"]) -> None:
    """Through the means of numbers; dotted to infinity, where there is no scale."""
    if not all(isinstance(level.value, float) for level in levels):
        return
    means = np.array([level.mean for level in levels])
    finite = np.array([level.value != math.inf for level in levels])
    axis.plot(at[finite], means[finite], color="C0", linewidth=1, alpha=0.6)
    if not finite[-1]:
        axis.plot(at[-2:], means[-2:], color="C0", linewidth=1, alpha=0.6, linestyle=":")


def _draw_level(axis: Axes, place: float, level: Level) -> None:
    several = len(level.runs) > 1
    for number, run in enumerate(level.runs):
        beside = place + BESIDE * (number + 2) * several
        low, high = run.interval
        axis.errorbar(
            beside,
            run.accuracy,
            [[run.accuracy - low], [high - run.accuracy]],
            fmt="o",
            color="0.6" if several else "C0",
            markersize=3 if several else 5,
            linewidth=0.7 if several else 1.2,
            capsize=0 if several else 3,
        )
    if several:
        axis.errorbar(place, level.mean, level.deviation, fmt="s", color="C0", capsize=4, zorder=3)


def _value(value: Any) -> Value:
    """A number as it is, everything else in words."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, tuple | list):
        value = ", ".join(map(str, value))
    return str(value) or "none"
