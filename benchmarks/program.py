"""How long the real program takes to its first step, and how its rate compares to the step alone.

python -m benchmarks.program [--variant small] [--pairs 8] [--dtype float32] [--json FILE]
python -m benchmarks.program --data-dir DIR --dataset ntu --protocol ntu60_xsub ...

`python -m mv2mae_jax.main` pre-trains on records; without a data set a mannequin's are made. From
the start of the process to the end of the first step is measured with an empty cache of compiled
programs, then with what that has left there. Its rate after some steps, loader and all, and the
share of the time that it waits for data, take turns with the rate of the step alone, whose batch
lies on the device.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from benchmarks import common, rounds
from mv2mae_jax.command_line import Parser
from mv2mae_jax.errors import InputError
from mv2mae_jax.model.variants import VARIANTS


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the exit code."""
    return common.run(_arguments(argv), common.small_mannequin, measure, _print)


def measure(arguments: argparse.Namespace) -> common.Report:
    """Everything, as the JSON file has it.

    Raises:
      InputError: the program fails, or the memory is not enough.
    """
    machine = common.machine()
    first: dict[str, list[float]] = {"empty": [], "full": []}
    whole, waiting, alone = [], [], []
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for cache, seconds in first.items():
                run, _ = _run(arguments, folder / cache, folder / "programs", lines=1, log_every=1)
                seconds.append(run)
            _, (_, metrics) = _run(  # the steps of the first line warm it up
                *(arguments, folder / "whole", folder / "programs"),
                lines=2,
                log_every=arguments.steps,
            )
            whole.append(metrics["pairs_per_second"])
            waiting.append(metrics["waiting_for_data"])
            step = _step_alone(arguments, folder)
            alone.append(step.samples_per_second)
    return {
        "machine": machine,
        "device": step.device,
        "model": f"ViT {arguments.variant}, {arguments.dtype}, {arguments.pairs} pairs of "
        f"{arguments.frames} frames of {arguments.image_size} pixels of {arguments.dataset}, "
        f"{arguments.threads} threads, {arguments.steps} steps a round, on {step.device}",
        "seconds_to_first_step": {name: common.spread(each) for name, each in first.items()},
        "pairs_per_second": {"program": common.spread(whole), "step alone": common.spread(alone)},
        "waiting_for_data": common.spread(waiting),
    }


def _run(
    arguments: argparse.Namespace, workdir: Path, cache: Path, *, lines: int, log_every: int
) -> tuple[float, list[dict[str, float]]]:
    """Runs the program until it has logged so many lines of metrics, and kills it then.

    Returns:
      Seconds from its start, and the lines.
    """
    fields = {
        "batch_size": arguments.pairs,
        "checkpoint_every": 10**9,
        "data.data_dir": arguments.data_dir,
        "data.image_size": arguments.image_size,
        "data.num_frames": arguments.frames,
        "data.threads": arguments.threads,
        "log_every": log_every,
        "model.dtype": arguments.dtype,
        "model.variant": arguments.variant,
        "probe.every_epochs": 0.0,
        "pictures_every_epochs": 0.0,
    }
    config = f"configs/custom.py:dataset={arguments.dataset},protocol={arguments.protocol}"
    words = [sys.executable, "-m", "mv2mae_jax.main", f"--config={config}", f"--workdir={workdir}"]
    words += [f"--config.{name}={value}" for name, value in fields.items()]
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache)}
    output = workdir.with_suffix(".log")
    started = time.perf_counter()
    with output.open("w") as file:
        program = subprocess.Popen(words, env=environment, stdout=file, stderr=file)
        try:
            while len(metrics := _complete_lines(workdir / "metrics.jsonl")) < lines:
                if program.poll() is not None:
                    raise InputError(output.read_text().splitlines()[-1].removeprefix("error: "))
                time.sleep(0.01)
            return time.perf_counter() - started, [json.loads(line) for line in metrics]
        finally:
            program.kill()
            program.wait()


def _complete_lines(file: Path) -> list[str]:
    text = file.read_text() if file.exists() else ""
    return text[: text.rfind("\n") + 1].splitlines()


def _step_alone(arguments: argparse.Namespace, folder: Path) -> rounds.Round:
    """A round of the same step."""
    config = common.config(arguments)
    config.model.variant, config.model.dtype = arguments.variant, arguments.dtype
    config.data.num_frames, config.data.image_size = arguments.frames, arguments.image_size
    config.batch_size = arguments.pairs
    rounds.begin(folder, config)
    measured = rounds.run(folder, arguments.steps, "jax_step")
    if measured is None:
        raise InputError(f"not enough memory for a step of {arguments.pairs} pairs; give less")
    return measured


def _print(report: common.Report) -> None:
    print(common.machine_line(report["machine"]))
    print(report["model"])
    rates, waiting = report["pairs_per_second"], report["waiting_for_data"]
    measured = [
        *((f"{name}, pairs/s", rate, ".2f") for name, rate in rates.items()),
        ("program, share of the time waiting for data", waiting, ".1%"),
        *(
            (f"start to first step, {cache} cache, s", seconds, ".1f")
            for cache, seconds in report["seconds_to_first_step"].items()
        ),
    ]
    rows = [
        [name, *(f"{spread[key]:{style}}" for key in ("median", "min", "max"))]
        for name, spread, style in measured
    ]
    aligned = ("left", "right", "right", "right")
    print(tabulate(rows, ["", "median", "least", "most"], colalign=aligned, disable_numparse=True))
    share = rates["program"]["median"] / rates["step alone"]["median"]
    print(f"the program trains at {share:.1%} of the rate of the step alone")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--variant", choices=VARIANTS, default="small")
    parser.add_argument("--pairs", type=int, default=8, help="activities a step")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--data-dir", type=Path, help="of a built data set; default: make one")
    parser.add_argument("--dataset", default="mannequin", help="its name")
    parser.add_argument("--protocol", default="xview", help="whose training split is read")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12, help="measured in a round, after as many")
    parser.add_argument("--json", type=Path, help="write the measurements there too")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
