"""SIGTERM ends training after a step, the same one in all processes."""

import signal
from types import FrameType

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from mv2mae_jax.training.sharding import batch_sharding


class Sigterm:
    """Notes SIGTERM instead of dying of it, while it is entered; the processes agree on it.

    Each puts what it has noted into a computation of its own between two steps, and reads the
    common answer one step later, when it is there: nothing waits for it, and all read the same.

    jax has a service for this (`multihost_utils.reached_preemption_sync_point`), at no cost on the
    devices; but its signal handler stays for the life of the process, and would swallow SIGTERM
    before and after training, where nothing asks it.
    """

    def __init__(self, mesh: Mesh) -> None:
        self._noted = False
        self._flags = batch_sharding(mesh)  # one for each device
        self._any = jax.jit(jnp.any, out_shardings=NamedSharding(mesh, P()))
        self._answer: jax.Array | None = None

    def __enter__(self) -> "Sigterm":
        self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def received(self) -> bool:
        """Whether training stops here; all processes call after every step."""
        if jax.process_count() == 1:
            return self._noted
        last = self._answer
        local = np.full(jax.local_device_count(), self._noted)
        self._answer = self._any(jax.make_array_from_process_local_data(self._flags, local))
        return last is not None and bool(last)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._noted = True
