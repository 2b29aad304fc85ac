"""What is called growth is growth, and a short run of the whole."""

import json
import signal
import subprocess
import sys
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import numpy as np
import pytest
from processes import until

from benchmarks import soak
from mv2mae_jax.data.process import new_shared_memory_name


def life(process, kind, slope, level, jitter=0.0, files=lambda n: 20, start=0.0):
    """Samples of a process, ten seconds apart, for an hour."""
    noise = np.random.default_rng(process).normal(0, jitter, 360)
    return [
        {
            "process": process,
            "kind": kind,
            "hours": start + n / 360,
            "resident": level + slope * n / 360 + noise[n],
            "unshared": level,
            "files": files(n),
        }
        for n in range(360)
    ]


def test_slope_is_that_of_all_processes_about_their_own_levels():
    lives = life(1, "worker", 30, 100) + life(2, "worker", 30, 900, start=1.0)
    found = soak.growth(lives, "worker")
    assert found["processes"] == 2
    assert found["resident"]["slope"] == pytest.approx(30)
    assert found["resident"]["standard_error"] == pytest.approx(0, abs=1e-9)
    assert found["unshared"]["slope"] == pytest.approx(0)


def test_standard_error_is_that_of_numpy():
    points = [(s["hours"], s["resident"]) for s in life(1, "main", 5, 100, jitter=3)]
    (slope, _), covariance = np.polyfit(*zip(*points, strict=True), 1, cov=True)
    assert soak.least_squares([points]) == pytest.approx((slope, covariance[0, 0] ** 0.5))


def report(lives, **other):
    growth = {kind: soak.growth(lives, kind) for kind in ("main", "worker")}
    flat = {"limit_mib_per_hour": 10, "kills": 2, "restarts": 2, "exit_code": 128 + signal.SIGTERM}
    return flat | {"left_in_shared_memory": 0, "growth": growth} | other


def test_what_is_wrong_is_said():
    flat = life(1, "main", 0, 500, jitter=2) + life(2, "worker", 3, 100)
    assert soak.wrong(report(flat)) == ""
    growing = life(1, "main", 0, 500, files=lambda n: 20 + n // 100) + life(2, "worker", 12, 100)
    assert soak.wrong(report(growing)) == (
        "main has 23 files open, earlier 21\nresident memory of worker may grow by 12.0 MiB/h"
    )
    assert soak.wrong(report(flat, restarts=1)) == "2 workers killed, 1 restarts"
    assert soak.wrong(report(flat, exit_code=1)) == "exit code 1 after SIGTERM"
    assert soak.wrong(report(flat, left_in_shared_memory=3)) == "3 files left in /dev/shm"


@pytest.mark.slow
def test_a_short_run(mannequin_dir, tmp_path):
    words = ["--minutes=1", f"--data-dir={mannequin_dir}", f"--workdir={tmp_path / 'run'}"]
    words += [f"--out={tmp_path / 'soak.json'}", "--every=1", "--kill-every=30", "--limit=1e9"]
    running = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.soak", *words],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    until((tmp_path / "run" / "log.txt").exists, [running])
    another = SharedMemory(new_shared_memory_name(), create=True, size=8)  # another loader's
    said, _ = running.communicate()
    another.close()
    another.unlink()
    # Files are still being opened in the first minute: the rest must be as in a long run.
    found = json.loads((tmp_path / "soak.json").read_text())
    assert found["kills"] == found["restarts"] == 1
    assert (found["exit_code"], found["left_in_shared_memory"]) == (143, 0)
    assert found["growth"]["worker"]["processes"] == 4
    assert said.count("MiB") == 4
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["worker_restarts"] for line in (lines[0], lines[-1])] == [0, 1]
