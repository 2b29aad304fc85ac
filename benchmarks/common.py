"""What the benchmarks share: their course, a word about the machine, and a summary of numbers."""

import argparse
import contextlib
import importlib.metadata
import io
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict
from tabulate import tabulate

from configs.base import get_config
from mv2mae_jax.data import loader
from mv2mae_jax.data.process import SHARED_MEMORY, new_shared_memory_name
from mv2mae_jax.errors import InputError, failed
from mv2mae_jax.interop.export import export
from mv2mae_jax.processes import usable_cores
from mv2mae_jax.storage import out_path, write_out
from mv2mae_jax.training.checkpoints import Checkpoints
from mv2mae_jax.training.parameters import Parameters

Report = dict[str, Any]

SHARED = Path("/dev/shm")

LIBRARIES = (
    *("jax", "jaxlib", "libtpu", "flax", "torch", "numpy"),
    *("grain", "array-record", "simplejpeg", "opencv-python-headless"),
)


def run(
    arguments: argparse.Namespace,
    make_data_set: Callable[[Path, argparse.Namespace], None] | None,
    measure: Callable[[argparse.Namespace], Report],
    show: Callable[[Report], None],
    wrong: Callable[[Report], str] = lambda report: "",
) -> int:
    """Measures on `--data-dir`, or on a data set made for it; returns the exit code.

    Args:
      arguments: `data_dir` and `json`, each maybe None, and what the functions read.
      make_data_set: makes one in a folder and points the arguments to it; None: none is needed.
      measure: what goes into the JSON file.
      show: prints it for people.
      wrong: says why it is not as it must be, a line for each reason; empty if it is.
    """
    try:
        out = None if arguments.json is None else out_path(arguments.json)
        with tempfile.TemporaryDirectory() as folder:
            if make_data_set and arguments.data_dir is None:
                make_data_set(Path(folder), arguments)
            report = measure(arguments)
        show(report)
        if out is not None:
            write_out(out, json.dumps(report, indent=1) + "\n")
    except InputError as error:
        return failed(error)
    reasons = wrong(report).splitlines()
    for reason in reasons:
        print(f"error: {reason}", file=sys.stderr)
    return 1 if reasons else 0


def make_mannequin(folder: Path, *options: str) -> Path:
    """Renders a mannequin that does each action once, and builds its records; returns `data_dir`.

    Args:
      folder: of its videos and records.
      options: of `python -m mv2mae_jax.prepare mannequin`.
    """
    paths = (f"--raw-dir={folder / 'raw'}", f"--data-dir={folder / 'data'}")
    words = [sys.executable, "-m", "mv2mae_jax.prepare", "mannequin", *paths, "--replications=1"]
    subprocess.run([*words, *options], check=True, stdout=subprocess.DEVNULL)
    return folder / "data"


def small_mannequin(folder: Path, arguments: argparse.Namespace) -> None:
    """Makes one of two subjects, and points the arguments there."""
    arguments.data_dir = make_mannequin(folder, "--subjects=2")


def config(arguments: argparse.Namespace) -> ConfigDict:
    """The paper's, on the data set that the arguments name."""
    config = get_config()
    config.data.data_dir = str(arguments.data_dir)
    config.data.dataset = arguments.dataset
    config.data.protocol = arguments.protocol
    config.data.threads = arguments.threads
    return config


def loader_seconds(
    config: ConfigDict, make_batches: Callable[[ConfigDict], loader.Batches], at_least: float
) -> tuple[float, float]:
    """Seconds for a sample of the running loader, once it is warm: of the clock, of the processor.

    Args:
      config: of the loader.
      make_batches: starts it.
      at_least: seconds of the measurement.

    Returns:
      Seconds that pass, and those of processor time of this process, without its workers.
    """
    with make_batches(config) as batches:
        for _ in range(3):  # workers start, and what they made ahead meanwhile is used up
            next(batches)
        samples, start, busy = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - start < at_least:
            samples += len(next(batches)["index"])
        passed = time.perf_counter() - start
        return passed / samples, (time.process_time() - busy) / samples


def shared_memory_of(processes: Iterable[int]) -> set[str]:
    """How the names begin of shared memory that workers of the loader made for these processes.

    By what they have mapped: other loaders on this machine have names of their own.
    """
    token = len(new_shared_memory_name()) - len(SHARED_MEMORY)
    begin = re.compile(rf"{SHARED}/({SHARED_MEMORY}.{{{token}}})")
    found: set[str] = set()
    for process in processes:
        with contextlib.suppress(OSError):  # it has just ended
            found.update(begin.findall(Path(f"/proc/{process}/maps").read_text()))
    return found


def shared_memory(begin: Iterable[str]) -> list[str]:
    """What there is of shared memory whose names begin so."""
    return [path.name for name in begin for path in SHARED.glob(f"{name}*")]


def export_parameters(config: ConfigDict, parameters: Parameters, folder: Path) -> Path:
    """Exports parameters for Hugging Face, as those of a run; returns the export's folder."""
    with Checkpoints(folder / "run") as checkpoints:
        checkpoints.save(0, {"parameters": parameters}, config)
    with contextlib.redirect_stdout(io.StringIO()):
        export(folder / "run", "huggingface", folder / "exported")
    return folder / "exported"


def machine() -> dict[str, Any]:
    """What measurements depend on, as a JSON file has it."""
    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "python": platform.python_version(),
        "versions": _versions(),
        "load_before": os.getloadavg()[0],
    }


def machine_line(machine: Mapping[str, Any]) -> str:
    """The same for people."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['processor']}, {machine['cores']} cores; "
        f"load before the start {machine['load_before']:.1f}\n"
        f"Python {machine['python']}, {versions}"
    )


def spread(measured: Sequence[float]) -> dict[str, float]:
    """Summary of repeated measurements."""
    return {
        "median": statistics.median(measured),
        "min": min(measured),
        "max": max(measured),
        "measurements": len(measured),
    }


def print_times(spreads: Mapping[str, Mapping[str, float]], heads: Sequence[str]) -> None:
    """A table of seconds, each a `spread`: name, milliseconds (median, least, most), and the
    inverse of the median; under five heads.
    """
    rows = [
        [name, *(1e3 * row[key] for key in ("median", "min", "max")), 1 / row["median"]]
        for name, row in spreads.items()
    ]
    print(tabulate(rows, heads, floatfmt=".2f"))


def _versions() -> dict[str, str]:
    """Of what is installed of the libraries that do the work."""
    found = {}
    for name in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _processor() -> str:
    """Its name, and which of the many of this name, as far as it is known."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    facts = {name.strip(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    if "model name" not in facts:
        return platform.machine()
    return "{model name} (family {cpu family}, model {model})".format_map(facts)
