"""Processes that work for this one: how many, and that they end with it; locks among others."""

import contextlib
import fcntl
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker
from pathlib import Path
from typing import IO

from mv2mae_jax.errors import InputError

log = logging.getLogger(__name__)


def usable_cores() -> int:
    """Cores that this process may run on, fewer where its control group (a container) has less."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        cores = os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no such groups, or "max": as much as there is
        return cores


def end_with_parent() -> None:
    """Called in a process that multiprocessing has started: it ends once its parent has ended."""
    threading.Thread(target=_follow, daemon=True).start()


def _follow() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()  # until the system closes its end of a pipe, however it dies
    os._exit(1)


@contextlib.contextmanager
def without_interrupts() -> Iterator[None]:
    """Processes that start within do not get Ctrl-C, which a terminal sends to all.

    This one gets it when it leaves.
    """
    resource_tracker.ensure_running()  # which the first would start otherwise, and unblock signals
    came: list[int] = []  # a thread of this process may get it all the same: it waits, too
    handler = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)


def died(kind: str) -> InputError:
    """What is said where one of several processes that do the same is gone."""
    return InputError(
        f"a {kind} process died, probably for lack of memory; run the same command again to "
        "continue, with fewer --jobs"
    )


def take_lock(file: IO[str], *, wait: bool = False) -> bool:
    """Locks a file until it is closed or the process ends; False where another process has.

    A file system without locks is warned of, and stops nobody.

    Args:
      file: open for writing.
      wait: until the other process has ended, rather than to return False.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        folder = Path(file.name).parent
        log.warning("%s is not locked (%s): start nothing else there", folder, error.strerror)
    return True
