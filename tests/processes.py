"""Several processes of the real command on this machine, over loopback."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple


class Ended(NamedTuple):
    """How a process ended, and how many seconds after `finish` began to wait."""

    code: int
    stdout: str
    stderr: str
    seconds: float


def free_port(first: int = 0) -> int:
    """A port on which nobody listens, from `first` on."""
    while True:
        with socket.socket() as found:
            try:
                found.bind(("localhost", first))
                return found.getsockname()[1]
            except OSError:
                first += 1


def environment(devices: int, **more: str) -> dict[str, str]:
    """Of a process with so many virtual CPU devices."""
    flags = f"--xla_force_host_platform_device_count={devices} {os.environ.get('XLA_FLAGS', '')}"
    # NPROC: with fewer threads than devices, XLA's collectives on a CPU can wait for ever.
    return os.environ | {"XLA_FLAGS": flags, "NPROC": "32"} | more


def start(
    words: Sequence[str], *, start_new_session: bool = False, **environment: str
) -> subprocess.Popen:
    """A command with this environment; in a session of its own, `os.killpg` reaches it alone."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(words, env=environment, start_new_session=start_new_session, **pipes)


def joined(words: Sequence[str], count: int, host: str = "localhost") -> list[list[str]]:
    """`python -m mv2mae_jax.main` with these words, for each of `count` processes."""
    join = f"--coordinator={host}:{free_port()}", f"--num_processes={count}"
    command = [sys.executable, "-m", "mv2mae_jax.main", *words, *join]
    return [[*command, f"--process_id={process}"] for process in range(count)]


def start_together(
    count: int, devices: int, words: Sequence[str], **more: str
) -> list[subprocess.Popen]:
    """The command in `count` processes with so many devices each."""
    return [start(command, **environment(devices, **more)) for command in joined(words, count)]


def finish(processes: Sequence[subprocess.Popen], timeout: float = 300) -> list[Ended]:
    """Waits for all; those that are not done in time are killed, which fails the test."""
    began, ended = time.monotonic(), []
    try:
        for process in processes:
            stdout, stderr = process.communicate(timeout=began + timeout - time.monotonic())
            ended.append(Ended(process.returncode, stdout, stderr, time.monotonic() - began))
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.communicate()
    return ended


def until(
    condition: Callable[[], bool], processes: Sequence[subprocess.Popen], timeout: float = 300
) -> None:
    """Until the condition holds; all processes must live so long."""
    deadline = time.monotonic() + timeout
    while not condition():
        dead = [process for process in processes if process.poll() is not None]
        if dead or time.monotonic() > deadline:
            raise AssertionError([end.stderr for end in finish(processes, timeout=1)])
        time.sleep(0.02)


def metrics(workdir: Path) -> list[dict]:
    """The lines of metrics.jsonl; none where there is no such file yet."""
    file = workdir / "metrics.jsonl"
    return [json.loads(x) for x in file.read_text().splitlines()] if file.exists() else []
