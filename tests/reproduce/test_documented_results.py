"""The documented tables are those of the documented results."""

import re
from pathlib import Path

import pytest

from mv2mae_jax.reproduce.__main__ import STAGINGS
from mv2mae_jax.reproduce.document import (
    by_probe,
    compared,
    differences_figure,
    rows_figure,
    text,
)
from mv2mae_jax.reproduce.judge import measured
from mv2mae_jax.reproduce.rows import ROWS
from mv2mae_jax.reproduce.runs import read_findings

FOLDERS = [Path(f"docs/reproduction-cpu-{staging}") for staging in STAGINGS]
FOLDERS.append(Path("docs/reproduction-cpu_long-roaming"))
each_folder = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


@each_folder
def test_tables_are_made_of_the_results_beside_them(folder: Path):
    assert (folder / "results.md").read_text() == text(read_findings(folder / "results.jsonl"))


@each_folder
def test_results_are_of_rows_that_are_there_and_of_one_data_set(folder: Path):
    findings = read_findings(folder / "results.jsonl")
    assert {(x.protocol, x.row) for x in findings} <= {(row.protocol, row.name) for row in ROWS}
    assert len({x.data for x in findings}) == 1
    assert {x.scale for x in findings} == {folder.name.split("-")[1]}
    places = [(x.protocol, x.row, x.seed) for x in findings]
    assert len(set(places)) == len(places)
    for finding in findings:  # 960 videos of camera 1; 480 activities of even subjects, three views
        videos, activities = {"xview": (960, 960), "xsub": (1440, 480)}[finding.protocol]
        assert finding.predictions["single_view"] == videos
        assert finding.predictions["multi_view"] == activities


@each_folder
def test_pictures_have_the_numbers_where_they_belong(folder: Path):
    findings = read_findings(folder / "results.jsonl")
    figure = rows_figure(findings)
    for axis, protocol in zip(figure.axes, ("xview", "xsub"), strict=False):
        dots = {
            (round(float(y), 2), round(float(x), 9))
            for line in axis.lines
            if line.get_marker() == "."
            for x, y in line.get_xydata()
        }
        names = [label.get_text() for label in axis.get_yticklabels()]
        assert len(names) == len(set(names))
        of_protocol = [x for x in findings if x.protocol == protocol]
        expected = {
            (round(names.index(x.row) + offset, 2), round(accuracy, 9))
            for x in of_protocol
            for offset, accuracy in (
                (-0.12, x.top1["single_view"]),
                (0.12, x.probes["tokens_after"] if x.probes else None),
            )
            if accuracy is not None
        }
        assert dots == expected
    figure = differences_figure(findings)
    (axis,) = figure.axes
    bars = [
        [
            round(float(x), 6)
            for x in (*bar.lines[0].get_xdata(), *bar.lines[2][0].get_segments()[0][:, 0])
        ]
        for bar in axis.containers
    ]
    expected = [
        [round(100 * x, 6) for x in (found.mean, found.low, found.high)]
        for comparison in compared(findings)
        for judged in (comparison, by_probe(comparison))
        if judged and (found := measured(judged, findings))
    ]
    assert bars == expected


def test_numbers_in_the_text_are_in_the_tables():
    tables = "".join((folder / "results.md").read_text() for folder in FOLDERS)
    words = Path("docs/reproduction.md").read_text()
    (found,) = re.findall(r"## What was found\n(.*?)\n## ", words, re.DOTALL)
    quoted = re.findall(r"\*([+-]\d+\.\d) \((.*?)\)\*", found)
    assert quoted and all(f"{mean} ({interval})" in tables for mean, interval in quoted)
