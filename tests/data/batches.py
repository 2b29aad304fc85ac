"""Batches that a test takes and compares."""

from collections.abc import Sequence
from itertools import islice

import numpy as np

from mv2mae_jax.data.loader import Batch, Batches


def take(batches: Batches, count: int | None) -> list[Batch]:
    """So many batches, or all of them; the loader is closed."""
    with batches:
        return list(islice(batches, count))


def assert_same(batches: Sequence[Batch], others: Sequence[Batch]) -> None:
    """As many batches, of the same arrays."""
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        assert batch.keys() == other.keys()
        for key in batch:
            assert np.array_equal(batch[key], other[key]), key
