"""A process that dies without a word is noticed at once.

Every process holds a connection to the first one and never uses it: when either dies, its kernel
closes it. jax's heartbeats notice a death too, also that of a whole machine or network, but after
100 seconds. Where a firewall does not let the connections through, they remain.
"""

import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import jax

_ADDRESS = "mv2mae_jax/lifelines"  # key: the port, and what those who may connect say first
_GREETING_BYTES = 64
_SECONDS = 60  # for a connection to be made; and between signs of life, for routers on the way


def hold_lifeline(store: Any, host: str, process: int, lost: Callable[[int], None]) -> None:
    """Connects to the first process, and calls `lost` with its number, 0, when it is gone.

    Args:
      store: of jax's coordination service.
      host: of the first process.
      process: number of this one.
      lost: called in another thread.
    """

    def hold() -> None:
        with suppress(OSError, jax.errors.JaxRuntimeError):
            port, token = store.blocking_key_value_get(_ADDRESS, 1000 * _SECONDS).split()
            line = socket.create_connection((host, int(port)), timeout=_SECONDS)
            line.sendall(f"{token} {process}".encode().ljust(_GREETING_BYTES))
            _wait_until_closed(line)
            lost(0)

    threading.Thread(target=hold, daemon=True).start()


def watch_lifelines(store: Any, lost: Callable[[int], None]) -> None:
    """In the first process: calls `lost` with the number of another one when it is gone."""
    token = secrets.token_hex(16)
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    server = socket.create_server(("", 0), family=family, dualstack_ipv6=both)
    store.key_value_set(_ADDRESS, f"{server.getsockname()[1]} {token}")

    def watch(line: socket.socket) -> None:
        with suppress(OSError, ValueError):  # somebody else may knock
            greeting = line.recv(_GREETING_BYTES, socket.MSG_WAITALL).decode()
            said, process = greeting.split()
            if secrets.compare_digest(said, token):
                _wait_until_closed(line)
                lost(int(process))

    def accept() -> None:
        while True:
            line, _ = server.accept()
            threading.Thread(target=watch, args=(line,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def _wait_until_closed(line: socket.socket) -> None:
    line.settimeout(None)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):  # not everywhere
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _SECONDS)
    with suppress(OSError):
        line.recv(1)
