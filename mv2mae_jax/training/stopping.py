"""SIGTERM or SIGINT ends training after a step, the same in all processes; a second, at once."""

import logging
import os
import signal
import sys
import threading
import time
from types import FrameType

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from mv2mae_jax.training.sharding import batch_sharding

log = logging.getLogger(__name__)

STOPPED = 143  # exit code of a stopped run: 128 + SIGTERM
SIGNALS = (signal.SIGTERM, signal.SIGINT)
ONE_REQUEST = 1  # seconds; a terminal and a launcher may both pass one request on


class Stop:
    """Notes SIGTERM and SIGINT instead of dying of them, while entered; the processes agree on it.

    Leaving it raises SystemExit with 143 if there was one, so that nothing comes after training.

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

    def __enter__(self) -> "Stop":
        # Python calls handlers between two instructions of its own: not while it compiles or waits
        # for a step. The thread reads of a signal at once.
        read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        threading.Thread(target=_watch, args=(read,), daemon=True).start()
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        self._written_before = signal.set_wakeup_fd(self._write)
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        # Once more for the answer to what the last step has asked, and again for what came after.
        stopped = kind is None and (self.received() or self.received())
        signal.set_wakeup_fd(self._written_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._write)
        if stopped:
            log.info("stopped, and saved; the same command continues")
            raise SystemExit(STOPPED)

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


def _watch(pipe: int) -> None:
    """Ends the process at the second signal; reads the numbers of signals until the pipe closes."""
    first = 0.0
    while numbers := os.read(pipe, 1):
        name = signal.Signals(numbers[0])
        if name not in SIGNALS:
            continue
        if not first:
            first = time.monotonic()
            log.info("%s: saving after this step; a second signal ends this at once", name.name)
        elif time.monotonic() - first > ONE_REQUEST:
            print(f"error: ended at once by a second {name.name}", file=sys.stderr, flush=True)
            os._exit(STOPPED)
    os.close(pipe)
