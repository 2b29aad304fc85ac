"""Settings of a process that loads data."""

import ctypes
import platform
import secrets
import signal
from multiprocessing import resource_tracker, shared_memory
from pathlib import Path

import cv2

from mv2mae_jax.processes import end_with_parent

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h

# What terminals and schedulers send to all processes of a job. The main process decides what it
# means, and needs its workers while it takes its last step.
_TO_ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

SHARED_MEMORY = "mv"  # begins the names of the shared memory of all workers


def tune_process() -> None:
    """Makes reading and cropping fast in this process.

    Whole views, which testing reads, are large and short-lived: glibc would return their memory to
    the system and fetch it again for each. Crops are small: OpenCV's own threads would only contend
    with ours.
    """
    cv2.setNumThreads(0)
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 1 << 25)
        mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def shield_what_starts_here() -> None:
    """Threads and processes that this thread starts do not get signals that are sent to all.

    They inherit what it blocks, so that there is no moment in which they would die. That leaves
    SIGKILL to end a process, and its own end.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _TO_ALL)
    # It frees the shared memory of processes that were killed, and so must outlive them. To start
    # it unblocks signals.
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_BLOCK, _TO_ALL)


def new_shared_memory_name() -> str:
    """How the names of all shared memory begin that some workers make, and of no other."""
    return f"{SHARED_MEMORY}{secrets.token_hex(3)}"


def start_worker(memory: str, *worker: int) -> None:
    """First thing that a worker process does: its settings, and to end when its parent has.

    Args:
      memory: how the names of its shared memory begin.
      *worker: its number and how many there are.
    """
    del worker
    tune_process()

    def known_name() -> str:
        """A new name that the resource tracker has already: Python tells it after making memory.

        A process that was killed in between left memory that nobody freed.
        """
        name = f"/{memory}{secrets.token_hex(2)}"
        resource_tracker.register(name, "shared_memory")
        return name

    shared_memory._make_filename = known_name  # type: ignore[attr-defined]
    end_with_parent()


def free_shared_memory(memory: str) -> None:
    """Frees what workers that have ended made and did not hand over to this process.

    A process that is killed leaves some, which Python's resource tracker would only free when this
    process ends. Where memory has no names among the files (macOS), that is when it happens.
    """
    if not (left := list(Path("/dev/shm").glob(f"{memory}*"))):
        return
    in_use = Path("/proc/self/maps").read_text()
    for path in left:
        if path.name not in in_use:
            path.unlink(missing_ok=True)
            # The tracker may or may not know the name already: a process dies at any moment.
            resource_tracker.register(f"/{path.name}", "shared_memory")
            resource_tracker.unregister(f"/{path.name}", "shared_memory")
