"""Estimates for GPUs, and that they refuse what a run refuses."""

import pytest
from ml_collections import ConfigDict

from benchmarks.flops import pretraining_flops
from configs.ntu60 import get_config
from mv2mae_jax.cost.estimate import cost
from mv2mae_jax.cost.program import kept_bytes, trace_step, tree_bytes
from mv2mae_jax.cost.topology import parse_topology
from mv2mae_jax.errors import InputError
from mv2mae_jax.tasks import plan
from mv2mae_jax.training.sharding import make_mesh


@pytest.fixture
def config() -> ConfigDict:
    config = get_config("plan")
    config.model.variant = "mini"
    config.data.num_frames, config.data.image_size = 4, 64
    config.batch_size = 48
    config.data.data_dir = "nothing"
    return config


def test_seconds_by_hand(config: ConfigDict):
    """Of NVIDIA's numbers for the H100: 989 TFLOP/s, 3,350 GB/s, and 450 GB/s each way."""
    found = cost(config, 0, parse_topology("h100:8"))
    assert found.computing == pytest.approx(6 * pretraining_flops(config) / 989e12, rel=1e-4)
    _, state = trace_step(config, 0, make_mesh(1))
    moved = 6 * kept_bytes(config, 0) + tree_bytes(state)  # written and read
    assert found.reading == pytest.approx(2 * moved / 3350e9, rel=1e-3)
    (exchange,) = found.exchanges
    assert found.exchanging == pytest.approx(2 * 7 / 8 * exchange.bytes / 450e9)
    assert exchange.bytes == tree_bytes(state.parameters) / 2  # gradients in bfloat16
    assert found.seconds == max(found.computing, found.reading) + found.exchanging


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


def test_activations_are_counted_without_the_parameters(config: ConfigDict):
    """Four tokens: what is kept of them is little beside a model, an eighth of it too."""
    config.data.num_frames, config.data.image_size = 2, 32
    _, state = trace_step(config, 5, make_mesh(1))
    assert 0 < kept_bytes(config, 5) < tree_bytes(state.parameters) / 16


def test_what_is_frozen_keeps_nothing(config: ConfigDict):
    everything = kept_bytes(config, 5)
    config.finetune.trainable_blocks = 2
    half = kept_bytes(config, 5)
    config.finetune.trainable_blocks = 0
    assert 0.4 * everything < half < 0.6 * everything
    assert kept_bytes(config, 5) < 0.05 * everything


def test_gradients_are_there_twice_where_they_accumulate(config: ConfigDict):
    """The sum and those of a micro-batch; of activations, the micro-batch's."""
    held, machine = {}, parse_topology("h100:2")
    for config.accumulation in (1, 2, 4):
        found = cost(config, 0, machine)
        held[config.accumulation] = found.memory.temporary
        (exchange,) = found.exchanges
        assert exchange.times == 1  # of a step
    gradients = exchange.bytes  # sums are exchanged as they are, float32
    kept = held[1] - gradients
    assert held[2] == pytest.approx(2 * gradients + kept / 2, abs=2)
    assert held[4] == pytest.approx(2 * gradients + kept / 4, abs=2)
