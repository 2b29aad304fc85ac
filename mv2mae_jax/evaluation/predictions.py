"""What a classifier says about every video of a split, and the table of it."""

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
from mv2mae_jax.errors import InputError
from mv2mae_jax.evaluation.crops import over_crops
from mv2mae_jax.model import build
from mv2mae_jax.storage import write_csv
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
    def predicted(self) -> Int[np.ndarray, " V"]:
        """The most probable classes."""
        return self.probabilities.argmax(axis=1)

    @property
    def correct(self) -> Bool[np.ndarray, " V"]:
        """Whether the most probable class is the true one."""
        return self.predicted == self.labels

    def among_best(self, count: int) -> Bool[np.ndarray, " V"]:
        """Whether the true class is among so many most probable ones."""
        best = np.argsort(-self.probabilities, axis=1, kind="stable")[:, :count]  # as argmax
        return (best == self.labels[:, None]).any(axis=1)


class Predictor:
    """Mean softmax over the clips and crops of every video of `data.evaluate_on`.

    Each process computes its share of the videos on its own devices, and has them all in the end.
    """

    def __init__(
        self,
        config: ConfigDict,
        num_classes: int,
        *,
        clips: int,
        crops: int,
        bad_records: int = 0,
    ) -> None:
        """Compiles nothing yet: the first call does, once for all parameters.

        Args:
          config: of the classifier, and of what it is tested on.
          num_classes: that it tells apart.
          clips: of a video, evenly spaced; a single one is central.
          crops: of a clip: 1, 5 or 10.
          bad_records: how many activities may be damaged, whose videos are left out; only where
            there is one crop.

        Raises:
          InputError: the data set or its split cannot be used as configured.
        """
        self._config = config
        self._num_classes = num_classes
        self._clips_and_crops = clips, crops
        self._bad_records = bad_records
        self._videos = splits.split_videos(config, config.data.evaluate_on)
        self._mesh = local_mesh()
        definition = definition_of(partial(build.classifier, config, num_classes))

        @jax.jit
        def mean_softmax(
            parameters: Parameters, batch: UInt8[Array, "B clips T H W C"]
        ) -> Float[Array, "B K"]:
            model = definition.bind(parameters)

            def of_crop(crop: UInt8[Array, "B T size size C"]) -> Float[Array, "B K"]:
                return jax.nn.softmax(model(build.clip_patches(config, crop)))

            return over_crops(of_crop, batch, config.data.image_size, crops).mean(axis=(0, 1))

        self._mean_softmax = mean_softmax

    def __call__(self, parameters: Parameters) -> Predictions:
        """What a classifier says; all processes call.

        Args:
          parameters: on this host, or on the devices of this process.

        Raises:
          InputError: what it says is not finite.
          DamagedRecord: a video cannot be read.
        """
        process, processes = jax.process_index(), jax.process_count()
        split, (clips, crops) = self._config.data.evaluate_on, self._clips_and_crops
        parameters = jax.device_put(parameters, NamedSharding(self._mesh, PartitionSpec()))
        # Video number n is number n // processes of the share of process n % processes.
        share = np.zeros((math.ceil(len(self._videos) / processes), self._num_classes), np.float32)
        with loader.evaluation_batches(
            *(self._config, self._videos, clips, crops),
            *(process, processes, jax.local_device_count(), self._bad_records),
        ) as batches:
            name, silent = f"{split}, {clips} x {crops}", process > 0 or None  # or no terminal
            for batch in tqdm(batches, name, disable=silent, leave=False):
                on_devices = jax.device_put(batch["clips"], batch_sharding(self._mesh))
                probabilities = np.asarray(self._mean_softmax(parameters, on_devices))
                valid = batch["valid"]
                share[batch["video"][valid] // processes] = probabilities[valid]
        in_order = np.swapaxes(process_allgather(share), 0, 1).reshape(-1, self._num_classes)
        probabilities = in_order[: len(self._videos)]
        if wrong := int((~np.isfinite(probabilities).all(axis=1)).sum()):
            raise InputError(
                f"the classifier says of {wrong} of {len(self._videos)} videos what is not a "
                "number: its parameters are damaged, or it learnt too fast; lower "
                "config.optimizer.base_learning_rate and train it anew"
            )
        read = probabilities.any(axis=1)  # of one that is left out nothing is said
        videos = [video for video, is_read in zip(self._videos, read, strict=True) if is_read]
        return Predictions(videos, probabilities[read])


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
            *predictions, predictions.predicted, single_clip.predicted, strict=True
        )
    ]
    write_csv(path, rows)
