"""How training went: losses, learning rate, norms, rates and probes, of one or several runs.

python -m mv2mae_jax.visualize curves --workdir runs/pretrain runs/other --out curves.png

Each run has a colour. Faint lines are as logged, bold ones means over a twentieth of a run's lines.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from etils import epath
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from mv2mae_jax.errors import InputError
from mv2mae_jax.evaluation.scores import Score
from mv2mae_jax.figures import save_figure
from mv2mae_jax.run_files import METRICS, RESULTS, read_metrics, read_results
from mv2mae_jax.storage import out_path
from mv2mae_jax.visualize.runs import PALETTE, add_out, add_workdirs, named, shortened

SMOOTHED_OVER = 20  # means are over this part of a run's lines
LOG_RATIO = 5  # of the largest to the smallest value, from which an axis is logarithmic
WIDTH, HEIGHT = 15.0, 2.7  # of the figure, of a row of it; inches
NOTE = f"faint: as logged; bold: means over 1/{SMOOTHED_OVER} of a run's lines"
LETTER = 0.085  # inches, in the legend
TESTED = "top1_single_view"

Metrics = list[dict[str, float]]


class Panel(NamedTuple):
    """One metric, of all runs that log it."""

    title: str
    metric: str
    beside: str = ""  # counts only in lines that have this one too
    kind: str = "loss"  # loss, rate: smoothed | exact: as logged | probe: a dot where it was due
    share: bool = False  # of a whole, shown in per cent


PRETRAINING, FINETUNING = "self_view", "accuracy"  # what only their lines have
ROWS = (
    (
        Panel("pre-training: loss", "loss", beside=PRETRAINING),
        Panel("fine-tuning: loss", "loss", beside=FINETUNING),
        Panel("accuracy: of training clips; dot: of the test, with 95 %", "accuracy", share=True),
        Panel("validation: accuracy by a clip", "validation_accuracy", kind="probe", share=True),
    ),
    (
        Panel("self-view, target", "self_view_target"),
        Panel("self-view, source", "self_view_source"),
        Panel("cross-view, target", "cross_view_target"),
        Panel("cross-view, source", "cross_view_source"),
    ),
    (
        Panel("token probe", "probe_tokens", kind="probe", share=True),
        Panel("probe: logistic, mean and deviation", "probe_logistic", kind="probe", share=True),
        Panel("probe: nearest neighbours, mean", "probe_knn", kind="probe", share=True),
    ),
    (
        Panel("learning rate", "learning_rate", kind="exact"),
        Panel("gradient norm", "gradient_norm"),
        Panel("pairs a second", "pairs_per_second", kind="rate"),
        Panel("samples a second", "samples_per_second", kind="rate"),
        Panel("clips a second", "clips_per_second", kind="rate"),
    ),
)
OF_ONE_SCALE = (1, 2)  # rows whose panels share their axes


class Curve(NamedTuple):
    """A metric of a run, by step."""

    steps: Float[np.ndarray, " L"]
    values: Float[np.ndarray, " L"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this picture."""
    add_workdirs(parser, "work directories of runs")
    add_out(parser)


def draw(args: argparse.Namespace) -> None:
    """Draws what the runs have logged so far.

    Raises:
      InputError: one has logged nothing yet, or its files are damaged.
    """
    out, workdirs = out_path(args.out), named(args.workdirs)
    runs = {name: read_metrics(path) for name, path in workdirs.items()}
    if silent := [path / METRICS for name, path in workdirs.items() if not runs[name]]:
        raise InputError(
            f"{silent[0]} has no line yet; a run writes one every config.log_every steps"
        )
    save_figure(curves_figure(runs, tested(workdirs)), out)


def tested(workdirs: Mapping[str, epath.Path]) -> dict[str, Score]:
    """Test accuracies of the runs that have been tested."""
    done = {name: path for name, path in workdirs.items() if (path / RESULTS).exists()}
    results = {name: read_results(path) for name, path in done.items()}
    return {
        name: Score(x[TESTED], x["count"][TESTED], tuple(x["interval_95"][TESTED]))
        for name, x in results.items()
    }


def curve(metrics: Metrics, panel: Panel) -> Curve:
    """What a run has logged for a panel; empty if it has not."""
    lines = [x for x in metrics if panel.metric in x and (panel.beside or panel.metric) in x]
    return Curve(
        np.array([line["step"] for line in lines]),
        np.array([line[panel.metric] for line in lines]),
    )


