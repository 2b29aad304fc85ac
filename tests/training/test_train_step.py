"""One device, eight devices, split parameters, accumulated gradients: the same numbers."""

import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from processes import environment

from configs.base import get_config
from mv2mae_jax.errors import InputError
from mv2mae_jax.training.sharding import make_mesh, require_even_batches
from mv2mae_jax.training.step import sample_keys


def train(tmp_path: Path, devices: int, fsdp: int = 1, accumulation: int = 1) -> dict:
    out = tmp_path / f"{devices}-{fsdp}-{accumulation}.npz"
    words = [sys.executable, "tests/training/devices.py", str(fsdp), str(accumulation), str(out)]
    subprocess.run(words, check=True, env=environment(devices, PYTHONPATH=".:tests"))
    return dict(np.load(out))


@pytest.fixture(scope="module")
def one_device(tmp_path_factory: pytest.TempPathFactory) -> dict:
    return train(tmp_path_factory.mktemp("one"), devices=1)


@pytest.mark.parametrize(
    ("devices", "fsdp", "accumulation"), [(8, 1, 1), (8, 4, 1), (1, 1, 4), (2, 1, 2)]
)
def test_same_numbers(one_device: dict, tmp_path: Path, devices: int, fsdp: int, accumulation: int):
    result = train(tmp_path, devices, fsdp, accumulation)
    assert result["devices"] == devices
    assert result["parts"] == fsdp  # large kernels are held in so many parts
    np.testing.assert_allclose(result["losses"], one_device["losses"], rtol=2e-5)
    for name, value in one_device.items():
        if name.endswith(("kernel", "bias", "scale", "token")):
            # Adam turns rounding of tiny gradients into steps of its own size: few, and bounded.
            difference = np.abs(result[name] - value)
            assert difference.max() < 1e-3, name
            assert np.mean(difference > 1e-5) < 0.01, name


def test_mesh_that_does_not_fit():
    with pytest.raises(InputError, match=r"mesh\.fsdp=3 does not divide the 1 devices"):
        make_mesh(3)


def test_batch_that_cannot_be_split():
    config = get_config()
    config.batch_size, config.data.repeats, config.accumulation = 8, 3, 4
    require_even_batches(config, 6)  # one sample each, four times
    with pytest.raises(InputError, match=r"24 samples .*=4 micro-batches over 4 devices"):
        require_even_batches(config, 4)


def test_keys_depend_on_seed_and_sample_alone():
    first = sample_keys(0, jnp.array([5, 6, 7]))
    assert (sample_keys(0, jnp.array([7, 5])) == first[jnp.array([2, 0])]).all()
    assert (sample_keys(1, jnp.array([5, 6, 7])) != first).all()
