"""The documented tables are those of the documented results."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
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


def sections() -> Iterator[tuple[str, list[Path]]]:
    """Each section of what was found, and the folders whose results it links to."""
    words = Path("docs/reproduction.md").read_text()
    (found,) = re.findall(r"## What was found\n(.*?)\n## ", words, re.DOTALL)
    for section in found.split("\n### "):
        links = re.findall(r"\((reproduction-[\w-]+)/results.md\)", section)
        yield section, [Path("docs", link) for link in dict.fromkeys(links)]


def test_differences_in_the_text_are_in_the_tables():
    """In those of the results that their section is about."""
    number = 0
    for section, folders in sections():
        tables = "".join((folder / "results.md").read_text() for folder in folders)
        quoted = re.findall(r"\*([+-]\d+\.\d)\s\((.*?)\)\*", section, re.DOTALL)
        for mean, interval in quoted:
            assert f"{mean} ({' '.join(interval.split())})" in tables, (mean, interval)
        number += len(quoted)
    assert number > 50


def test_accuracies_in_the_tables_of_the_text_are_those_found():
    """Of lines such as `| MV2MAE: ... | 63.1 % (61.0, 64.2, 64.1) | 32.0 % |`."""
    checked = 0
    for section, folders in sections():
        for name, mean, seeds, probe in re.findall(
            r"^\| ([\w -]+?)(?:: [^|]*)? \| ([\d.]+) % (?:\((.*?)\) )?\| (?:([\d.]+) % )?\|$",
            section,
            re.MULTILINE,
        ):
            runs = [
                x
                for x in read_findings(folders[0] / "results.jsonl")
                if (x.protocol, x.row) == ("xview", name)
            ]
            top1 = [100 * x.top1["single_view"] for x in sorted(runs, key=lambda x: x.seed)]
            assert float(mean) == pytest.approx(np.mean(top1), abs=0.05), name
            assert seeds == (", ".join(f"{x:.1f}" for x in top1) if len(top1) > 1 else "")
            if probe:
                probes = [100 * x.probes["tokens_after"] for x in runs]
                assert float(probe) == pytest.approx(np.mean(probes), abs=0.05), name
            checked += 1
    assert checked > 5
