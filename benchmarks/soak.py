"""Whether memory stays as it is: the real command trains for long, and its workers are killed.

python -m benchmarks.soak --minutes 60 --json FILE [--data-dir DIR]

Pre-trains a small encoder on the mannequin (made first, without --data-dir) with two loader
workers; every --kill-every seconds one of them is killed, so that they are started again. Memory,
open files and shared memory of all its processes are read from Linux's /proc. At the end the
command gets SIGTERM and must save and leave nothing behind.

Growth is the slope of least squares, of all processes of a kind together, each about its own mean,
without the first quarter of its life; its standard error takes samples for independent. It is flat
if slope + 2 standard errors <= --limit, resident and unshared memory alike, and if processes have
no more files open in the last quarter of their lives than in the second, by the median.
"""

import argparse
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from benchmarks import common
from mv2mae_jax.command_line import Parser
from mv2mae_jax.errors import InputError

MEMORY = {"resident": ("Rss",), "unshared": ("Private_Clean", "Private_Dirty")}
MIB = 2**20
TO_END = 120  # seconds that the command has to save and end

Sample = dict[str, Any]  # of one process at one time


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the exit code."""
    return common.run(_arguments(argv), _make_data_set, measure, _print, wrong)


def measure(arguments: argparse.Namespace) -> common.Report:
    """The whole run, as the JSON file has it.

    Raises:
      InputError: the command ended before its time.
    """
    machine = common.machine()
    arguments.workdir.mkdir(parents=True, exist_ok=True)
    log = arguments.workdir / "log.txt"
    with log.open("w") as file:
        run = subprocess.Popen(_command(arguments), stdout=file, stderr=file)
        try:
            samples, kills, names = _watch(run, arguments)
            run.terminate()
            code = run.wait(TO_END)
        finally:
            run.kill()
            run.wait()
    time.sleep(2)  # workers and the resource tracker end after it
    return {
        "machine": machine,
        "minutes": arguments.minutes,
        "limit_mib_per_hour": arguments.limit,
        "kills": kills,
        "restarts": log.read_text().count("started again"),
        "exit_code": code,
        "left_in_shared_memory": len(common.shared_memory(names)),
        "most_in_shared_memory": max(sample["shared_memory"] for sample in samples),
        "growth": {kind: growth(samples, kind) for kind in ("main", "worker")},
        "samples": samples,
    }


def growth(samples: Sequence[Sample], kind: str) -> dict[str, Any]:
    """How memory and open files of the processes of a kind change with time."""
    lives: dict[int, list[Sample]] = {}
    for sample in samples:
        if sample["kind"] == kind:
            lives.setdefault(sample["process"], []).append(sample)
    settled = [life[len(life) // 4 :] for life in lives.values() if len(life) >= 8]
    if not settled:
        raise InputError(f"too short to tell anything of a {kind} process; give more --minutes")
    third = [max(1, len(life) // 3) for life in settled]
    early = [s for life, n in zip(settled, third, strict=True) for s in life[:n]]
    late = [s for life, n in zip(settled, third, strict=True) for s in life[-n:]]

    def medians(name: str) -> tuple[float, float]:
        """In the second and in the last quarter of the processes' lives."""
        first, last = (statistics.median(s[name] for s in part) for part in (early, late))
        return first, last

    summary: dict[str, Any] = {"processes": len(lives), "files": medians("files")}
    for name in MEMORY:
        slope, error = least_squares([[(s["hours"], s[name]) for s in life] for life in settled])
        summary[name] = {"slope": slope, "standard_error": error, "medians": medians(name)}
    return summary


def least_squares(lines: Sequence[Sequence[tuple[float, float]]]) -> tuple[float, float]:
    """The common slope of lines of points (x, y), each with a level of its own; standard error."""
    centred = np.concatenate([np.asarray(line) - np.mean(line, axis=0) for line in lines])
    x, y = centred.T
    slope = float(x @ y / (x @ x))
    freedom = len(x) - len(lines) - 1
    return slope, float(np.sqrt(np.sum((y - slope * x) ** 2) / freedom / (x @ x)))


def wrong(report: common.Report) -> str:
    """What is not as it must be, a line for each; empty if all is."""
    found = []
    for kind, summary in report["growth"].items():
        for name in MEMORY:
            most = summary[name]["slope"] + 2 * summary[name]["standard_error"]
            if most > report["limit_mib_per_hour"]:
                found.append(f"{name} memory of {kind} may grow by {most:.1f} MiB/h")
        first, last = summary["files"]
        if last > first:
            found.append(f"{kind} has {last:.0f} files open, earlier {first:.0f}")
    if report["restarts"] != report["kills"]:
        found.append(f"{report['kills']} workers killed, {report['restarts']} restarts")
    if report["exit_code"] != 128 + signal.SIGTERM:
        found.append(f"exit code {report['exit_code']} after SIGTERM")
    if report["left_in_shared_memory"]:
        found.append(f"{report['left_in_shared_memory']} files left in {common.SHARED}")
    return "\n".join(found)


