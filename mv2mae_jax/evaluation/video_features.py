"""Features of many videos, a batch of clips at a time."""

from collections.abc import Callable, Sequence

import numpy as np
from ml_collections import ConfigDict

from mv2mae_jax.data.loader import evaluation_batches
from mv2mae_jax.data.samples import Video
from mv2mae_jax.evaluation.features import Clips


def extract(
    config: ConfigDict,
    videos: Sequence[Video],
    features: Sequence[Callable[[Clips], np.ndarray]],
    bad_records: int = 0,
) -> list[np.ndarray]:
    """Labels of videos, then features of each, from the centre crop of their middle clip.

    Args:
      config: of the experiment; `evaluation.batch_size` clips at a time.
      videos: in any number; no more than a batch of clips is held.
      features: of a batch of clips.
      bad_records: how many activities may be damaged, whose videos are left out.

    Returns:
      [V], then for each function [V ...].

    Raises:
      InputError: more activities are damaged than may be.
      DamagedRecord: one is, and none may be.
    """
    config = config.copy_and_resolve_references()
    config.data.workers = 0  # threads do for so few, and start at once
    arrays: list[np.ndarray] = []
    done = 0
    with evaluation_batches(config, videos, clips=1, crops=1, bad_records=bad_records) as batches:
        for batch in batches:
            clips, valid = batch["clips"][:, 0], batch["valid"]
            parts = [batch["label"][valid], *(feature(clips)[valid] for feature in features)]
            if not arrays:  # filled part by part: lists would be copied as a whole in the end
                arrays = [np.empty((len(videos), *x.shape[1:]), x.dtype) for x in parts]
            for array, part in zip(arrays, parts, strict=True):
                array[done : done + len(part)] = part
            done += int(valid.sum())
    return [array[:done] for array in arrays]
