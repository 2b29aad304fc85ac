"""How pre-training scales over slices of TPUs, by the step compiled for each of them.

python -m benchmarks.scaling [--slices v5e:1x1 v5e:2x2 ...] [--per-chip 64] [--batch 1024]

Weak: as many pairs for every chip. Strong: one batch, shared by all; a chip that has more of it
than it has in the weak case takes it in micro-batches. Times are a roofline, as
mv2mae_jax/cost/estimate.py has it.
Each program takes one to two minutes to compile on two cores.
"""

import sys
from collections.abc import Sequence

from ml_collections import ConfigDict
from tabulate import tabulate

from configs.ntu60 import get_config
from mv2mae_jax.command_line import Parser
from mv2mae_jax.cost.devices import GIB
from mv2mae_jax.cost.estimate import Cost, cost
from mv2mae_jax.cost.topology import parse_topology
from mv2mae_jax.errors import InputError

HEADS = (
    *("slice", "pairs a chip", "micro-batches", "GiB a chip", "operations, ms", "traffic, ms"),
    *("exchange, MB", "exchange, ms", "step, ms", "pairs/s"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints both tables; returns the exit code."""
    parser = Parser(description=__doc__)
    slices = ("v5e:1x1", "v5e:2x2", "v5e:4x4", "v5e:8x8", "v5e:16x16")
    parser.add_argument("--slices", nargs="+", default=slices)
    parser.add_argument("--per-chip", type=int, default=64, help="pairs, of weak scaling")
    parser.add_argument("--batch", type=int, default=1024, help="pairs, of strong scaling")
    arguments = parser.parse_args(argv)
    try:
        for title, batch in (("weak", 0), ("strong", arguments.batch)):
            rows = [row(name, batch, arguments.per_chip) for name in arguments.slices]
            print(
                title, tabulate(rows, HEADS, tablefmt="github"), sep="\n\n", end="\n\n", flush=True
            )
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def row(name: str, batch: int, per_chip: int) -> list[str]:
    """Of the table; `batch` 0: as many as the chips have together."""
    topology = parse_topology(name)
    config = get_config()
    config.batch_size = batch or per_chip * topology.chips
    config.accumulation = max(1, config.batch_size // (per_chip * topology.chips))
    found = compiled(config, name)
    return [
        name,
        f"{config.batch_size // topology.chips}",
        f"{config.accumulation}",
        f"{found.memory.total / GIB:.1f}",
        f"{1e3 * found.computing:.1f}",
        f"{1e3 * found.reading:.1f}",
        f"{sum(x.bytes * x.times for x in found.exchanges) / 1e6:.1f}",
        f"{1e3 * found.exchanging:.2f}",
        f"{1e3 * found.seconds:.1f}",
        f"{config.batch_size / found.seconds:,.0f}",
    ]


def compiled(config: ConfigDict, name: str) -> Cost:
    """The cost of a step; a program that both tables have is compiled once."""
    key = (name, config.batch_size, config.accumulation)
    if key not in _COSTS:
        _COSTS[key] = cost(config, 0, parse_topology(name))
    return _COSTS[key]


_COSTS: dict[tuple[str, int, int], Cost] = {}


if __name__ == "__main__":
    sys.exit(main())
