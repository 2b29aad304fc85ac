"""Planning: what a training run would cost on a machine that need not be there."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import jax
from ml_collections import ConfigDict
from tabulate import tabulate

from configs.base import PLANS
from mv2mae_jax.cost.devices import GIB
from mv2mae_jax.cost.estimate import Cost, DoesNotFit, cost
from mv2mae_jax.cost.program import batch_shapes, tree_bytes
from mv2mae_jax.cost.topology import Topology
from mv2mae_jax.data import loader, splits
from mv2mae_jax.data.protocols import ETRI_TRAIN_VIDEOS
from mv2mae_jax.data.records import is_built
from mv2mae_jax.data.samples import unit
from mv2mae_jax.errors import InputError


class TrainingSet(NamedTuple):
    """What a run trains on: activities, their videos, and the classes it tells apart."""

    activities: int
    videos: int
    classes: int


# As published, by data set and protocol, for plans before it is there; in ETRI's, eight cameras see
# an activity.
PUBLISHED_SIZES = {
    ("ntu", "ntu60_xsub"): TrainingSet(13_440, 40_320, 60),
    ("ntu", "ntu60_xview"): TrainingSet(18_960, 37_920, 60),
    ("ntu", "ntu120_xsub"): TrainingSet(21_120, 63_360, 120),
    ("ntu", "ntu120_xset"): TrainingSet(18_240, 54_720, 120),
    ("etri", "xsub"): TrainingSet(ETRI_TRAIN_VIDEOS // 8, ETRI_TRAIN_VIDEOS, 55),
}


def plan(config: ConfigDict, topology: Topology) -> None:
    """Prints what the training that a config plans would cost, from its exact step.

    Args:
      config: of the task `plan` or `plan_finetune`.
      topology: the machine.

    Raises:
      InputError: it does not fit there, and what would; the machine cannot share the batch,
        or an epoch has none.
    """
    jax.config.update("jax_platforms", "cpu")  # where it is planned, not where it will run
    config = config.copy_and_resolve_references()
    config.task = PLANS[config.task]
    samples, classes = training_set(config)
    if samples is not None:
        loader.whole_batches(config, samples)
    print(_headline(config, topology), flush=True)
    try:
        found = cost(config, classes, topology)
    except DoesNotFit as reason:
        raise InputError(
            f"{_what(config)} does not fit {topology.name}: {reason}; "
            f"{_remedy(config, classes, topology)}"
        ) from None
    print(report(config, found, samples), flush=True)
    batch = largest_batch(config, classes, found)
    made = "compiled too" if topology.tpu else "estimated"
    print(f"the batch that fits: {batch:,}, {made}; this config has {config.batch_size:,}")


def training_set(config: ConfigDict) -> tuple[int | None, int]:
    """Samples of an epoch, as far as they are known, and classes (of pre-training: 0).

    Those of the built data set; before it is built, those published with it.

    Raises:
      InputError: fine-tuning has no classes, or the data set cannot be used as configured.
    """
    data, pretrains = config.data, config.task == "pretrain"
    built = is_built(data.data_dir, data.dataset)
    published = PUBLISHED_SIZES.get((data.dataset, data.protocol))
    if published is None or built:
        classes = 0 if pretrains else len(splits.class_names(config))
        return (loader.num_samples(config) if built else None), classes
    count = published.activities if pretrains else published.videos
    others = data.test_views or data.test_subjects or data.validation_subjects
    chosen = others or data.train_fraction < 1
    return None if chosen else count, 0 if pretrains else published.classes


def report(config: ConfigDict, found: Cost, samples: int | None) -> str:
    """The cost of a step and of the run, for people."""
    chips, device, memory = found.topology.chips, found.topology.device, found.memory
    rate = config.batch_size * config.data.repeats / found.seconds
    rows = {
        "memory per chip": f"{memory.total / GIB:.2f} of {device.memory / GIB:.0f} GiB: "
        f"{memory.state / GIB:.2f} state and batch, {memory.temporary / GIB:.2f} activations and "
        f"gradients, {memory.code / GIB:.2f} program",
        "operations": f"{found.flops / 1e9:,.1f} GFLOP a chip, "
        f"{chips * found.flops / 1e9:,.1f} in all: {1e3 * found.computing:.1f} ms "
        f"at its peak of {found.peak / 1e12:.0f} TFLOP/s",
        "memory traffic": f"{found.traffic / 1e9:,.1f} GB a chip: "
        f"{1e3 * found.reading:.1f} ms at {device.bandwidth / 1e9:,.0f} GB/s",
        "exchange": _exchange(found),
        "a step": f"{_bound(found)} {1e3 * found.seconds:.1f} ms, {rate:,.0f} {unit(config)}/s: "
        "the longer of operations and traffic, then the exchange",
        "the whole run": _whole_run(config, found, samples),
        "the loader": _loader(config, found),
    }
    return tabulate(rows.items(), tablefmt="plain")


def largest_batch(config: ConfigDict, classes: int, found: Cost) -> int:
    """The largest batch that fits, of those with few binary digits; it was compiled.

    Where little changes by a larger one, the configured batch.
    """
    memory, chips = found.memory, found.topology.chips
    # The smallest batch that the chips can share.
    part = chips * config.accumulation // math.gcd(chips * config.accumulation, config.data.repeats)
    parts = config.batch_size // part
    room = found.topology.device.memory - memory.state - memory.code
    candidate = _rounded(int(parts * room / memory.temporary))
    while candidate > parts:
        larger = config.copy_and_resolve_references()
        larger.batch_size = candidate * part
        try:
            fitting = cost(larger, classes, found.topology)
        except DoesNotFit:
            candidate = _rounded(candidate - 1)
        else:  # what does not grow with the batch is a smaller part of this one: there may be more
            return largest_batch(larger, classes, fitting)
    return config.batch_size


def _rounded(number: int) -> int:
    """Down to three binary digits."""
    return number >> max(0, number.bit_length() - 3) << max(0, number.bit_length() - 3)


def _remedy(config: ConfigDict, classes: int, topology: Topology) -> str:
    """The least change of those that usually help with which it fits, tried."""
    for changes in _remedies(config, topology):
        changed = config.copy_and_resolve_references()
        changed.update_from_flattened_dict(changes)
        try:
            cost(changed, classes, topology)
        except (DoesNotFit, InputError):  # or the chips cannot share the parameters like that
            continue
        flags = " ".join(f"--config.{name}={value}" for name, value in changes.items())
        return f"it fits with {flags}"
    return "nor does it with accumulation, model.remat and mesh.fsdp; take more or larger chips"


def _remedies(config: ConfigDict, topology: Topology) -> Iterator[dict[str, int | bool]]:
    """More accumulation, as far as a batch can be split; then less kept, and parts of the state."""
    changes: dict[str, int | bool] = {}
    parts, samples = config.accumulation, config.batch_size * config.data.repeats
    while samples % (2 * parts * topology.chips) == 0:
        parts *= 2
        changes = {"accumulation": parts}
        yield changes
    if not config.model.remat:
        changes = changes | {"model.remat": True}
        yield changes
    together = topology.chips // topology.slices
    if config.mesh.fsdp < together:
        yield changes | {"mesh.fsdp": together}


def _what(config: ConfigDict) -> str:
    each = f" x {config.data.repeats} repeats" if config.data.repeats > 1 else ""
    parts = f" in {config.accumulation} micro-batches" if config.accumulation > 1 else ""
    return (
        f"{config.task} of {config.model.variant}, {config.model.dtype}, "
        f"batch {config.batch_size:,}{each}{parts}"
    )


def _headline(config: ConfigDict, topology: Topology) -> str:
    chips, hosts = topology.chips, topology.hosts
    machine = (
        f"{chips} {topology.device.name} {'chip' if chips == 1 else 'chips'} of "
        f"{hosts} {'host' if hosts == 1 else 'hosts'}"
    )
    how = "compiling its step" if topology.tpu else "ESTIMATE from its operations and activations"
    return f"{_what(config)} on {topology.name}, {machine}; {how}"


def _bound(found: Cost) -> str:
    """What a time is. A GPU's is of the least traffic at full speed; a compiler counts the most."""
    return "about" if found.topology.tpu else "at best"


