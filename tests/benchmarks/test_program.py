"""The benchmark of the whole program runs it, and kills it when it has seen enough."""

import json
import subprocess
import sys

import pytest

SMALL = ("--variant=mini", "--frames=4", "--image-size=32", "--pairs=4", "--rounds=1", "--steps=3")


def words(*more: object) -> list[str]:
    return [sys.executable, "-m", "benchmarks.program", *SMALL, *map(str, more)]


@pytest.mark.slow
def test_the_program_beside_the_step_alone(mannequin_dir, tmp_path):
    file = tmp_path / "report.json"
    command = words(f"--data-dir={mannequin_dir}", f"--json={file}")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads(file.read_text())
    seconds = report["seconds_to_first_step"]
    assert seconds["full"]["median"] < seconds["empty"]["median"]
    assert all(rate["median"] > 0 for rate in report["pairs_per_second"].values())
    assert 0 <= report["waiting_for_data"]["median"] < 1


def test_what_the_program_says_is_passed_on(tmp_path):
    done = subprocess.run(words(f"--data-dir={tmp_path}"), capture_output=True, text=True)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: no data set in") and done.stdout == ""
