"""How pre-training scales over slices of TPUs, by the step compiled for each of them.

python -m benchmarks.scaling [--slices v5e:1x1 v5e:2x2 ...]

Weak: 64 pairs for every chip. Strong: one batch of 1,024, shared by all; a chip that has more of it
than it has in the weak case takes it in micro-batches. Times are a roofline, as
mv2mae_jax/cost/estimate.py has it.
Each program takes two to four minutes to compile on two cores.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict
from tabulate import tabulate

from benchmarks import common
from configs.ntu60 import get_config
from mv2mae_jax.command_line import Parser
from mv2mae_jax.cost.devices import GIB
from mv2mae_jax.cost.estimate import Cost, DoesNotFit, cost
from mv2mae_jax.cost.topology import parse_topology

PER_CHIP, BATCH = 64, 1024  # pairs, of weak and of strong scaling
FORMATS = ("", "", "", ".1f", ".1f", ".1f", ".1f", ".2f", ".1f", ",.0f")  # of the columns


def main(argv: Sequence[str] | None = None) -> int:
    """Compiles and prints; returns the exit code."""
    return common.run(_arguments(argv), None, measure, _print)


def measure(arguments: argparse.Namespace) -> common.Report:
    """Everything, as the JSON file has it: the rows of both tables.

    Raises:
      InputError: there is no such slice, or no compiler for it.
    """
    report: common.Report = {"machine": common.machine()}
    for title, batch in (("weak", 0), ("strong", BATCH)):
        report[title] = [row(name, batch) for name in arguments.slices]
    return report


def _print(report: common.Report) -> None:
    print(common.machine_line(report["machine"]))
    for title in ("weak", "strong"):
        rows = tabulate(report[title], "keys", tablefmt="github", floatfmt=FORMATS)
        print(title, rows, sep="\n\n", end="\n\n")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    slices = ("v5e:1x1", "v5e:2x2", "v5e:4x4", "v5e:8x8", "v5e:16x16")
    parser.add_argument("--slices", nargs="+", default=slices)
    parser.add_argument("--json", type=Path, help="write the tables there too")
    return parser.parse_args(argv)


def row(name: str, batch: int) -> dict[str, str | float]:
    """Of the table; `batch` 0: as many as the chips have together."""
    topology = parse_topology(name)
    config = get_config()
    config.batch_size = batch or PER_CHIP * topology.chips
    config.accumulation = max(1, config.batch_size // (PER_CHIP * topology.chips))
    shares = {
        "slice": name,
        "pairs a chip": config.batch_size // topology.chips,
        "micro-batches": config.accumulation,
    }
    try:
        found = compiled(config, name)
    except DoesNotFit as error:
        print(f"{name}: {error}", file=sys.stderr)
        return shares
    return shares | {
        "GiB a chip": found.memory.total / GIB,
        "operations, ms": 1e3 * found.computing,
        "traffic, ms": 1e3 * found.reading,
        "exchange, MB": sum(x.bytes * x.times for x in found.exchanges) / 1e6,
        "exchange, ms": 1e3 * found.exchanging,
        "step, ms": 1e3 * found.seconds,
        "pairs/s": config.batch_size / found.seconds,
    }


def compiled(config: ConfigDict, name: str) -> Cost:
    """The cost of a step; a program that both tables have is compiled once."""
    key = (name, config.batch_size, config.accumulation)
    if key not in _COSTS:
        _COSTS[key] = cost(config, 0, parse_topology(name))
    return _COSTS[key]


_COSTS: dict[tuple[str, int, int], Cost] = {}


if __name__ == "__main__":
    sys.exit(main())
