"""Whether a run that is killed again and again comes to what an undisturbed one does.

python -m benchmarks.survival [--json FILE]

Kills a fine-tuning run on the mannequin with SIGKILL at random moments, starts it again each time,
and compares what it comes to with an undisturbed run: every array of the last state bit by bit, the
metrics of every step but for rates, the results and the predictions. A kill is aimed at the start,
at the compilation, at a step, at the writing of a checkpoint or at the evaluation. After each, no
process and no shared memory of the run may be left.
"""

import argparse
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orbax.checkpoint as ocp
from tabulate import tabulate

from benchmarks import common
from mv2mae_jax.command_line import Parser
from mv2mae_jax.run_files import (
    CHECKPOINTS,
    CLASSES,
    CONFIG,
    METRICS,
    PREDICTIONS,
    RESULTS,
    read_metrics,
)
from mv2mae_jax.training.checkpoints import Checkpoints

EACH = 5  # kills of a kind
DURING = ("start", "compilation", "step", "checkpoint", "evaluation")
TIMED = ("clips_per_second", "waiting_for_data")  # of the lines of metrics.jsonl
EPOCHS, STEPS_PER_EPOCH, CHECKPOINT_EVERY, LOG_EVERY = 12, 6, 3, 2
STEPS = EPOCHS * STEPS_PER_EPOCH
AT_MOST = 5  # steps that a run makes before it is killed in one
ENDED_AFTER = 10  # seconds that processes of a killed run have to end


class Times(NamedTuple):
    """Of a run, in seconds: until it begins to train, until its first step, and the evaluation."""

    start: float
    compilation: float
    evaluation: float


class Kill(NamedTuple):
    """What a kill met, and what it left."""

    during: str
    again: int  # steps with a line in metrics.jsonl that the next start does again
    torn: int  # incomplete checkpoints
    left: list[str]  # processes and shared memory that were still there


def command(data_dir: Path, workdir: Path) -> list[str]:
    """A small fine-tuning run of `STEPS` steps, and its evaluation."""
    fields = {
        "batch_size": 8,
        "checkpoint_every": CHECKPOINT_EVERY,
        "data.data_dir": data_dir,
        "data.image_size": 28,
        "data.num_frames": 4,
        "data.repeats": 1,
        "data.workers": 1,
        "ema_decay": 0.9,
        "epochs": EPOCHS,
        "evaluation.clips": 2,
        "evaluation.crops": 5,
        "keep_checkpoints": 2,
        "log_every": LOG_EVERY,
    }
    overrides = [f"--config.{name}={value}" for name, value in fields.items()]
    config = "--config=configs/mannequin.py:finetune"
    return [sys.executable, "-m", "mv2mae_jax.main", config, f"--workdir={workdir}", *overrides]


def measure(arguments: argparse.Namespace) -> common.Report:
    """Kills and continues; the report says what each kill left, and what differs at the end."""
    with tempfile.TemporaryDirectory() as folder:
        undisturbed, disturbed = Path(folder) / "undisturbed", Path(folder) / "disturbed"
        times = _timed(command(arguments.data_dir, undisturbed), undisturbed)
        words = command(arguments.data_dir, disturbed)
        draw = random.Random(0)
        kills: list[Kill] = []
        for during in _plan(draw):
            kills.append(_killed(words, disturbed, during, times, draw))
            print(f"{len(kills)}: {kills[-1]}", flush=True)
        _until_end(words)
        return {
            "kills": [kill._asdict() for kill in kills],
            "different": differences(undisturbed, disturbed),
            "machine": common.machine(),
        }


def _plan(draw: random.Random) -> list[str]:
    """What each kill is aimed at, in random order, but the evaluation comes last.

    Before it a kill in a step needs at most `AT_MOST` of the `STEPS`, one in the writing of a
    checkpoint twice `CHECKPOINT_EVERY`.
    """
    *training, evaluation = DURING
    aims = EACH * training
    draw.shuffle(aims)
    return aims + EACH * [evaluation]


def _timed(words: Sequence[str], workdir: Path) -> Times:
    """Runs it to its end, undisturbed."""
    with _started(words, workdir) as (process, output):
        began = time.monotonic()
        _wait(lambda: _trains(output), process)
        trains = time.monotonic()
        _wait(lambda: _last_step(workdir) > 0, process)
        steps = time.monotonic()
        _wait(lambda: _is_trained(workdir), process)
        trained = time.monotonic()
        if process.wait() != 0:
            raise SystemExit(f"error: the undisturbed run failed: {output.read_text()}")
        return Times(trains - began, steps - trains, time.monotonic() - trained)


def _killed(
    words: Sequence[str], workdir: Path, during: str, times: Times, draw: random.Random
) -> Kill:
    """Starts the run, kills it at a moment of the kind asked for, and looks at what it leaves."""
    with _started(words, workdir) as (process, output):
        if during == "start":
            time.sleep(draw.uniform(0, times.start))
        elif during == "compilation":
            _wait(lambda: _trains(output), process)
            time.sleep(draw.uniform(0, times.compilation))
        elif during == "step":
            _wait(lambda: _trains(output), process)
            last = _last_step(workdir) + draw.randint(1, AT_MOST - LOG_EVERY)
            _wait(lambda: _last_step(workdir) >= last, process)
            time.sleep(draw.uniform(0, 0.1))
        elif during == "checkpoint":
            _wait(lambda: _trains(output), process)
            before = set(_torn(workdir))
            _wait(lambda: bool(set(_torn(workdir)) - before), process)
            time.sleep(draw.uniform(0, 0.03))
        else:
            _wait(lambda: _is_trained(workdir), process)
            time.sleep(draw.uniform(0, times.evaluation))
        shared = common.shared_memory_of(_processes(process.pid))
        process.kill()
        process.wait()
        deadline = time.monotonic() + ENDED_AFTER
        while (left := _left(process.pid, shared)) and time.monotonic() < deadline:
            time.sleep(0.1)
        return Kill(during, *lost(workdir, output), left)


