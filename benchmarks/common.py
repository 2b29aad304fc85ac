"""What the benchmarks share: a word about the machine, and a summary of measurements."""

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """What measurements depend on, as a JSON file has it."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }


def machine_line(machine: Mapping[str, Any]) -> str:
    """The same for people."""
    return (
        f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}; "
        f"load before the start {machine['load_before']:.1f}"
    )


def spread(measured: Sequence[float]) -> dict[str, float]:
    """Summary of repeated measurements."""
    return {
        "median": statistics.median(measured),
        "min": min(measured),
        "max": max(measured),
        "measurements": len(measured),
    }


def _processor() -> str:
    """The processor's name, as far as it is known."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
