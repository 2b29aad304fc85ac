"""Machines by name: slices of TPUs, for which there is a compiler, and GPUs."""

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import jax
from jax.experimental.topologies import get_topology_desc

from mv2mae_jax.cost.devices import DEVICES, Device
from mv2mae_jax.errors import InputError

SLICES = ("v5e", "v5p", "v6e")
GPUS = tuple(name for name, device in DEVICES.items() if "TPU" not in device.name)
POSSIBLE = (
    f"a slice of TPUs as {', '.join(SLICES)} and its shape (v5e:4x4, v5p:2x2x2, v6e:1x1), or GPUs "
    f"as {', '.join(GPUS)} and their number (h100:8)"
)


@dataclass(frozen=True)
class Topology:
    """So many chips of one kind, connected.

    Attributes:
      name: as given.
      device: what a chip offers.
      chips: how many there are.
      tpu: whether programs can be compiled for it here.
    """

    name: str
    device: Device
    chips: int
    tpu: bool

    @property
    def hosts(self) -> int:
        return math.ceil(self.chips / self.device.per_host)

    @property
    def slices(self) -> int:
        """What a fast network connects: TPUs are one slice, GPUs one a host."""
        return 1 if self.tpu else self.hosts


def parse_topology(name: str) -> Topology:
    """The machine that `--topology` names.

    Raises:
      InputError: it names none that is known.
    """
    kind, _, shape = name.partition(":")
    tpu = kind in SLICES
    wanted = r"[1-9]\d*(x[1-9]\d*){1,2}" if tpu else r"[1-9]\d*"
    if not (tpu or kind in GPUS) or not re.fullmatch(wanted, shape):
        raise InputError(f"--topology={name}; it is {POSSIBLE}")
    return Topology(name, DEVICES[kind], math.prod(map(int, shape.split("x"))), tpu)


def tpu_devices(topology: Topology) -> Sequence[jax.Device]:
    """The devices of a slice, for the compiler alone: none need be there.

    Raises:
      InputError: the compiler is not installed, or there is no slice of that shape.
    """
    if find_spec("libtpu") is None:
        raise InputError("the compiler for TPUs is not installed; pip install -e '.[tpu]'")
    # Else it asks, and complains that there is no TPU.
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-1")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    single = {"chips_per_host_bounds": (1, 1, 1)} if topology.chips == 1 else {}
    try:
        return get_topology_desc(topology.name, "tpu", **single).devices
    except jax.errors.JaxRuntimeError as error:
        raise InputError(f"--topology={topology.name}: {str(error).splitlines()[0]}") from error
