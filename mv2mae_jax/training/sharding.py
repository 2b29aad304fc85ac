"""Where arrays live: a mesh of all devices, batches split over it, large parameters on request."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental.mesh_utils import create_device_mesh, create_hybrid_device_mesh
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from mv2mae_jax.errors import InputError
from mv2mae_jax.training.parameters import Parameters

SMALLEST_SPLIT = 2**16  # parameters with fewer values are held by every device


def make_mesh(fsdp: int, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Devices, by default all of this run, as (data, fsdp).

    What `fsdp` splits is gathered at every step, so that these devices must be of one slice, as
    jax calls what a fast network connects: a slice of TPUs, the GPUs of a host. Slices lie along
    `data`.

    Raises:
      InputError: `fsdp` does not divide the number of devices, or those of a slice.
    """
    devices = jax.devices() if devices is None else devices
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    shape = (slice_size(fsdp, len(devices), slices) // fsdp, fsdp)
    grid = (
        create_device_mesh(shape, devices, allow_split_physical_axes=True)
        if slices == 1
        else create_hybrid_device_mesh(shape, (slices, 1), devices, allow_split_physical_axes=True)
    )
    return Mesh(grid, ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)


def slice_size(fsdp: int, devices: int, slices: int) -> int:
    """Devices of each of the slices, over whose groups of `fsdp` parameters are split.

    Raises:
      InputError: `fsdp` does not divide the number of devices, or those of a slice.
    """
    if devices % fsdp:
        raise InputError(
            f"config.mesh.fsdp={fsdp} does not divide the {devices} devices of this run; set one "
            "that does"
        )
    in_slice = devices // slices
    if in_slice % fsdp:
        raise InputError(
            f"config.mesh.fsdp={fsdp} does not divide the {in_slice} devices of a host or TPU "
            f"slice, of which this run has {slices}; set one that does: parameters are not split "
            "over a slow network"
        )
    return in_slice


def local_mesh() -> Mesh:
    """The devices of this process alone, all along `data`."""
    return jax.make_mesh(
        (jax.local_device_count(), 1),
        ("data", "fsdp"),
        axis_types=(AxisType.Auto,) * 2,
        devices=jax.local_devices(),
    )


def require_even_batches(config: ConfigDict, devices: int) -> None:
    """Every device must take the same number of samples of every micro-batch.

    Raises:
      InputError: the batch and accumulation do not allow that.
    """
    samples, parts = config.batch_size * config.data.repeats, config.accumulation
    if samples % (parts * devices):
        raise InputError(
            f"a step of {samples} samples (config.batch_size={config.batch_size} x "
            f"config.data.repeats={config.data.repeats}) cannot be split evenly into "
            f"config.accumulation={parts} micro-batches over {devices} devices; they must make a "
            f"multiple of {parts * devices}"
        )


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Samples are split over all devices."""
    return NamedSharding(mesh, P(("data", "fsdp")))


def state_sharding(mesh: Mesh | AbstractMesh, state: Any) -> Any:
    """For every array of a tree: its longest axis that `fsdp` divides is split, if it is large.

    Raises:
      InputError: `fsdp` divides no axis of a large array.
    """
    fsdp = mesh.shape["fsdp"]

    def of_leaf(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> NamedSharding:
        if fsdp == 1 or leaf.size < SMALLEST_SPLIT:
            return NamedSharding(mesh, P())
        divisible = [axis for axis, size in enumerate(leaf.shape) if size % fsdp == 0]
        if not divisible:
            raise InputError(
                f"config.mesh.fsdp={fsdp} divides no axis of {jax.tree_util.keystr(path)} of shape "
                f"{leaf.shape}; set a divisor of one"
            )
        longest = max(divisible, key=lambda axis: leaf.shape[axis])
        return NamedSharding(mesh, P(*[None] * longest, "fsdp"))

    return jax.tree_util.tree_map_with_path(of_leaf, state)


def to_devices(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Each process's part of a batch to one global array over all devices."""
    sharding = batch_sharding(mesh)
    return {
        name: jax.make_array_from_process_local_data(sharding, value)
        for name, value in batch.items()
    }


def on_first_device(parameters: Parameters, mesh: Mesh) -> Parameters:
    """Parameters that are split over the mesh, whole on this process's first device.

    All processes take part.
    """
    replicated = jax.jit(_identity, out_shardings=NamedSharding(mesh, P()))(parameters)
    return {name: x.addressable_data(0) for name, x in replicated.items()}


def _identity(parameters: Parameters) -> Parameters:
    return parameters
