"""What compiled programs say of themselves; and that devices exchange no more than they must."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from processes import environment

from mv2mae_jax.cost.compiled import KINDS, Collective, collectives, memory_of
from mv2mae_jax.cost.program import products

PROGRAM = """\
HloModule jit_step, is_scheduled=true

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %sum = f32[] add(%x, %y)
}

%body (state: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %all-gather.1 = f32[8,4]{1,0} all-gather(%part), replica_groups=[2,4]<=[8], dimensions={0}
  %within = f32[8,4] call(%all-gather.1), to_apply=%called
}

%called (x: f32[8,4]) -> f32[8,4] {
  %permuted = (bf16[2,3], bf16[2,3], u32[], u32[]) collective-permute-start(%x), \
source_target_pairs={{0,1},{1,0}}
  %gathered = (s8[2,4], s8[8,4]) all-gather-start(%x), replica_groups={{0,1,2,3},{4,5,6,7}}
  ROOT %done = bf16[2,3] collective-permute-done(%permuted)
}

%condition (state: (s32[], f32[8,4])) -> pred[] {
  %limit = s32[]{:T(128)} constant(3)
  ROOT %less = pred[] compare(%counter, %limit), direction=LT
}

ENTRY %main (a: f32[8,4]) -> f32[8,4] {
  %all-reduce.2 = (f32[2,4]{1,0:T(8,128)}, bf16[5]{0}) all-reduce(%a, %b), \
replica_groups=mesh['data'=4,'fsdp'=2] {'data'}, to_apply=%add
  %first = f32[2,4] get-tuple-element(%all-reduce.2), index=0
  %scattered = f32[2]{0} reduce-scatter(%first), replica_groups={{0,1},{2,3},{4,5},{6,7}}
  %loop = (s32[], f32[8,4]) while(%start), condition=%condition, body=%body
  %whole = pred[] all-reduce(%ok), replica_groups={}, to_apply=%add
  %shared = s8[] reduce-scatter(%ok), replica_groups={}
  ROOT %out = f32[8,4] get-tuple-element(%loop), index=1
}
"""


def test_a_program_written_by_hand():
    assert sorted(collectives(PROGRAM, 8), key=lambda x: (x.kind, x.bytes)) == [
        Collective("all-gather", 8 * 4 * 1, group=4, times=3),
        Collective("all-gather", 8 * 4 * 4, group=4, times=3),
        Collective("all-reduce", 1, group=8),
        Collective("all-reduce", 2 * 4 * 4 + 5 * 2, group=4),
        Collective("collective-permute", 2 * 3 * 2, group=8, times=3),
        Collective("reduce-scatter", 8 * 1, group=8),
        Collective("reduce-scatter", 2 * 4 * 2, group=2),
    ]


def test_what_a_device_sends_in_a_ring():
    assert Collective("all-reduce", 800, 8).sent() == 2 * 7 * 100
    assert Collective("reduce-scatter", 800, 8, times=2).sent() == 2 * 7 * 100
    assert Collective("all-gather", 800, 8).sent() == 7 * 100
    assert Collective("collective-permute", 800, 8).sent() == 800


def test_products_of_a_loop():
    def program(x):
        return jax.lax.scan(lambda y, _: (y @ y, None), x @ x, length=5)[0]

    jaxpr = jax.make_jaxpr(program)(jnp.ones((4, 4))).jaxpr
    assert products(jaxpr) == (1 + 5) * 2 * 4**3
    assert products(jaxpr, repeats=False) == (1 + 1) * 2 * 4**3


def test_memory_of_a_program():
    """The state is given back in its own place, the gradient of a square is kept in between."""

    def step(state, batch):
        return state - jax.grad(lambda x: jnp.sum(jnp.sin(batch @ x) ** 2))(state)

    shapes = jax.ShapeDtypeStruct((64, 64), jnp.float32), jax.ShapeDtypeStruct((512, 64), "float32")
    memory = memory_of(jax.jit(step, donate_argnums=0).lower(*shapes).compile())
    assert memory.state == 4 * (64 * 64 + 512 * 64)
    assert 4 * 512 * 64 <= memory.temporary <= 4 * 4 * 512 * 64
    assert memory.total == memory.state + memory.temporary + memory.code


def exchanges(changes: dict[str, object], classes: int = 0) -> tuple[list[Collective], int]:
    """Of the training step on eight devices; and bytes of the parameters."""
    script = Path(__file__).with_name("exchanges.py")
    words = [sys.executable, str(script), json.dumps(changes), str(classes)]
    path = str(Path.cwd())
    done = subprocess.run(
        words, env=environment(8, PYTHONPATH=path), capture_output=True, text=True, check=True
    )
    found, parameters = json.loads(done.stdout.splitlines()[-1])
    return [Collective(*each) for each in found], parameters


@pytest.mark.parametrize(
    ("changes", "classes"),
    [
        ({"data.num_views": 3, "masking.kind": "tube"}, 0),
        ({"accumulation": 2, "data.repeats": 2, "finetune.random_erasing": 0.25}, 5),
    ],
    ids=["pretrain", "finetune-accumulated"],
)
def test_devices_exchange_the_gradients(changes: dict[str, object], classes: int):
    """One reduction of all gradients, and a few numbers for the log; no clip, no activation.

    With accumulation one for every micro-batch: XLA's CPU compiler, other than that for TPUs, does
    not take it out of the loop.
    """
    found, parameters = exchanges(changes, classes)
    assert {x.kind for x in found} == {"all-reduce"}
    assert {x.group for x in found} == {8}
    parts = changes.get("accumulation", 1)
    exchanged = sum(x.bytes * x.times for x in found)
    assert parts * parameters <= exchanged <= parts * (parameters + 64)


def test_mixing_gathers_the_bytes_of_the_batch():
    """A clip's partner may be on any device. Of a sample besides: its number, label and key."""
    found, parameters = exchanges({"finetune.mixup": 0.8, "finetune.random_erasing": 0.25}, 5)
    assert {x.kind for x in found} == {"all-reduce", "all-gather"}
    exchanged = {kind: sum(x.bytes for x in found if x.kind == kind) for kind in KINDS}
    samples, values = 16, 4 * 32 * 32 * 3
    assert samples * values < exchanged["all-gather"] <= samples * (values + 4 + 4 * 5 + 8)
    assert parameters <= exchanged["all-reduce"] <= parameters + 64