def _watch(
    run: subprocess.Popen[bytes], arguments: argparse.Namespace
) -> tuple[list[Sample], int, set[str]]:
    """Samples from the first workers on, until the time is up; how many were killed; and how the
    names of their shared memory begin.
    """
    samples: list[Sample] = []
    names: set[str] = set()
    kills = 0
    chance = random.Random(0)
    while not loader_workers(run.pid) and run.poll() is None:
        time.sleep(0.1)
    began = killed = time.monotonic()
    while (now := time.monotonic()) < began + 60 * arguments.minutes:
        if run.poll() is not None:
            raise InputError(
                f"the command ended with exit code {run.returncode} after "
                f"{(now - began) / 60:.1f} minutes; see {arguments.workdir / 'log.txt'}"
            )
        workers = loader_workers(run.pid)
        names |= common.shared_memory_of((run.pid, *workers))
        shared = len(common.shared_memory(names))
        for process in (run.pid, *workers):
            try:
                sample = _sample(process)
            except (FileNotFoundError, ProcessLookupError):  # it has just ended
                continue
            kind = "main" if process == run.pid else "worker"
            at = {"process": process, "kind": kind, "hours": (now - began) / 3600}
            samples.append(at | sample | {"shared_memory": shared})
        left = began + 60 * arguments.minutes - now
        if workers and now - killed > arguments.kill_every < 2 * left:  # time for a restart
            os.kill(chance.choice(workers), signal.SIGKILL)
            killed, kills = now, kills + 1
        time.sleep(arguments.every)
    return samples, kills, names


def loader_workers(parent: int) -> list[int]:
    """Process numbers of the loader workers of a process."""
    tasks = Path(f"/proc/{parent}/task")
    children = [int(pid) for task in tasks.glob("*/children") for pid in task.read_text().split()]
    return [pid for pid in children if b"--multiprocessing-fork" in _command_line(pid)]


def _command_line(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _sample(process: int) -> Sample:
    """Memory in MiB and open files of a process."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines}  # KiB
    memory = {name: sum(sizes[part] for part in parts) / 1024 for name, parts in MEMORY.items()}
    return memory | {"files": len(os.listdir(f"/proc/{process}/fd"))}


def _command(arguments: argparse.Namespace) -> list[str]:
    fields = {
        "data.data_dir": arguments.data_dir,
        "data.workers": 2,
        "epochs": 10**6,  # the time ends it
        "optimizer.base_learning_rate": 0.0064,
        "checkpoint_every": 500,
        "log_every": 20,
        "probe.every_epochs": arguments.probe_every,
        "pictures_every_epochs": 0.0,
    }
    return [
        *(sys.executable, "-m", "mv2mae_jax.main", "--config=configs/mannequin.py"),
        f"--workdir={arguments.workdir}",
        *(f"--config.{name}={value}" for name, value in fields.items()),
    ]


def _make_data_set(folder: Path, arguments: argparse.Namespace) -> None:
    """The mannequin, of four subjects."""
    arguments.data_dir = common.make_mannequin(folder, "--short-side=64", "--subjects=4")


def _print(report: common.Report) -> None:
    print(common.machine_line(report["machine"]))
    print(
        f"{report['minutes']:g} minutes; {report['kills']} workers killed, {report['restarts']} "
        f"restarts; at most {report['most_in_shared_memory']} files in {common.SHARED} and "
        f"{report['left_in_shared_memory']} left"
    )
    rows = []
    for kind, summary in report["growth"].items():
        for name in MEMORY:
            one = summary[name]
            rows.append([f"{kind}, {name} MiB", one["slope"], one["standard_error"]])
            rows[-1] += one["medians"]
        rows.append([f"{kind}, open files", None, None, *summary["files"]])
    headers = ["", "an hour", "standard error", "second quarter", "last quarter"]
    print(tabulate(rows, headers, floatfmt=".1f"))


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--json", type=Path, help="write the measurements there too")
    parser.add_argument(
        "--workdir", type=Path, default=Path("build/soak"), help="of the run, with its log"
    )
    parser.add_argument("--data-dir", type=Path, help="of a built mannequin; default: make one")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two samples")
    parser.add_argument("--kill-every", type=float, default=600.0, help="seconds")
    parser.add_argument("--limit", type=float, default=10.0, help="MiB an hour that is still flat")
    parser.add_argument("--probe-every", type=float, default=50.0, help="epochs; 0: no probes")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
