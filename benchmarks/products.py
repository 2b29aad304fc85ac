"""A step's matrix products alone, by XLA and by PyTorch: what bounds a step on this device.

python -m benchmarks.products [--variant small] [--pairs 4] [--dtype float32] [--rounds 5]

The products are those of the package's traced step, as often as it has them. Each is timed by
itself, by both in turns, on operands that lie in memory as the step's do; their sum is the least
that a step with these products takes.
"""

import argparse
import string
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from tabulate import tabulate

from benchmarks import common
from configs.base import get_config
from mv2mae_jax.command_line import Parser
from mv2mae_jax.cost import program
from mv2mae_jax.interop.files import require
from mv2mae_jax.model.variants import VARIANTS
from mv2mae_jax.training.sharding import make_mesh

AT_LEAST = 0.05  # seconds of one measurement
LARGEST = 12  # rows that people are shown

Axes = tuple[int, ...]
DimensionNumbers = tuple[tuple[Axes, Axes], tuple[Axes, Axes]]


class Product(NamedTuple):
    """A matrix product, as `jax.lax.dot_general` has it."""

    left: Axes
    right: Axes
    numbers: DimensionNumbers
    flops: int


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the exit code."""
    return common.run(_arguments(argv), None, measure, lambda report: print(table(report)))


def measure(arguments: argparse.Namespace) -> common.Report:
    """Everything, as the JSON file has it.

    Raises:
      InputError: PyTorch is not installed.
    """
    require("torch", "benchmarks.products")
    machine = common.machine()
    config = get_config()
    config.model.variant, config.model.dtype = arguments.variant, arguments.dtype
    config.batch_size = arguments.pairs
    return {
        "machine": machine,
        "device": jax.devices()[0].device_kind,
        "variant": arguments.variant,
        "dtype": arguments.dtype,
        "pairs": arguments.pairs,
        "rows": [
            {
                "product": einsum(product),
                "left": product.left,
                "right": product.right,
                "times": times,
                "flops": product.flops,
                "seconds": _seconds(product, arguments.dtype, arguments.rounds),
            }
            for product, times in products_of(config).items()
        ],
    }


def _seconds(product: Product, dtype: str, rounds: int) -> dict[str, dict[str, float]]:
    """Of the product by either library, in turns."""
    import torch

    place = "cuda" if torch.cuda.is_available() else "cpu"
    rng = np.random.default_rng(0)
    operands = [rng.normal(size=x).astype(np.float32) for x in (product.left, product.right)]
    in_jax = [jnp.asarray(x, dtype) for x in operands]
    in_torch = [torch.from_numpy(x).to(place, getattr(torch, dtype)) for x in operands]
    multiply, equation = jax.jit(jax.lax.dot_general, static_argnums=2), einsum(product)

    def by_torch() -> None:
        torch.einsum(equation, *in_torch)
        if place == "cuda":
            torch.cuda.synchronize()

    runs = {
        "XLA": lambda: jax.block_until_ready(multiply(*in_jax, product.numbers)),
        "PyTorch": by_torch,
    }
    measured: dict[str, list[float]] = {name: [] for name in runs}
    for name in [*runs] * rounds:
        measured[name].append(_once(runs[name]))
    return {name: common.spread(seconds) for name, seconds in measured.items()}


def _once(run: Callable[[], object]) -> float:
    """Seconds, over as many runs as the clock needs; the first, which may compile, is not timed."""
    run()
    started, runs = time.perf_counter(), 0
    while time.perf_counter() - started < AT_LEAST:
        run()
        runs += 1
    return (time.perf_counter() - started) / runs


def products_of(config: ConfigDict) -> Counter[Product]:
    """Those of a pre-training step on one device, each with how often it has it."""
    traced, _ = program.trace_step(config, 0, make_mesh(1, jax.devices()[:1]))
    counts: Counter[Product] = Counter()
    for equation, times in program.dot_generals(traced.jaxpr):
        left, right = (tuple(x.aval.shape) for x in equation.invars)
        numbers = equation.params["dimension_numbers"]
        counts[Product(left, right, numbers, program.flops(equation))] += times
    return counts


def einsum(product: Product) -> str:
    """The product as an equation of einsum."""
    (left_sum, right_sum), (left_batch, right_batch) = product.numbers
    letters = iter(string.ascii_lowercase)
    left = [next(letters) for _ in product.left]
    right = [next(letters) for _ in product.right]
    for ours, theirs in zip((*left_sum, *left_batch), (*right_sum, *right_batch), strict=True):
        right[theirs] = left[ours]
    batch = [left[axis] for axis in left_batch]
    free = [x for x in left if x not in right] + [x for x in right if x not in left]
    return f"{''.join(left)},{''.join(right)}->{''.join(batch + free)}"


def table(report: common.Report) -> str:
    """A report for people: the products that take longest, and the sums over all."""
    rows = report["rows"]
    by_xla = sorted(rows, key=lambda row: -row["times"] * row["seconds"]["XLA"]["median"])
    sums = {
        name: [sum(row["times"] * row["seconds"][name][key] for row in rows)
               for key in ("median", "min", "max")]
        for name in ("XLA", "PyTorch")
    }  # fmt: skip
    flops = sum(row["times"] * row["flops"] for row in rows)
    heads = ["times", "left", "right", "product", "XLA, GFLOP/s", "PyTorch, GFLOP/s"]
    shown = [
        [row["times"], *("x".join(map(str, row[side])) for side in ("left", "right"))]
        + [row["product"]]
        + [row["flops"] / row["seconds"][name]["median"] / 1e9 for name in sums]
        for row in by_xla[:LARGEST]
    ]
    lines = [
        common.machine_line(report["machine"]),
        f"the matrix products of a step of {report['pairs']} pairs, ViT {report['variant']}, "
        f"{report['dtype']}, on {report['device']}: {len(rows)} shapes, {flops / 1e9:.0f} GFLOP; "
        f"the {LARGEST} that take longest",
        tabulate(shown, heads, floatfmt=".0f"),
    ]
    lines += [
        f"{name}: all products {median:.2f} s ({least:.2f} to {most:.2f}), "
        f"{flops / median / 1e9:.0f} GFLOP/s"
        for name, (median, least, most) in sums.items()
    ]
    return "\n".join(lines)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--variant", choices=VARIANTS, default="small")
    parser.add_argument("--pairs", type=int, default=4, help="of a step")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--rounds", type=int, default=5, help="of each product")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
