"""Probes while pre-training runs: how the frozen features fare, always on the same videos."""

import logging
import time
from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict
from tqdm import tqdm

from mv2mae_jax.data.probe_videos import ProbeVideos, training_videos
from mv2mae_jax.evaluation.features import FrozenEncoder
from mv2mae_jax.evaluation.video_features import extract
from mv2mae_jax.model.parts import ENCODER, only
from mv2mae_jax.training.parameters import Parameters
from mv2mae_jax.training.sharding import on_first_device

log = logging.getLogger(__name__)


def scheduled_probe(
    config: ConfigDict, mesh: Mesh
) -> Callable[[Parameters], dict[str, float]] | None:
    """The probe of a pre-training run; None, and a line that says why, where there is none.

    Raises:
      InputError: the data set or its training split cannot be used as configured.
    """
    if not config.probe.every_epochs:
        return None
    videos = training_videos(config)
    if len({video.activity.label for video in videos.train}) < 2 or not videos.test:
        log.info("no probe: it needs labels of two classes or more, and other activities of them")
        return None
    return ScheduledProbe(config, videos, mesh)


class ScheduledProbe:
    """Fits probes to features of some training videos, and scores them on others."""

    def __init__(self, config: ConfigDict, videos: ProbeVideos, mesh: Mesh):
        self._config = config
        self._videos = videos
        self._mesh = mesh
        self._encoder: FrozenEncoder | None = None  # compiled once

    def __call__(self, parameters: Parameters) -> dict[str, float]:
        """Accuracies by name, chance, and the seconds it took; on the first process only.

        Args:
          parameters: of the pre-training model, wherever they live; all processes call.
        """
        started = time.perf_counter()
        encoder = on_first_device(only(parameters, ENCODER), self._mesh)
        if jax.process_index() > 0:
            return {}
        if self._encoder is None:
            self._encoder = FrozenEncoder(self._config, jax.eval_shape(lambda: encoder))
        frozen = self._encoder.with_parameters(encoder)
        (train_labels, train), (labels, test) = (
            extract(self._config, videos, [frozen.tokens], self._config.data.bad_records)
            for videos in self._videos
        )
        if len(np.unique(train_labels)) < 2 or not len(labels):
            log.warning("no probe: too many of its videos are damaged")
            return {}
        # Not at the top: scikit-learn would delay the start of every run by a second.
        from mv2mae_jax.evaluation.probes import TokenFeatures, probe_predictions

        predictions = probe_predictions(TokenFeatures(train, train_labels), test)
        results = {name: float(np.mean(x == labels)) for name, x in predictions.items()}
        results |= {"chance": 1 / len(np.unique(train_labels))}
        shown = " · ".join(f"{name} {value:.1%}" for name, value in results.items())
        results["seconds"] = time.perf_counter() - started
        tqdm.write(f"probe of {len(labels)} videos · {shown} · {results['seconds']:.1f} s")
        return {f"probe_{name}": value for name, value in results.items()}
