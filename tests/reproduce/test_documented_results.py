"""The documented tables are those of the documented results."""

import re
from pathlib import Path

from mv2mae_jax.reproduce.document import text
from mv2mae_jax.reproduce.rows import ROWS
from mv2mae_jax.reproduce.runs import read_findings

FOLDER = Path("docs/reproduction-cpu-roaming")


def test_tables_are_made_of_the_results_beside_them():
    assert (FOLDER / "results.md").read_text() == text(read_findings(FOLDER / "results.jsonl"))


def test_results_are_of_rows_that_are_there_and_of_one_data_set():
    findings = read_findings(FOLDER / "results.jsonl")
    assert {(x.protocol, x.row) for x in findings} <= {(row.protocol, row.name) for row in ROWS}
    assert len({x.data for x in findings}) == 1 and {x.scale for x in findings} == {"cpu"}
    places = [(x.protocol, x.row, x.seed) for x in findings]
    assert len(set(places)) == len(places)
    for finding in findings:  # 960 videos of camera 1; 480 activities of even subjects, three views
        videos, activities = {"xview": (960, 960), "xsub": (1440, 480)}[finding.protocol]
        assert finding.predictions["single_view"] == videos
        assert finding.predictions["multi_view"] == activities


def test_numbers_in_the_text_are_in_the_tables():
    tables = (FOLDER / "results.md").read_text()
    words = Path("docs/reproduction.md").read_text()
    (found,) = re.findall(r"## What was found\n(.*?)\n## ", words, re.DOTALL)
    quoted = re.findall(r"\*([+-]\d+\.\d) \((.*?)\)\*", found)
    assert quoted and all(f"{mean} ({interval})" in tables for mean, interval in quoted)
