"""What the source view tells: a pre-trained run's losses with it, without it, and with another's.

python -m benchmarks.source_view --workdir runs/pretrain --data-dir DIR
python -m benchmarks.source_view --workdir runs/one --workdir runs/other --data-dir DIR

Of training activities, drawn and masked anew (not as in training), the loss of the target as the
self-view decoder fills it in and as the cross-view decoder does; by how many percent the latter is
less; and by how many percent it is more where the source is of another activity of the batch. All
under the same masks; ± the standard error over batches.
"""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from ml_collections import ConfigDict
from tabulate import tabulate

from benchmarks import common
from mv2mae_jax.command_line import Parser, number
from mv2mae_jax.data import loader
from mv2mae_jax.errors import InputError
from mv2mae_jax.losses import pretraining_loss
from mv2mae_jax.model import build
from mv2mae_jax.model.parts import has
from mv2mae_jax.training.checkpoints import load_parameters
from mv2mae_jax.training.parameters import Parameters, definition_of
from mv2mae_jax.training.step import DeviceBatch, sample_keys

SEED = 10**6  # no run's

Clips = UInt8[Array, "B V T H W C"]
Losses = Float[np.ndarray, "batches 3"]  # self-view, cross-view, cross-view with another's source


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the exit code."""
    return common.run(_arguments(argv), None, measure, _print)


def measure(arguments: argparse.Namespace) -> common.Report:
    """Everything, as the JSON file has it.

    Raises:
      InputError: there is no such run, it has no cross-view decoder, or the data cannot be used.
    """
    report: common.Report = {"machine": common.machine(), "batch_size": arguments.batch_size}
    report["runs"] = {}
    for workdir in arguments.workdir:
        parameters, config = load_parameters(workdir)
        if not has(parameters, "cross-view decoder"):
            raise InputError(
                f"{workdir} has no cross-view decoder; name a run of pre-training on two views or "
                "more with config.objective.cross_view above 0"
            )
        config.data.data_dir = str(arguments.data_dir)
        config.data.repeats = 1  # so that the next sample of a batch is of another activity
        config.batch_size, config.seed = arguments.batch_size, SEED
        report["runs"][str(workdir)] = summary(losses(config, parameters, arguments.batches))
    return report


def losses(config: ConfigDict, parameters: Parameters, count: int) -> Losses:
    """The target's losses of a model over so many batches.

    Raises:
      InputError: the data cannot give such batches.
    """
    of_batch = target_losses(config)
    with loader.pretraining_batches(config) as batches:
        on_device = map(jax.device_put, islice(batches, count))
        return np.array([of_batch(parameters, batch) for batch in on_device])


def target_losses(
    config: ConfigDict,
) -> Callable[[Parameters, DeviceBatch], Float[Array, " losses"]]:
    """Compiles (parameters, batch) -> self-view, cross-view, and that with another's source."""
    definition = definition_of(partial(build.pretraining_model, config))

    @jax.jit
    def of_batch(parameters: Parameters, batch: DeviceBatch) -> Float[Array, " losses"]:
        model, keys = definition.bind(parameters), sample_keys(config.seed, batch["index"])
        target, sources = batch["clips"][:, :1], batch["clips"][:, 1:]
        others = jnp.concatenate([target, jnp.roll(sources, 1, axis=0)], axis=1)
        _, own = pretraining_loss(config, model, batch, keys)
        _, another = pretraining_loss(config, model, {"clips": others}, keys)
        return jnp.stack(
            [own["self_view_target"], own["cross_view_target"], another["cross_view_target"]]
        )

    return of_batch


def summary(losses: Losses) -> dict[str, tuple[float, float]]:
    """Means and their standard errors; differences in percent of the mean that they are of."""
    alone, crossed, another = losses.T
    return {
        "self_view": _mean(alone),
        "cross_view": _mean(crossed),
        "less": _mean(100 * (alone - crossed) / alone.mean()),
        "another_more": _mean(100 * (another - crossed) / crossed.mean()),
    }


def _mean(values: Float[np.ndarray, " batches"]) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))


def _print(report: common.Report) -> None:
    print(common.machine_line(report["machine"]))
    rows = [
        [run]
        + [f"{mean:.5f} ± {error:.5f}" for mean, error in (found["self_view"], found["cross_view"])]
        + [f"{mean:.2f} ± {error:.2f}" for mean, error in (found["less"], found["another_more"])]
        for run, found in report["runs"].items()
    ]
    heads = ["run", "self-view", "cross-view", "less, %", "another's source, more, %"]
    print(tabulate(rows, heads, disable_numparse=True))


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--workdir", type=Path, action="append", required=True, help="of a run")
    parser.add_argument("--data-dir", type=Path, required=True, help="of its data set")
    parser.add_argument("--batches", type=number(int, 2, 10**6), default=12)
    parser.add_argument(
        "--batch-size", type=number(int, 2, 10**6), default=64, help="activities of a batch"
    )
    parser.add_argument("--json", type=Path, help="write the measurements there too")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
