"""What a training step costs on a machine: compiled for TPUs, estimated for GPUs.

The time is a roofline: all operations at the chip's peak, or all traffic at the bandwidth of its
memory, whichever takes longer, and after it the exchange over all its links, in rings. The compiler
counts as traffic every operand and result of every fused operation, also those that a chip keeps
in its fast memory; of a GPU it is the least, activations written once and read once. No chip is
as fast as its peak: operations alone are what no program for them can go below.
"""

import functools
import json
import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
from jax.sharding import AbstractMesh
from ml_collections import ConfigDict

from mv2mae_jax.cost import program
from mv2mae_jax.cost.compiled import Collective, Memory, collectives, memory_of
from mv2mae_jax.cost.devices import GIB
from mv2mae_jax.cost.topology import Topology, tpu_devices
from mv2mae_jax.errors import lacking_memory
from mv2mae_jax.learner import learner_of
from mv2mae_jax.training.sharding import (
    make_mesh,
    require_even_batches,
    slice_size,
    state_sharding,
)
from mv2mae_jax.training.step import TrainState

USABLE = 0.9  # of a GPU's memory; the rest is the driver's, the libraries' and lost between arrays


class DoesNotFit(Exception):
    """The step needs more memory than a chip has; the message says how much."""


@dataclass(frozen=True)
class Cost:
    """Of one training step, on one chip.

    Attributes:
      topology: the machine.
      flops: operations of its matrix products.
      traffic: bytes between the chip and its memory.
      memory: what it holds.
      exchanges: with the other chips.
      peak: FLOP/s of such products at most.
    """

    topology: Topology
    flops: float
    traffic: float
    memory: Memory
    exchanges: list[Collective]
    peak: float

    @property
    def computing(self) -> float:
        """Seconds, at peak."""
        return self.flops / self.peak

    @property
    def reading(self) -> float:
        """Seconds, at the memory's bandwidth."""
        return self.traffic / self.topology.device.bandwidth

    @property
    def exchanging(self) -> float:
        """Seconds, over all links; between GPU hosts there is a network that is not known here."""
        return sum(x.sent() for x in self.exchanges) / self.topology.device.interconnect

    @property
    def seconds(self) -> float:
        """Of a step."""
        return max(self.computing, self.reading) + self.exchanging


def cost(config: ConfigDict, classes: int, topology: Topology) -> Cost:
    """The cost of a config's training step.

    Args:
      config: of a task that trains.
      classes: that fine-tuning tells apart; 0 for pre-training.
      topology: the machine.

    Raises:
      DoesNotFit: a chip has not enough memory.
      InputError: the machine is not known, or cannot share a batch or the parameters.
    """
    require_even_batches(config, topology.chips)
    return (
        _compiled(config, classes, topology)
        if topology.tpu
        else _estimated(config, classes, topology)
    )


def _compiled(config: ConfigDict, classes: int, topology: Topology) -> Cost:
    mesh = make_mesh(config.mesh.fsdp, tpu_devices(topology))
    traced, _ = program.trace_step(config, classes, mesh)
    try:
        compiled = traced.lower(lowering_platforms=("tpu",)).compile()
    except jax.errors.JaxRuntimeError as error:
        if lacking := lacking_memory(error):
            raise DoesNotFit(lacking) from error
        raise
    operations = program.products(traced.jaxpr.jaxpr)
    # The compiler counts the body of a loop once.
    passes = operations / program.products(traced.jaxpr.jaxpr, repeats=False)
    return Cost(
        topology,
        flops=operations / topology.chips,
        traffic=passes * compiled.cost_analysis()["bytes accessed"],
        memory=memory_of(compiled),
        exchanges=collectives(compiled.as_text(), topology.chips),
        peak=topology.device.peak(config.model.dtype),
    )


class _Sizes(NamedTuple):
    """What an estimate is made of: shapes, bytes, and operations of one sample."""

    state: TrainState
    parameters: int
    training: int  # of the parameters, those that train
    kept: int  # activations of one sample
    flops: float


@functools.cache
def _sizes(config_json: str, classes: int) -> _Sizes:
    config = ConfigDict(json.loads(config_json))
    traced, state = program.trace_step(config, classes, make_mesh(1, jax.devices()[:1]))
    training = learner_of(config, classes).trainable(state.parameters)
    return _Sizes(
        state=state,
        parameters=program.tree_bytes(state.parameters),
        training=program.tree_bytes(training),
        kept=program.kept_bytes(config, classes),
        flops=program.products(traced.jaxpr.jaxpr) / config.data.repeats,
    )


def _estimated(config: ConfigDict, classes: int, topology: Topology) -> Cost:
    """Activations: all that differentiation keeps, written once and read once."""
    chips, slices, fsdp = topology.chips, topology.slices, config.mesh.fsdp
    slice_size(fsdp, chips, slices)
    one = config.copy_and_resolve_references()
    one.batch_size = one.accumulation = one.mesh.fsdp = 1
    sizes = _sizes(one.to_json(), classes)
    state = _held_bytes(sizes.state, AbstractMesh((chips // fsdp, fsdp), ("data", "fsdp")))
    device, parts = topology.device, config.accumulation
    samples = config.batch_size * config.data.repeats / chips
    kept = samples * sizes.kept
    batch = samples * program.tree_bytes(program.batch_shapes(config, classes, 1))
    gradients = (1 if parts == 1 else 2) * sizes.training / fsdp  # and their sum, accumulated
    memory = Memory(round(state + batch), round(gradients + kept / parts), code=0)
    if memory.total > USABLE * device.memory:
        raise DoesNotFit(
            f"it needs about {memory.total / GIB:.1f} GiB a chip, of which {device.name} has "
            f"{USABLE * device.memory / GIB:.1f} to use"
        )
    narrow = jax.numpy.dtype(config.model.dtype).itemsize / 4
    # Once a step, at best; what has been summed over micro-batches is float32.
    summed = sizes.training if parts > 1 else round(narrow * sizes.training)
    exchanges = [Collective("all-reduce", summed, chips)]
    if fsdp > 1:  # forward and backward
        gathered = round(narrow * sizes.parameters)
        exchanges.append(Collective("all-gather", gathered, fsdp, 2 * parts))
    return Cost(
        topology,
        flops=samples * sizes.flops,
        traffic=2 * kept + 2 * state,
        memory=memory,
        exchanges=exchanges if chips > 1 else [],
        peak=device.peak(config.model.dtype),
    )


def _held_bytes(state: TrainState, mesh: AbstractMesh) -> int:
    """Of the state, on one chip: a run refuses to split what this refuses."""
    places = jax.tree.leaves(state_sharding(mesh, state))
    return sum(
        math.prod(place.shard_shape(x.shape)) * x.dtype.itemsize
        for x, place in zip(jax.tree.leaves(state), places, strict=True)
    )
