"""The products that are timed are the step's, and the same in both frameworks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from benchmarks import products
from benchmarks.flops import pretraining_flops
from configs.base import get_config


def test_they_are_all_of_the_steps():
    """Counted by hand from the shapes, in `benchmarks/flops.py`."""
    config = get_config()
    config.model.variant, config.batch_size = "mini", 2
    config.data.num_frames, config.data.image_size = 4, 64
    counts = products.products_of(config)
    flops = sum(times * product.flops for product, times in counts.items())
    assert flops == pytest.approx(2 * pretraining_flops(config), rel=0.02)
    assert max(counts.values()) > 10  # blocks alike have the same


@pytest.mark.parametrize(
    ("left", "right", "numbers"),
    [
        ((2, 3, 4), (4, 5), (((2,), (0,)), ((), ()))),
        ((2, 3, 4), (2, 3, 5), (((0, 1), (0, 1)), ((), ()))),
        ((2, 3, 4, 5), (2, 3, 6, 5), (((3,), (3,)), ((0, 1), (0, 1)))),
        ((2, 3, 4), (3, 5, 2), (((0,), (2,)), ((1,), (0,)))),
    ],
)
def test_einsum_is_the_same_product(left, right, numbers):
    rng = np.random.default_rng(0)
    operands = [rng.normal(size=x).astype(np.float32) for x in (left, right)]
    wanted = jax.lax.dot_general(*map(jnp.asarray, operands), numbers)
    equation = products.einsum(products.Product(left, right, numbers, 0))
    found = torch.einsum(equation, *map(torch.from_numpy, operands))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_it_says_how_long_they_take(capsys: pytest.CaptureFixture[str]):
    assert products.main(["--variant=mini", "--pairs=1", "--rounds=1"]) == 0
    said = capsys.readouterr().out
    assert "XLA: all products" in said and "PyTorch: all products" in said