def _exchange(found: Cost) -> str:
    if not found.exchanges:
        return "none: one chip"
    kinds = sorted({(x.kind, x.group) for x in found.exchanges})
    parts = []
    for kind, group in kinds:
        same = [x for x in found.exchanges if (x.kind, x.group) == (kind, group)]
        count, size = sum(x.times for x in same), sum(x.bytes * x.times for x in same)
        parts.append(f"{count} {kind} of {size / 1e6:.1f} MB in all among {group}")
    within = found.topology.tpu or found.topology.hosts == 1
    return (
        f"{'; '.join(parts)}: {1e3 * found.exchanging:.2f} ms at "
        f"{found.topology.device.interconnect / 1e9:.0f} GB/s"
        + ("" if within else ", as if all were in one host")
    )


def _whole_run(config: ConfigDict, found: Cost, samples: int | None) -> str:
    if samples is None:
        million = 1e6 / (config.batch_size * config.data.repeats) * found.seconds / 3600
        return (
            f"the number of samples is not known before the data set is built; a million take "
            f"{_bound(found)} {million * found.topology.chips:.2f} chip-hours"
        )
    steps = config.epochs * (samples // config.batch_size)
    hours = steps * found.seconds / 3600
    return (
        f"{config.epochs:,} epochs of {samples:,}: {steps:,} steps, "
        f"{_bound(found)} {hours:.2f} hours, {hours * found.topology.chips:.1f} chip-hours"
    )


def _loader(config: ConfigDict, found: Cost) -> str:
    hosts, repeats = found.topology.hosts, config.data.repeats
    rate = config.batch_size * repeats / found.seconds / hosts
    sample = tree_bytes(batch_shapes(config, int(config.task == "finetune"), 1))
    decoded = f", {rate / repeats:,.0f} of them decoded anew" if repeats > 1 else ""
    return (
        f"{rate:,.0f} {unit(config)}/s a host{decoded}, {rate * sample / 1e6:,.0f} MB/s of uint8 "
        "to its chips, at this rate"
    )
