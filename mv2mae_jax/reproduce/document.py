"""The tables and pictures of what was found, as docs/reproduction.md has them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from etils import epath
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from tabulate import tabulate

from mv2mae_jax.figures import save_figure
from mv2mae_jax.reproduce.judge import Difference, Verdict, measured, verdict
from mv2mae_jax.reproduce.rows import COMPARISONS, ROWS, Comparison, Metric
from mv2mae_jax.reproduce.runs import Finding
from mv2mae_jax.storage import write_whole

ABOUT = (
    "Made by `python -m mv2mae_jax.reproduce` of `results.jsonl` beside it; "
    "[what it means](../reproduction.md). Accuracies are means over seeds, ± their standard "
    "deviation; of differences the 95 % interval over seeds and activities is given, of one seed "
    "over activities alone (dashed), which is too narrow: another seed may lie far off."
)
DIFFERENCES = "![Every comparison with its interval](differences.png)"
ROWS_PICTURE = "![Every row, fine-tuned and by its token probe](rows.png)"
PROTOCOLS = {"xview": "unseen camera (xview)", "xsub": "unseen subjects (xsub)"}
CONTROLS = {
    "chance": "chance",
    "pixels": "pixels, every second row and column",
    "motion_map": "motion map: where something moves",
    "motion_map_over_time": "motion map over time",
    "tokens_before": "tokens of the untrained encoder",
}
PROBES = {"tokens_after": "token probe", "logistic_after": "logistic", "knn_after": "neighbours"}
FINETUNED, PROBED = "o", "s"  # markers
COLOURS: dict[Verdict, str] = {
    "agrees": "C2",
    "differs": "C3",
    "not resolved": "0.4",
    "no prediction": "C0",
}
METRICS: dict[Metric, str] = {
    "single_clip": "a clip",
    "single_view": "all clips",
    "multi_view": "all views",
}


def write(findings: Sequence[Finding], out: epath.Path) -> None:
    """`results.md`, `rows.png` and, where anything can be compared, `differences.png`."""
    write_whole(out / "results.md", text(findings))
    save_figure(rows_figure(findings), out / "rows.png")
    if compared(findings):
        save_figure(differences_figure(findings), out / "differences.png")


def compared(findings: Sequence[Finding]) -> list[Comparison]:
    """The comparisons both of whose rows were run with a seed."""
    return [comparison for comparison in COMPARISONS if measured(comparison, findings)]


def text(findings: Sequence[Finding]) -> str:
    """The page: comparisons, and of each protocol its controls and rows."""
    picture = [DIFFERENCES] if compared(findings) else []
    parts = ["## Comparisons", *picture, comparisons_table(findings), ROWS_PICTURE]
    for protocol, title in PROTOCOLS.items():
        if of_protocol := [x for x in findings if x.protocol == protocol]:
            parts += [f"## {title[0].upper()}{title[1:]}", controls_table(of_protocol)]
            parts += [rows_table(of_protocol)]
    return "\n\n".join(["# Results", ABOUT, *parts]) + "\n"


def controls_table(findings: Sequence[Finding]) -> str:
    """What linear classifiers read off without training an encoder; chance."""
    probed = {x.seed: x.probes for x in findings if x.probes}.values()  # the same in all rows
    rows = [[name, _percent([x[key] for x in probed])] for key, name in CONTROLS.items()]
    return _table(rows, ["linear classifier", "top-1"])


def rows_table(findings: Sequence[Finding]) -> str:
    """Of each row its accuracies: mean and standard deviation over seeds."""
    rows = []
    for name, runs in _by_row(findings):
        probes = [_percent([x.probes[key] for x in runs if x.probes]) for key in PROBES]
        top1 = [_percent([x.top1[metric] for x in runs]) for metric in METRICS]
        rows.append([name, len(runs), *top1, *probes])
    tested = [f"fine-tuned, {name}" for name in METRICS.values()]
    return _table(rows, ["row", "seeds", *tested, *PROBES.values()])


def comparisons_table(findings: Sequence[Finding]) -> str:
    """What the paper says, what was measured, and whether they agree."""
    rows = []
    for comparison in COMPARISONS:
        row = [label(comparison), comparison.protocol, comparison.paper]
        seeds = 0
        for judged in (comparison, by_probe(comparison)):
            found = measured(judged, findings) if judged else None
            row += (
                [_points(found), f"**{verdict(judged, found)}**"] if judged and found else ["", ""]
            )
            seeds = max(seeds, found.seeds if found else 0)
        rows.append([*row, seeds or "not run"])
    measurements = ["fine-tuned, points", "verdict", "token probe, points", "verdict"]
    return _table(rows, ["difference", "protocol", "the paper says", *measurements, "seeds"])


def by_probe(comparison: Comparison) -> Comparison | None:
    """The same comparison of frozen tokens; None where it is one of ways of testing."""
    if comparison.metric != comparison.other_metric:
        return None
    return replace(comparison, metric="token_probe", other_metric="token_probe")


def label(comparison: Comparison) -> str:
    """A comparison in words."""
    if comparison.metric != comparison.other_metric:
        metrics = comparison.metric, comparison.other_metric
        one, other = (METRICS[metric] for metric in metrics)
        return f"{comparison.row}: {one} less {other}"
    return f"{comparison.row} less {comparison.other}"


def rows_figure(findings: Sequence[Finding]) -> Figure:
    """Every seed of every row as a dot, mean and standard deviation over seeds."""
    shown = [
        (protocol, list(_by_row([x for x in findings if x.protocol == protocol])))
        for protocol in PROTOCOLS
    ]
    shown = [(protocol, rows) for protocol, rows in shown if rows]
    heights = [len(rows) + 1 for _, rows in shown]
    figure, axes = plt.subplots(
        len(shown),
        figsize=(8, 0.28 * sum(heights) + 1.2),
        height_ratios=heights,
        layout="constrained",
        sharex=True,
        squeeze=False,
    )
    for axis, (protocol, rows) in zip(axes[:, 0], shown, strict=True):
        for place, (_, runs) in enumerate(rows):
            values = [x.top1["single_view"] for x in runs]
            probes = [x.probes["tokens_after"] for x in runs if x.probes]
            _draw_runs(axis, place - 0.12, values, "C0")
            _draw_runs(axis, place + 0.12, probes, "C1")
        axis.set_yticks(range(len(rows)), [name for name, _ in rows])
        axis.set_ylim(len(rows) - 0.5, -0.5)
        axis.axvline(1 / 12, color="0.6", linestyle=":")
        axis.set_title(PROTOCOLS[protocol], fontsize=9)
        axis.grid(color="0.92", axis="x")
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    axes[-1, 0].set_xlabel(
        "top-1: fine-tuned (blue), token probe (orange); dots: seeds; squares: mean ± sd; "
        "dotted: chance"
    )
    return figure


def _draw_runs(axis: Any, place: float, values: Sequence[float], colour: str) -> None:
    if not values:
        return
    axis.plot(values, [place] * len(values), ".", color=colour, alpha=0.5)
    deviation = np.std(values, ddof=1) if len(values) > 1 else 0
    axis.errorbar(np.mean(values), place, xerr=deviation, fmt="s", color=colour, markersize=4)


def differences_figure(findings: Sequence[Finding]) -> Figure:
    """Every comparison with its intervals, coloured by the verdict."""
    shown = compared(findings)
    figure, axis = plt.subplots(figsize=(8, 0.4 * len(shown) + 1.6), layout="constrained")
    for place, comparison in enumerate(shown):
        for below, marker, judged in (
            (-0.13, FINETUNED, comparison),
            (0.13, PROBED, by_probe(comparison)),
        ):
            found = measured(judged, findings) if judged else None
            if judged and found:
                low, mean, high = (100 * x for x in (found.low, found.mean, found.high))
                bar = axis.errorbar(
                    mean,
                    place + below,
                    xerr=[[mean - low], [high - mean]],
                    fmt=marker,
                    color=COLOURS[verdict(judged, found)],
                    capsize=3,
                )
                if found.seeds == 1:
                    bar.lines[2][0].set_linestyle("--")
    axis.axvline(0, color="black", linewidth=0.8)
    names = [f"{label(x)}, {x.protocol} ({x.predicted or 'no prediction'})" for x in shown]
    axis.set_yticks(range(len(shown)), names, fontsize=8)
    axis.set_ylim(len(shown) - 0.5, -0.5)
    axis.grid(color="0.92", axis="x")
    axis.set_xlabel("difference of top-1, points, with 95 % interval; in brackets the prediction")
    for judgement, colour in COLOURS.items():
        axis.plot([], [], "-", color=colour, label=judgement)
    for name, marker in (("fine-tuned", FINETUNED), ("token probe", PROBED)):
        axis.plot([], [], marker, color="black", label=name)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    return figure


def _by_row(findings: Sequence[Finding]) -> Iterator[tuple[str, list[Finding]]]:
    """The findings of each row of a protocol, in the order of `ROWS`."""
    for name in dict.fromkeys(row.name for row in ROWS):
        if of_row := [x for x in findings if x.row == name]:
            yield name, of_row


def _percent(values: Sequence[float]) -> str:
    """Mean and, of several, standard deviation."""
    if not values:
        return ""
    deviation = f" ± {100 * np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{100 * np.mean(values):.1f}{deviation} %"


def _points(found: Difference) -> str:
    return f"{100 * found.mean:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


def _table(rows: Sequence[Sequence[Any]], headers: Sequence[str]) -> str:
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)
