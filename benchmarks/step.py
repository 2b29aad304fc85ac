"""How fast this machine trains, beside PyTorch: the step alone, on data on the device.

python -m benchmarks.step [--variant small] [--pairs 4 8 16] [--dtype float32] [--json FILE]
python -m benchmarks.step --task finetune [--clips 4 8 16] ...

Four programs of the same architecture run the same step, from uint8 clips to the updated
parameters: the package's; a plain one in PyTorch, as one would extend VideoMAE (attention written
out, one view after the other, AdamW as it comes); a fused one (PyTorch's fused attention and AdamW,
both views stacked); and a strong one (`torch_strong`: visible tubelets gathered besides, compiled).
They start from the same
weights, and the losses of the first batch, under the same masks, must agree before and after an
update. Rounds of some steps take turns, each in a process of its own that has the machine for
itself; a program's first round compiles, its later ones find that in a cache. A pair is one
activity: two views of 16 frames. Fine-tuning is Table 16's, of single clips, without drop path.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict
from tabulate import tabulate

from benchmarks import common, rounds
from benchmarks.flops import finetuning_flops, pretraining_flops
from configs.base import get_config, set_finetuning
from mv2mae_jax.command_line import Parser
from mv2mae_jax.cost import devices
from mv2mae_jax.interop.files import require
from mv2mae_jax.model.variants import VARIANTS

MIB = 2**20
PROGRAMS = {  # module of a round, and its options
    "JAX": ("jax_step",),
    "plain PyTorch": ("torch_step", "plain"),
    "fused PyTorch": ("torch_step", "fused"),
    "strong PyTorch": ("torch_step", "strong"),
}
LOSSES_AGREE = {"float32": 1e-4, "bfloat16": 2e-2}  # relatively


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the exit code."""
    arguments = _arguments(argv)
    config = config_of(arguments)
    return common.run(
        arguments, None, partial(measure, config), lambda report: print(table(report)), wrong
    )


def config_of(arguments: argparse.Namespace) -> ConfigDict:
    """The paper's, of the task and the model that are asked for."""
    config = get_config()
    config.task = arguments.task
    if arguments.task == "finetune":
        set_finetuning(config)
        config.model.drop_path = 0.0  # what it drops would be other clips in PyTorch
        config.data.repeats = 1  # a batch counts clips
    config.model.variant = arguments.variant
    config.model.dtype = arguments.dtype
    config.optimizer.warmup_epochs = 0.0  # the first update would be of rate 0
    return config


def measure(config: ConfigDict, arguments: argparse.Namespace) -> common.Report:
    """Everything, as the JSON file has it.

    Args:
      config: whose step is measured, with any batch size.
      arguments: `samples`, the batch sizes; `rounds` of each program, `steps` of a round;
        `compile`, the mode of the strong one.

    Raises:
      InputError: PyTorch is not installed.
    """
    require("torch", "benchmarks.step")
    machine = common.machine()
    finetuning = config.task == "finetune"
    flops = finetuning_flops(config, rounds.CLASSES) if finetuning else pretraining_flops(config)
    return {
        "machine": machine,
        "task": config.task,
        "variant": config.model.variant,
        "dtype": config.model.dtype,
        "frames": config.data.num_frames,
        "image_size": config.data.image_size,
        "flops_per_sample": flops,
        "steps_per_round": arguments.steps,
        "rows": [
            {"samples": size, "program": program} | summary(measured, flops, config.model.dtype)
            for size in arguments.samples
            for program, measured in _measured(config, size, arguments).items()
        ],
    }


