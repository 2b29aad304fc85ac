"""What counts as a second request to stop."""

import os
import signal

import pytest

from mv2mae_jax.training import stopping


class Ended(Exception):
    """Instead of the process's end."""


@pytest.fixture
def arrived(monkeypatch):
    """Two signals, a moment after each other; the end of the process is an exception."""

    def end(code):
        raise Ended(code)

    monkeypatch.setattr(os, "_exit", end)
    read, write = os.pipe()
    os.write(write, bytes([signal.SIGTERM, signal.SIGUSR1, signal.SIGINT]))
    os.close(write)
    return read


def test_one_request_may_come_as_two_signals(arrived, capfd):
    """Of a terminal to all of its processes, and of a launcher that passes it on."""
    stopping._watch(arrived)
    assert capfd.readouterr().err == ""
    with pytest.raises(OSError):
        os.fstat(arrived)  # closed


def test_a_later_one_ends_it_at_once(arrived, capfd, monkeypatch):
    monkeypatch.setattr(stopping, "ONE_REQUEST", 0)
    with pytest.raises(Ended, match=str(stopping.STOPPED)):
        stopping._watch(arrived)
    assert capfd.readouterr().err == "error: ended at once by a second SIGINT\n"
    os.close(arrived)
