"""Machines by name, and what is said of a name that is none."""

import sys

import pytest

from mv2mae_jax.cost.topology import parse_topology, tpu_devices
from mv2mae_jax.errors import InputError


@pytest.mark.parametrize(
    ("name", "chips", "hosts", "memory"),
    [
        ("v5e:4x4", 16, 4, 16),
        ("v5p:2x2x2", 8, 2, 95),
        ("v6e:1x1", 1, 1, 32),
        ("h100:8", 8, 1, 80),
        ("a100-40gb:12", 12, 2, 40),
    ],
)
def test_machines(name: str, chips: int, hosts: int, memory: int):
    topology = parse_topology(name)
    assert (topology.chips, topology.hosts) == (chips, hosts)
    assert topology.device.memory == memory * 2**30
    assert topology.tpu == name.startswith("v")


@pytest.mark.parametrize(
    "name", ["", "v5e", "v5e:", "v5e:16", "v5e:4x0", "h100:4x4", "h100:-8", "x:8"]
)
def test_names_that_are_none(name: str):
    with pytest.raises(InputError, match=r"it is a slice of TPUs as v5e, .* and their number") as e:
        parse_topology(name)
    assert str(e.value).startswith(f"--topology={name}; ") and "\n" not in str(e.value)


def test_without_the_compiler(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "libtpu", None)
    with pytest.raises(InputError, match=r"pip install -e '\.\[tpu\]'"):
        tpu_devices(parse_topology("v5e:2x2"))
