"""Several processes as one run: how they find each other, and how they end together.

It goes through jax's coordination service, which lives in the first process. Why a run fails is
left in the service's store, where all listen: by a process in its last moment, or by the first one
for another that died without a word (training/lifelines.py).
"""

import multiprocessing.util
import os
import re
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax._src.distributed import global_state  # the store has no public name
from jax.experimental.multihost_utils import sync_global_devices
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from mv2mae_jax.errors import FAILED, LOST, InputError, one_line
from mv2mae_jax.training.lifelines import hold_lifeline, watch_lifelines
from mv2mae_jax.training.sharding import batch_sharding, make_mesh

SAID_AFTER = 60  # seconds that a process waits for the others until it says so
GIVEN_UP_AFTER = 300  # and until it ends
GRACE = 2  # seconds that a process has to end by itself after another has failed
LONG = 10**6  # seconds; longer than any run

_CONTINUE = "the same command, started again, continues from the newest checkpoint"
_FAILURE = "mv2mae_jax/failure"  # key: which process failed, and why


class Place(NamedTuple):
    """Where a process stands in its run; the names are those of `jax.distributed.initialize`."""

    coordinator: str  # HOST:PORT of the first process
    num_processes: int
    process_id: int


def place_from_flags(
    coordinator: str | None, num_processes: int | None, process_id: int | None
) -> Place | None:
    """The place that the flags of this process give it; None if there are none.

    Raises:
      InputError: some are missing, or one is wrong.
    """
    if num_processes == 1 and not process_id:
        return Place(coordinator or "", 1, 0)
    given = {
        "--coordinator": coordinator,
        "--num_processes": num_processes,
        "--process_id": process_id,
    }
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(given):
        return None
    if coordinator is None or num_processes is None or process_id is None:
        raise InputError(
            f"{' and '.join(missing)} missing; --coordinator, --num_processes and --process_id go "
            "together"
        )
    port = re.fullmatch(r".+:(\d{1,5})", coordinator)
    if not port or not 0 < int(port[1]) < 2**16:
        raise InputError(
            f"--coordinator={coordinator}; it is HOST:PORT of the first process, a port of 1 to "
            "65535"
        )
    if num_processes < 1:
        raise InputError(f"--num_processes={num_processes}; it is 1 or more")
    if not 0 <= process_id < num_processes:
        raise InputError(
            f"--process_id={process_id} of --num_processes={num_processes}; it is 0 to "
            f"{num_processes - 1}, another in each process"
        )
    return Place(coordinator, num_processes, process_id)


@contextmanager
def joined(place: Place | None) -> Iterator[None]:
    """Joins the other processes of the run, if it has others, and ends together with them.

    Inside, only the first process is heard on standard output. An exception in one process ends
    that process here and all others within a few seconds, each with a line that says why. Where a
    run has one process, nothing of this happens.

    Args:
      place: of this process; None to take it from the environment, where a TPU pod, Slurm, Open
        MPI or an indexed job of Kubernetes started it.

    Raises:
      InputError: the others cannot be joined.
    """
    if not _join(place):
        yield
        return
    end = _CommonEnd()
    try:
        if jax.process_index() > 0:
            sys.stdout.flush()
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what C++ prints, too
        _connect()
        yield
    except SystemExit:  # on which all agreed
        end.together()
        raise
    except BaseException as error:
        end.fail(error)
    end.together()


def launched_alone(environment: Mapping[str, str]) -> bool:
    """Whether what started this process started no other, though it may look like a cluster.

    jax counts the tasks of a Slurm allocation. In a shell of `salloc` the step has one of them,
    and nobody starts the others. In a Kubernetes pod that has no number in a job, it asks.
    """
    for name in ("OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"):
        if name in environment:
            return environment[name] == "1"
    numbered = ("JOB_COMPLETION_INDEX", "TPU_WORKER_HOSTNAMES", "TPU_PROCESS_ADDRESSES")
    return "KUBERNETES_SERVICE_HOST" in environment and not any(x in environment for x in numbered)


def _join(place: Place | None) -> bool:
    """Returns when all processes are there, with whether this is one of several."""
    if place is None and launched_alone(os.environ):
        return False
    if place is not None and place.num_processes == 1:
        return False
    # Its signal handler would swallow SIGTERM outside of training; see training/stopping.py.
    jax.config.update("jax_enable_preemption_service", False)
    coordinator, num_processes, process_id = place or (None, None, None)
    with _patience():
        try:
            jax.distributed.initialize(
                coordinator,
                num_processes,
                process_id,
                cluster_detection_method="deactivate" if place else None,
                initialization_timeout=2 * GIVEN_UP_AFTER,  # `_patience` has a clearer last word
                shutdown_timeout_seconds=LONG,  # the first process may write for long at the end
            )
        except (RuntimeError, ValueError, OSError) as error:
            if place is None and "coordinator_address" in str(error):
                if "OMPI_COMM_WORLD_SIZE" not in os.environ:
                    return False  # jax found no cluster
                error = ValueError("this version of Open MPI does not say where the first one is")
            where = global_state.coordinator_address or "their first one"
            raise InputError(
                f"cannot join the other processes at {where} ({one_line(error)}); start each with "
                "--coordinator=HOST:PORT --num_processes=N --process_id=I, or with "
                "--num_processes=1 if there are no others"
            ) from error
    return global_state.num_processes > 1


