"""Estimates for GPUs, and that they refuse what a run refuses."""

import pytest
from ml_collections import ConfigDict

from configs.ntu60 import get_config
from mv2mae_jax.cost.estimate import cost
from mv2mae_jax.cost.topology import parse_topology
from mv2mae_jax.errors import InputError
from mv2mae_jax.tasks import plan


@pytest.fixture
def config() -> ConfigDict:
    config = get_config("plan")
    config.model.variant = "mini"
    config.data.num_frames, config.data.image_size = 4, 64
    config.batch_size = 48
    config.data.data_dir = "nothing"
    return config


def test_a_state_that_is_split(config: ConfigDict):
    """Large arrays by eight, small ones not; they are gathered forward and backward."""
    whole = cost(config, 0, parse_topology("h100:8"))
    assert [x.kind for x in whole.exchanges] == ["all-reduce"]
    config.mesh.fsdp = 8
    split = cost(config, 0, parse_topology("h100:8"))
    assert config.mesh.fsdp == 8
    assert [(x.kind, x.group, x.times) for x in split.exchanges] == [
        ("all-reduce", 8, 1),
        ("all-gather", 8, 2),
    ]
    assert whole.memory.state / 8 < split.memory.state < whole.memory.state / 2


@pytest.mark.parametrize(
    ("topology", "fsdp", "says"),
    [
        ("h100:8", 3, "mesh.fsdp=3 does not divide the 8 devices of this run"),
        ("h100:16", 16, "does not divide the 8 devices of a host or TPU slice, of which .* 2;"),
        ("l4:3", 3, "mesh.fsdp=3 divides no axis of"),
    ],
)
def test_what_a_run_refuses(config: ConfigDict, topology: str, fsdp: int, says: str):
    config.mesh.fsdp = fsdp
    with pytest.raises(InputError, match=says):
        cost(config, 0, parse_topology(topology))


def test_splitting_the_state_can_be_what_helps(config: ConfigDict, monkeypatch: pytest.MonkeyPatch):
    """On a GPU that has just too little memory for the whole of it."""
    machine = parse_topology("h100:2")
    config.model.remat, config.batch_size = True, 2
    needs = cost(config, 0, machine).memory.total
    monkeypatch.setattr("mv2mae_jax.cost.estimate.USABLE", (needs - 1) / machine.device.memory)
    with pytest.raises(InputError, match=r"it fits with --config\.mesh\.fsdp=2$"):
        plan.plan(config, machine)
