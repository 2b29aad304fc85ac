"""What a classifier says about every video of a split, and the table of it."""

import csv
import io
import math
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from etils import epath
from jax.experimental.multihost_utils import process_allgather
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, UInt8
from ml_collections import ConfigDict
from tqdm import tqdm

from mv2mae_jax.data import loader, splits
from mv2mae_jax.data.samples import Video
from mv2mae_jax.evaluation.crops import over_crops
from mv2mae_jax.model import build
from mv2mae_jax.storage import write_whole
from mv2mae_jax.training.parameters import Parameters, definition_of
from mv2mae_jax.training.sharding import batch_sharding, local_mesh


class Predictions(NamedTuple):
    """Class probabilities of all videos of a split, in the order of the index."""

    videos: list[Video]
    probabilities: Float[np.ndarray, "V K"]

    @property
    def labels(self) -> Int[np.ndarray, " V"]:
        """True classes."""
        return np.array([video.activity.label for video in self.videos])

    @property
    def activities(self) -> Int[np.ndarray, " V"]:
        """Positions of the activities that the videos are views of."""
        return np.array([video.activity.position for video in self.videos])

    @property
    def classes(self) -> Int[np.ndarray, " V"]:
        """The most probable ones."""
        return self.probabilities.argmax(axis=1)

    @property
    def correct(self) -> Bool[np.ndarray, " V"]:
        """Whether the most probable class is the true one."""
        return self.classes == self.labels


def predict(config: ConfigDict, parameters: Parameters, *, clips: int, crops: int) -> Predictions:
    """Mean softmax over the clips and crops of every video of `data.evaluate_on`.

    Each process computes its share of the videos on its own devices; all return all of them.
    """
    split_name = config.data.evaluate_on
    videos = splits.split_videos(config, split_name)
    process, processes = jax.process_index(), jax.process_count()
    mesh = local_mesh()
    parameters = jax.device_put(parameters, NamedSharding(mesh, PartitionSpec()))
    num_classes = parameters["head.bias"].shape[0]
    definition = definition_of(partial(build.classifier, config, num_classes))

    @jax.jit
    def mean_softmax(
        parameters: Parameters, batch: UInt8[Array, "B clips T H W C"]
    ) -> Float[Array, "B K"]:
        model = definition.bind(parameters)

        def of_crop(crop: UInt8[Array, "B T size size C"]) -> Float[Array, "B K"]:
            return jax.nn.softmax(model(build.clip_patches(config, crop)))

        return over_crops(of_crop, batch, config.data.image_size, crops).mean(axis=(0, 1))

    # Video number n is number n // processes of the share of process n % processes.
    share = np.zeros((math.ceil(len(videos) / processes), num_classes), np.float32)
    with loader.evaluation_batches(
        config, videos, clips, crops, process, processes, jax.local_device_count()
    ) as batches:
        name, silent = f"{split_name}, {clips} x {crops}", process > 0 or None  # or no terminal
        for batch in tqdm(batches, name, disable=silent, leave=False):
            on_devices = jax.device_put(batch["clips"], batch_sharding(mesh))
            probabilities = np.asarray(mean_softmax(parameters, on_devices))
            valid = batch["valid"]
            share[batch["video"][valid] // processes] = probabilities[valid]
    shares = process_allgather(share)
    in_order = np.swapaxes(shares, 0, 1).reshape(-1, num_classes)
    return Predictions(videos, in_order[: len(videos)])


def write_table(
    path: epath.Path, predictions: Predictions, single_clip: Predictions, names: tuple[str, ...]
) -> None:
    """A row for each video: what it is, what it is taken for, and its class probabilities.

    Probabilities have all digits of float32, so that whatever is computed from them can be again.

    Args:
      path: CSV file to write.
      predictions: of the rows.
      single_clip: of the same videos, for a column of its own.
      names: of the classes.
    """
    rows = [
        {
            "activity": activity.id,
            "view": view,
            "label": names[activity.label],
            "predicted": names[predicted],
            "probability": f"{probabilities[predicted]:.9g}",
            "correct": int(predicted == activity.label),
            "predicted_single_clip": names[by_single_clip],
            **{f"p({name})": f"{p:.9g}" for name, p in zip(names, probabilities, strict=True)},
        }
        for (activity, view), probabilities, predicted, by_single_clip in zip(
            *predictions, predictions.classes, single_clip.classes, strict=True
        )
    ]
    text = io.StringIO()
    table = csv.DictWriter(text, rows[0])
    table.writeheader()
    table.writerows(rows)
    write_whole(path, text.getvalue())
