"""What every device holds; batches and parameters that devices cannot share are refused."""

import math
import subprocess
import sys

import jax
import pytest
from flax import nnx
from jax.sharding import AbstractMesh
from jax.sharding import PartitionSpec as P
from processes import environment

from configs.base import get_config
from mv2mae_jax.errors import InputError
from mv2mae_jax.model import build
from mv2mae_jax.training.optimizer import update_rule
from mv2mae_jax.training.parameters import split
from mv2mae_jax.training.sharding import SMALLEST_SPLIT, state_sharding


@pytest.mark.parametrize("task", ["pretrain", "finetune"])
def test_a_batch_that_the_devices_do_not_divide(tmp_path, task):
    words = [sys.executable, "-m", "mv2mae_jax.main", f"--config=configs/ntu60.py:{task}"]
    words += [f"--workdir={tmp_path / 'x'}", "--config.batch_size=4", "--config.data.repeats=2"]
    done = subprocess.run(words, env=environment(3), capture_output=True, text=True)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "batch_size=4 x config.data.repeats=2" in line and "over 3 devices" in line
    assert not (tmp_path / "x").exists()


@pytest.fixture(scope="module")
def large() -> dict:
    """Shapes of ViT-L's parameters and of their optimiser state; no values."""
    config = get_config()
    config.model.variant = "large"

    def create() -> dict:
        _, parameters = split(build.pretraining_model(config, nnx.Rngs(0)))
        optimizer = update_rule(config, lambda step: 1e-3, parameters)
        return {"parameters": parameters, "optimizer": optimizer.init(parameters)}

    return jax.eval_shape(create)


def bytes_of(shape: tuple[int, ...], leaf: jax.ShapeDtypeStruct) -> int:
    return math.prod(shape) * leaf.dtype.itemsize


@pytest.mark.parametrize("fsdp", [1, 8, 64])
def test_a_device_holds_its_part_of_a_large_model(large: dict, fsdp: int):
    mesh = AbstractMesh((2, fsdp), ("data", "fsdp"))
    leaves = jax.tree.leaves(large)
    shardings = jax.tree.leaves(state_sharding(mesh, large))
    parts = [x.shard_shape(leaf.shape) for x, leaf in zip(shardings, leaves, strict=True)]
    for part, leaf in zip(parts, leaves, strict=True):
        split_by = fsdp if leaf.size >= SMALLEST_SPLIT else 1
        assert math.prod(leaf.shape) == math.prod(part) * split_by
    whole = sum(bytes_of(leaf.shape, leaf) for leaf in leaves)
    held = sum(map(bytes_of, parts, leaves))
    assert whole > 4e9
    assert whole / fsdp <= held < whole * (1 / fsdp + 0.002)  # all but a few are large


@pytest.mark.parametrize(
    ("shape", "spec"),
    [
        ((128, 512), P(None, "fsdp")),
        ((512, 128), P("fsdp")),
        ((2, 66, 2048, 96), P(None, None, "fsdp")),
        ((300, 301), P("fsdp")),  # 4 does not divide the longest one
        ((128, 511), P()),  # small
    ],
)
def test_the_longest_axis_that_can_be_split_is_split(shape: tuple[int, ...], spec: P):
    mesh = AbstractMesh((2, 4), ("data", "fsdp"))
    found = state_sharding(mesh, {"kernel": jax.ShapeDtypeStruct(shape, "float32")})
    assert found["kernel"].spec == spec


def test_parameters_that_devices_cannot_share(large: dict):
    mesh = AbstractMesh((1, 5), ("data", "fsdp"))
    with pytest.raises(InputError, match=r"mesh\.fsdp=5 divides no axis of .*kernel.* of shape"):
        state_sharding(mesh, large)