def lost(workdir: Path, output: Path) -> tuple[int, int]:
    """Logged steps that the next start does again, and incomplete checkpoints, of a killed start.

    What earlier ones have left is there until it begins to train.
    """
    if not _trains(output):
        return 0, 0
    saved = max((int(step.name) for step in _complete(workdir)), default=0)
    return max(0, _last_step(workdir) - saved), len(_torn(workdir))


def _until_end(words: Sequence[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"error: the run could not be continued: {done.stderr}")


@contextlib.contextmanager
def _started(words: Sequence[str], workdir: Path) -> Any:
    """The process, in a session of its own, and the file of what it says."""
    output = workdir.with_suffix(".txt")
    with output.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            words,
            stdout=file,
            stderr=file,
            start_new_session=True,
            env=os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"},  # each start compiles
        )
    try:
        yield process, output
    finally:
        process.kill()
        process.wait()


def _wait(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Until the condition holds, or the process has ended."""
    while not condition() and process.poll() is None:
        time.sleep(0.001)


def _trains(output: Path) -> bool:
    said = output.read_text(encoding="utf-8")
    return any(word in said for word in ("starting from", "continuing", "is trained to its last"))


def _last_step(workdir: Path) -> int:
    lines = read_metrics(workdir) if (workdir / METRICS).exists() else []
    return max((int(line["step"]) for line in lines), default=0)


def _is_trained(workdir: Path) -> bool:
    return (workdir / CHECKPOINTS / str(STEPS)).exists()


def _complete(workdir: Path) -> list[Path]:
    return [step for step in (workdir / CHECKPOINTS).glob("*") if step.name.isdigit()]


def _torn(workdir: Path) -> list[str]:
    steps = (workdir / CHECKPOINTS).glob("*")
    return [step.name for step in steps if not step.name.isdigit()]


def _processes(run: int) -> dict[int, str]:
    """Numbers and names of the processes of a run, which has a session of its own."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            name, _, fields = status.read_text().rpartition(") ")
            state, _, _, session = fields.split()[:4]
            if int(session) == run and state != "Z":
                found[int(status.parent.name)] = name.partition(" (")[2]
    return found


def _left(run: int, shared: set[str]) -> list[str]:
    """What there is of a run that has ended."""
    return [*_processes(run).values(), *common.shared_memory(shared)]


def differences(expected: Path, found: Path) -> list[str]:
    """What two runs did not come to alike; empty if nothing."""
    different = []
    states = [_last_state(workdir) for workdir in (expected, found)]
    names = states[0].keys() | states[1].keys()
    different += [
        f"state: {name}"
        for name in sorted(names)
        if not np.array_equal(states[0].get(name, np.nan), states[1].get(name, np.nan))
    ]
    lines = [_computed(workdir) for workdir in (expected, found)]
    if lines[0] != lines[1]:
        different.append(METRICS)
    different += [
        name
        for name in (CONFIG, CLASSES, RESULTS, PREDICTIONS)
        if (expected / name).read_bytes() != (found / name).read_bytes()
    ]
    return different + [f"incomplete checkpoint: {name}" for name in _torn(found)]


def _last_state(workdir: Path) -> dict[str, np.ndarray]:
    """Every array of the newest checkpoint, by its path."""
    with Checkpoints(workdir) as checkpoints:
        folder = checkpoints.directory / str(checkpoints.latest_step) / "state"
    state = ocp.PyTreeCheckpointer().restore(folder)
    return {
        "/".join(map(str, path)): np.asarray(value)
        for path, value in ocp.tree.to_flat_dict(state).items()
    }


def _computed(workdir: Path) -> list[dict[str, float]]:
    return [
        {name: x for name, x in line.items() if name not in TIMED} for line in read_metrics(workdir)
    ]


def wrong(report: common.Report) -> str:
    """What the kills have spoilt, a line for each."""
    left = sorted({name for kill in report["kills"] for name in kill["left"]})
    return "\n".join(
        [f"{name} differs" for name in report["different"]] + [f"{name} was left" for name in left]
    )


def show(report: common.Report) -> None:
    """A row for each kind of moment."""
    rows = []
    for during in DURING:
        kills = [kill for kill in report["kills"] if kill["during"] == during]
        torn, left = (sum(bool(kill[name]) for kill in kills) for name in ("torn", "left"))
        rows.append((during, len(kills), torn, max(kill["again"] for kill in kills), left))
    head = ["killed during", "times", "left a torn checkpoint", "steps again, at most"]
    print(tabulate(rows, [*head, "left something else"]))


def main() -> int:
    """Measures, and exits with 1 if anything differs or is left."""
    parser = Parser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, help="of the mannequin; made if not given")
    parser.add_argument("--json", type=Path, help="file to write, too")
    return common.run(parser.parse_args(), common.small_mannequin, measure, show, wrong)


if __name__ == "__main__":
    sys.exit(main())
