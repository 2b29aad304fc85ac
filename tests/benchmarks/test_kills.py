"""The benchmark of survival counts what a kill has left, and no other."""

import json
from pathlib import Path

import pytest

from benchmarks.survival import lost


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("compiling", (0, 0)),  # all that is there is of earlier starts
        ("continuing run from step 6 of 72", (2, 1)),
    ],
)
def test_what_earlier_kills_left_is_theirs(tmp_path: Path, said: str, expected: tuple[int, int]):
    for step in ("3", "6", "9.orbax-checkpoint-tmp"):
        (tmp_path / "checkpoints" / step).mkdir(parents=True)
    lines = [json.dumps({"step": step}) + "\n" for step in (2, 4, 6, 8)]
    (tmp_path / "metrics.jsonl").write_text("".join(lines))
    (tmp_path / "said.txt").write_text(said)
    assert lost(tmp_path, tmp_path / "said.txt") == expected


def test_nothing_is_lost_at_a_checkpoint_or_before_the_first(tmp_path: Path):
    (tmp_path / "said.txt").write_text("starting from random values")
    assert lost(tmp_path, tmp_path / "said.txt") == (0, 0)
    (tmp_path / "checkpoints" / "3").mkdir(parents=True)
    (tmp_path / "metrics.jsonl").write_text('{"step": 2}\n')
    assert lost(tmp_path, tmp_path / "said.txt") == (0, 0)
