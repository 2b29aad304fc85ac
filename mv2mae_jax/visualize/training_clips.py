"""The clips that pictures of a pre-training show, and what they are of."""

from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict, FrozenConfigDict

from mv2mae_jax.data import loader, splits
from mv2mae_jax.data.records import DamagedRecord, RecordSource, load_index
from mv2mae_jax.data.samples import (
    PretrainingDraw,
    allow_damaged,
    draw_pretraining,
    pretraining_sample,
)


class Clip(NamedTuple):
    """One sample: which activity it is of, what was drawn for it, and its pixels."""

    activity: str
    action: str
    draw: PretrainingDraw
    views: UInt8[np.ndarray, "V T H W C"]  # the target first

    def title(self, views: int) -> str:
        """What the first so many views show, and which cameras they are of."""
        cameras = zip(view_names(views), self.draw.views, strict=False)
        seen = ", ".join(f"{name}: {camera}" for name, camera in cameras)
        return f"{self.action} · {self.activity} · {seen}"


def first_clips(config: ConfigDict, activities: int) -> list[Clip]:
    """The first clips that a run is trained on, of so many activities: always the same.

    Activities that cannot be read are passed over, as many as may be replaced in training.

    Raises:
      InputError: the data cannot give them.
    """
    config = config.copy_and_resolve_references()
    config.batch_size = 1  # an epoch leaves nothing out; the order does not depend on it
    data, actions = FrozenConfigDict(config.data), splits.class_names(config)
    records = RecordSource(load_index(data.data_dir, data.dataset))
    clips: list[Clip] = []
    damaged: dict[str, str] = {}
    usable = loader.pretraining_activities(config)
    order = loader.training_order(config, usable)
    for number in range(len(usable)):
        activity = order[number]
        try:
            sample = pretraining_sample(data, config.seed, records, number, activity)
        except DamagedRecord as error:
            damaged[error.activity] = error.reason
            allow_damaged(damaged, data.bad_records)
            continue
        draw = draw_pretraining(data, config.seed, number, activity)
        clips.append(Clip(activity.id, actions[activity.label], draw, sample["clips"][0]))
        if len(clips) == activities:
            break
    return clips


def view_names(views: int) -> list[str]:
    """Of a sample's views: the target comes first."""
    numbers = [""] if views == 2 else [f" {number}" for number in range(1, views)]
    return ["target view", *(f"source view{number}" for number in numbers)]
