"""What JAX calls an accelerator is found in the table, whose numbers agree with each other."""

import jax
import pytest

from mv2mae_jax.cost.devices import DEVICES, find


@pytest.mark.parametrize(
    ("device_kind", "key"),
    [
        ("TPU v4", "v4"),
        ("TPU v5 lite", "v5e"),
        ("TPU v5e", "v5e"),
        ("TPU v5", "v5p"),
        ("TPU v5p", "v5p"),
        ("TPU v6 lite", "v6e"),
        ("Tesla V100-SXM2-16GB", "v100-16gb"),
        ("Tesla V100-SXM2-32GB", "v100"),
        ("NVIDIA A100-SXM4-40GB", "a100-40gb"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA B200", "b200"),
        ("NVIDIA L4", "l4"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
    ],
)
def test_a_kind_is_found(device_kind: str, key: str):
    assert find(device_kind) is DEVICES[key]


@pytest.mark.parametrize("device_kind", [jax.devices("cpu")[0].device_kind, "TPU v3", "NVIDIA H20"])
def test_what_is_not_listed_is_not_guessed(device_kind: str):
    assert find(device_kind) is None


@pytest.mark.parametrize("key", DEVICES)
def test_numbers_have_their_units(key: str):
    """A figure in bits or in GB would stand out against the other ones."""
    device = DEVICES[key]
    assert device.peak("float32") <= device.peak("bfloat16")
    assert 15 <= device.bfloat16 / device.bandwidth < 600  # operations for a byte
    assert 5e-3 < device.memory / device.bandwidth < 0.1  # seconds to read all of it
    assert 3 < device.bandwidth / device.interconnect < 35