def _measured(
    config: ConfigDict, size: int, arguments: argparse.Namespace
) -> dict[str, list[rounds.Round | None]]:
    """All rounds of all programs with a batch size."""
    config = config.copy_and_resolve_references()
    config.batch_size = config.optimizer.reference_batch = size  # so that an update shows
    measured: dict[str, list[rounds.Round | None]] = {program: [] for program in PROGRAMS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rounds.begin(folder, config)
        for _ in range(arguments.rounds):
            for program, (module, *options) in PROGRAMS.items():
                if "strong" in options:
                    options = [*options, f"--compile={arguments.compile}"]
                measured[program].append(rounds.run(folder, arguments.steps, module, *options))
    return measured


def summary(measured: Sequence[rounds.Round | None], flops: int, dtype: str) -> dict[str, Any]:
    """Of a program's rounds; empty if there was not enough memory for one.

    Args:
      measured: the rounds, of which the first compiled.
      flops: of a sample, from the shapes.
      dtype: of the activations.
    """
    ran = [each for each in measured if each is not None]
    if len(ran) < len(measured):
        return {}
    first = ran[0]
    rate = common.spread([each.samples_per_second for each in ran])
    device = devices.find(first.device)
    cached = [each.first_step_seconds for each in ran[1:]]
    return {
        "framework": first.framework,
        "device": first.device,
        "samples_per_second": rate,
        "flops_per_second": flops * rate["median"],
        "mfu": device and flops * rate["median"] / device.peak(dtype),
        "peak_mib": common.spread([each.peak_bytes / MIB for each in ran]),
        "first_step_seconds": first.first_step_seconds,
        "first_step_seconds_cached": common.spread(cached) if cached else None,
        "losses": first.losses,
        "compiler_flops": first.compiler_flops and first.compiler_flops / flops,
    }


def by_size(report: common.Report) -> dict[int, dict[str, dict[str, Any]]]:
    """The rows of a report that have measurements, by batch size and program."""
    sizes: dict[int, dict[str, dict[str, Any]]] = {}
    for row in report["rows"]:
        if "framework" in row:
            sizes.setdefault(row["samples"], {})[row["program"]] = row
    return sizes


def wrong(report: common.Report) -> str:
    """Where the programs do not compute the same; empty if they do everywhere."""
    bound = LOSSES_AGREE[report["dtype"]]
    for size, rows in by_size(report).items():
        for number, when in enumerate(("before", "after")):
            losses = {program: row["losses"][number] for program, row in rows.items()}
            least, most = min(losses.values()), max(losses.values())
            if not most - least <= bound * most:  # nan is not
                return f"the losses of a batch of {size} {when} an update differ: {losses}"
    return ""


def table(report: common.Report) -> str:
    """A report for people."""
    unit, sample = {"pretrain": ("pairs", "pair"), "finetune": ("clips", "clip")}[report["task"]]
    heads = [unit, "program", "device", f"{unit}/s", "least", "most", "GFLOP/s", "MFU"]
    heads += ["peak MiB", "first step, s", "cached", "first loss", "after"]
    aligned = ("right", "left", "left", *("right" for _ in heads[3:]))
    lines = [
        common.machine_line(report["machine"]),
        f"{report['task']}, ViT {report['variant']}, {report['dtype']}, {report['frames']} frames "
        f"of {report['image_size']} pixels, {report['flops_per_sample'] / 1e9:.1f} GFLOP a "
        f"{sample}, {report['steps_per_round']} steps a round",
        tabulate(map(_cells, report["rows"]), heads, colalign=aligned, disable_numparse=True),
    ]
    for size, rows in by_size(report).items():
        if ours := rows.get("JAX"):
            speed = ours["samples_per_second"]["median"]
            times = [
                f"{speed / row['samples_per_second']['median']:.2f} times as fast as {program}"
                for program, row in rows.items()
                if row is not ours
            ]
            counted = f"XLA counts {ours['compiler_flops']:.2f} times the operations"
            lines.append(f"{size} {unit}: {', '.join([*times, counted])}")
    return "\n".join(lines)


def _cells(row: dict[str, Any]) -> list[str]:
    if "framework" not in row:
        return [str(row["samples"]), row["program"], "out of memory", *[""] * 10]
    rate, mfu, cached = row["samples_per_second"], row["mfu"], row["first_step_seconds_cached"]
    return [
        str(row["samples"]),
        row["framework"],
        row["device"],
        *(f"{rate[key]:.2f}" for key in ("median", "min", "max")),
        f"{row['flops_per_second'] / 1e9:.0f}",
        f"{mfu:.1%}" if mfu else "",
        f"{row['peak_mib']['median']:.0f}",
        f"{row['first_step_seconds']:.1f}",
        f"{cached['median']:.1f}" if cached else "",
        *(f"{loss:.5f}" for loss in row["losses"]),
    ]


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--task", choices=("pretrain", "finetune"), default="pretrain")
    parser.add_argument("--variant", choices=VARIANTS, default="small")
    parser.add_argument(
        *("--pairs", "--clips"), dest="samples", nargs="+", type=int, default=[4], help="of a step"
    )
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--rounds", type=int, default=3, help="of each program")
    parser.add_argument("--steps", type=int, default=3, help="measured in a round")
    parser.add_argument(
        "--compile",
        choices=("none", "default", "reduce-overhead", "max-autotune"),
        default="default",
        help="mode of torch.compile for the strong step; or none",
    )
    parser.add_argument("--json", type=Path, help="write the measurements there too")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
