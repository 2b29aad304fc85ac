"""Machines with a network between them, as far as the processes on them can tell."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

NAMES = ("here", "there")
ADDRESSES = ("10.77.0.1", "10.77.0.2")
# A network of its own comes with `ip netns exec`, a name with `unshare --uts`. Of the same boot
# are processes that jax takes for being on the same machine.
ENTER = """
    hostname $0 && mount --bind $1/hosts /etc/hosts
    mount --bind $1/$0.boot_id /proc/sys/kernel/random/boot_id && shift && exec "$@"
"""


class Hosts:
    """Two hosts with one address each."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._spaces = [f"mv2mae-{os.getpid()}-{name}" for name in NAMES]
        self._ends = [f"mv{os.getpid()}-{n}" for n in range(2)]
        lines = [f"{address} {name}" for address, name in zip(ADDRESSES, NAMES, strict=True)]
        (folder / "hosts").write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))
        for number, name in enumerate(NAMES):
            boot = f"{number:08d}-0000-4000-8000-000000000000\n"
            (folder / f"{name}.boot_id").write_text(boot)

    def on(self, number: int, words: Sequence[str]) -> list[str]:
        """The command that runs these words on a host."""
        enter = ["unshare", "--mount", "--uts", "bash", "-ec", ENTER]
        inside = [*enter, NAMES[number], str(self._folder), *words]
        return ["ip", "netns", "exec", self._spaces[number], *inside]

    def connect(self, up: bool = True) -> None:
        """Plugs the cable in, or pulls it out."""
        _ip("-n", self._spaces[0], "link", "set", self._ends[0], "up" if up else "down")

    def __enter__(self) -> "Hosts":
        with ExitStack() as undo:
            for space in self._spaces:
                _ip("netns", "add", space)
                undo.callback(_ip, "netns", "delete", space)
            _ip("link", "add", self._ends[0], "type", "veth", "peer", "name", self._ends[1])
            for space, end, address in zip(self._spaces, self._ends, ADDRESSES, strict=True):
                _ip("link", "set", end, "netns", space)
                _ip("-n", space, "address", "add", f"{address}/24", "dev", end)
                _ip("-n", space, "link", "set", end, "up")
                _ip("-n", space, "link", "set", "lo", "up")
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._undo.close()


@contextmanager
def two_hosts(folder: Path) -> Iterator[Hosts | None]:
    """None where this machine does not allow it."""
    hosts = Hosts(folder)
    try:
        hosts.__enter__()
    except (OSError, subprocess.CalledProcessError):
        yield None
        return
    try:
        allowed = subprocess.run(hosts.on(0, ["true"]), capture_output=True).returncode == 0
        yield hosts if allowed else None
    finally:
        hosts.__exit__()


def _ip(*words: str) -> None:
    subprocess.run([shutil.which("ip") or "ip", *words], check=True, capture_output=True)