def smoothed(values: Float[np.ndarray, " L"]) -> Float[np.ndarray, " L"]:
    """Means over as many values before as after each, together about 1 / SMOOTHED_OVER of all.

    Near the ends there are fewer on both sides: the first and the last value stay as they are, and
    what falls is not drawn late.
    """
    place = np.arange(len(values))
    reach = np.minimum(len(values) // (2 * SMOOTHED_OVER), np.minimum(place, place[::-1]))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    return (sums[place + reach + 1] - sums[place - reach]) / (2 * reach + 1)


@matplotlib.rc_context({"text.parse_math": False})  # names are not formulas
def curves_figure(runs: Mapping[str, Metrics], tests: Mapping[str, Score]) -> Figure:
    """A panel for every metric that a run has logged, in rows of what belongs together.

    Raises:
      InputError: they have logged nothing that has a panel.
    """
    rows = [
        (number, panels)
        for number, row in enumerate(ROWS)
        if (panels := [p for p in row if any(len(curve(x, p).steps) for x in runs.values())])
    ]
    if not rows:
        raise InputError(f"metrics.jsonl of {', '.join(runs)} has none of the metrics of training")
    colours = _colours(list(runs))
    figure = plt.figure(figsize=(WIDTH, HEIGHT * len(rows) + 0.7), layout="constrained")
    parts = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
    for part, (number, panels) in zip(parts, rows, strict=True):
        shared = number in OF_ONE_SCALE
        axes = part.subplots(1, len(panels), squeeze=False, sharey=shared)[0]
        for axis, panel in zip(axes, panels, strict=True):
            _draw_panel(axis, panel, runs, tests, colours)
        drawn = [line.get_ydata() for axis in axes for line in axis.lines]
        for axis, panel in zip(axes, panels, strict=True):
            values = drawn if shared else [line.get_ydata() for line in axis.lines]
            _scale(axis, panel, np.concatenate(values))
    handles = [Line2D([], [], color=colour, linewidth=2) for colour in colours.values()]
    names = [shortened(name) for name in runs]
    columns = max(1, int(WIDTH / (LETTER * max(map(len, names)) + 0.7)))
    figure.legend(handles, names, loc="outside upper center", ncols=min(columns, len(names)))
    figure.supxlabel(NOTE, fontsize=8)
    return figure


def _draw_panel(
    axis: Axes,
    panel: Panel,
    runs: Mapping[str, Metrics],
    tests: Mapping[str, Score],
    colours: Mapping[str, str],
) -> None:
    title = panel.title
    for name, metrics in runs.items():
        x, y = curve(metrics, panel)
        colour = colours[name]
        if not len(x):
            continue
        if panel.kind in ("loss", "rate"):
            axis.plot(x, y, color=colour, alpha=0.3, linewidth=0.8)
            axis.plot(x, smoothed(y), color=colour, linewidth=1.8)
        else:
            marker = "o" if panel.kind == "probe" else None
            axis.plot(x, y, color=colour, marker=marker, markersize=4, linewidth=1.5)
        if panel.kind == "probe":
            at, chance = curve(metrics, Panel("", "probe_chance"))
            axis.plot(at, chance, color=colour, linestyle=":", linewidth=1)
            if len(at):
                title = f"{panel.title}; dotted: chance"
        if panel.metric == "accuracy" and name in tests:
            accuracy, (low, high) = tests[name].accuracy, tests[name].interval
            reach = [[accuracy - low], [high - accuracy]]
            axis.errorbar(x[-1], accuracy, reach, color=colour, fmt="o", capsize=3, zorder=3)
    axis.set_title(title, fontsize=9)
    axis.set_xlabel("step", fontsize=8)
    axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    axis.tick_params(labelsize=8)
    axis.grid(color="0.92")


def _scale(axis: Axes, panel: Panel, values: Float[np.ndarray, " L"]) -> None:
    """From zero, but for losses and norms: these by their logarithms where they range widely."""
    if panel.kind != "loss" or panel.share:
        axis.set_ylim(bottom=0)
    elif values.min() > 0 and values.max() > LOG_RATIO * values.min():
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_minor_formatter(NullFormatter())
    unit, ending = (100, " %") if panel.share else (1, "")
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{unit * value:g}{ending}"))


def _colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each run."""
    palette, count = PALETTE
    few = len(names) <= count
    colours = plt.get_cmap(palette if few else "turbo")
    places = range(len(names)) if few else np.linspace(0.05, 0.95, len(names))
    return {name: to_hex(colours(place)) for name, place in zip(names, places, strict=True)}