def _connect() -> None:
    """Lets devices compute together once, as long as all processes are at the same place.

    The collectives of CPUs connect when they are first used, and wait for half a minute at most: a
    process that loads or compiles slowly would be given up later on.
    """
    sync_global_devices("all are here")
    mesh = make_mesh(1)
    ones = np.ones(jax.local_device_count(), np.int32)
    total = jax.jit(jnp.sum, out_shardings=NamedSharding(mesh, P()))
    total(jax.make_array_from_process_local_data(batch_sharding(mesh), ones)).block_until_ready()


@contextmanager
def _patience() -> Iterator[None]:
    """Says after a while what this process waits for, and ends it if that was in vain."""
    arrived = threading.Event()

    def watch() -> None:
        if arrived.wait(SAID_AFTER):
            return
        print(f"{_waiting()} since {SAID_AFTER} seconds", file=sys.stderr, flush=True)
        if arrived.wait(GIVEN_UP_AFTER - SAID_AFTER):
            return
        said = f"error: {_waiting()}; given up after {GIVEN_UP_AFTER} seconds"
        print(said, file=sys.stderr, flush=True)
        os._exit(LOST)  # they may be late, as hosts of a cloud are: it can be tried again

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        arrived.set()


def _waiting() -> str:
    """For whom this process waits, as far as it can know."""
    address, process = global_state.coordinator_address, global_state.process_id
    if address is None:
        return "waiting for the cluster to say which processes there are"
    if process == 0:
        others = global_state.num_processes - 1
        return f"{_named(0)} waits at {address} for the other {others}"
    try:
        socket.create_connection(_host_and_port(), timeout=5).close()
    except OSError as error:
        return (
            f"{_named(process)} waits for the first one, which does not answer at {address} "
            f"({one_line(error)})"
        )
    return f"{_named(process)} waits for others; the first one answers at {address}"


def _named(process: int) -> str:
    return f"process {process} of {global_state.num_processes}"


def _host_and_port() -> tuple[str, int]:
    """Of the first process."""
    host, _, port = str(global_state.coordinator_address).rpartition(":")
    return host.strip("[]"), int(port)


class _CommonEnd:
    """Tells the other processes that this one failed, and ends it when another tells so."""

    def __init__(self) -> None:
        self._store: Any = global_state.client
        self._over = False
        self._speaking = threading.Lock()  # whoever has it says why the process ends; nobody after
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        if global_state.process_id == 0:
            watch_lifelines(self._store, self._lost)
        else:
            host, _ = _host_and_port()
            hold_lifeline(self._store, host, global_state.process_id, self._lost)

    def together(self) -> None:
        """Waits until every process has come to its end."""
        self._over = True
        jax.distributed.shutdown()
        self._listener.join()

    def fail(self, error: BaseException) -> NoReturn:
        """Ends this process, and all others, for an error in this one."""
        if not isinstance(error, InputError):
            self._listener.join(2 * GRACE)  # it may be an echo of what another process now tells
        if "Gloo" in str(error):  # collectives of CPUs: a connection broke
            error = InputError(f"lost another process ({one_line(error)}); {_CONTINUE}")
        ours = isinstance(error, InputError)
        said = one_line(error) if ours else repr(error)
        self._speaking.acquire()
        self._tell(global_state.process_id, said)
        _exit(f"error: {said}" if ours else "".join(traceback.format_exception(error)))

    def _lost(self, process: int) -> None:
        if self._over:
            return
        failure = f"was killed, or ended without a word; {_CONTINUE}"
        if process > 0:
            self._tell(process, failure)
            return
        self._speaking.acquire()  # the store is gone, and jax is about to abort this process
        print(f"error: {_named(0)}: {failure}", file=sys.stderr, flush=True)
        _end_workers()
        os._exit(LOST)

    def _tell(self, process: int, failure: str) -> None:
        with suppress(jax.errors.JaxRuntimeError):  # the first failure is the one that counts
            self._store.key_value_set(_FAILURE, f"{_named(process)}: {failure}")

    def _listen(self) -> None:
        try:
            failure = self._store.blocking_key_value_get(_FAILURE, 1000 * LONG)
        except jax.errors.JaxRuntimeError:  # the run is over
            return
        time.sleep(GRACE)  # a failure of all is best told by each
        self._speaking.acquire()
        _exit(f"error: {failure}")


def _exit(last_words: str) -> NoReturn:
    """Ends this process without waiting for the others, as it would to leave in order."""
    threading.excepthook = lambda args: None  # what still runs fails now; it has no say
    _end_workers()
    tidying = threading.Thread(target=_tidy, daemon=True)
    tidying.start()
    tidying.join(GRACE)
    sys.stdout.flush()
    print(last_words.rstrip(), file=sys.stderr, flush=True)
    code = LOST if last_words.endswith(_CONTINUE) else FAILED
    if global_state.process_id == 0:
        time.sleep(2 * GRACE)  # the others hear through this process; it goes last
    os._exit(code)


def _end_workers() -> None:
    """Of the loader: they hear no other signal."""
    for child in multiprocessing.active_children():
        child.kill()


def _tidy() -> None:
    """Gives back the workers' semaphores: Python complains of those that are left."""
    multiprocessing.util._exit_function()  # type: ignore[attr-defined]
