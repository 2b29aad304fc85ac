"""Batches of noise, where it does not matter what a model sees."""

import numpy as np
from ml_collections import ConfigDict

from mv2mae_jax.data.loader import Batch


def random_batch(config: ConfigDict, size: int, number: int, classes: int = 0) -> Batch:
    """Noise in the shape of a config's batch; `number` counts the batches."""
    rng = np.random.default_rng(number)
    data = config.data
    views = () if classes else (data.num_views,)
    shape = (size, *views, data.num_frames, data.image_size, data.image_size, 3)
    index = np.arange(number * size, (number + 1) * size, dtype=np.int32)
    batch = {"clips": rng.integers(0, 256, shape).astype(np.uint8), "index": index}
    return batch | ({"label": (index % classes).astype(np.int32)} if classes else {})
