"""The documented tables are those of the documented results."""

import re
from pathlib import Path

import pytest

from mv2mae_jax.reproduce.__main__ import STAGINGS
from mv2mae_jax.reproduce.document import text
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


def test_numbers_in_the_text_are_in_the_tables():
    tables = "".join((folder / "results.md").read_text() for folder in FOLDERS)
    words = Path("docs/reproduction.md").read_text()
    (found,) = re.findall(r"## What was found\n(.*?)\n## ", words, re.DOTALL)
    quoted = re.findall(r"\*([+-]\d+\.\d) \((.*?)\)\*", found)
    assert quoted and all(f"{mean} ({interval})" in tables for mean, interval in quoted)
