"""Tests while fine-tuning runs: how the classifier fares on the validation split."""

import logging
import time
from collections.abc import Callable

import jax
from jax.experimental.multihost_utils import process_allgather
from ml_collections import ConfigDict
from tqdm import tqdm

from mv2mae_jax.evaluation.predictions import Predictor
from mv2mae_jax.training.parameters import Parameters

log = logging.getLogger(__name__)


def scheduled_validation(
    config: ConfigDict, num_classes: int
) -> Callable[[Parameters], dict[str, float]] | None:
    """Measures a classifier by a single clip of each video; None without a validation split.

    Raises:
      InputError: the data set or its validation split cannot be used as configured.
    """
    if not (config.finetune.validate_every_epochs and config.data.validation_subjects):
        return None
    config = config.copy_and_resolve_references()
    config.data.evaluate_on = "validation"
    bad_records = config.data.bad_records
    predictor = Predictor(config, num_classes, clips=1, crops=1, bad_records=bad_records)

    def validate(parameters: Parameters) -> dict[str, float]:
        """Accuracy, and the seconds it took; all processes call."""
        started = time.perf_counter()
        predictions = predictor(process_allgather(parameters, tiled=True))
        if not predictions.videos:
            log.warning("no validation: all of its videos are damaged")
            return {}
        accuracy, seconds = float(predictions.correct.mean()), time.perf_counter() - started
        if jax.process_index() == 0:
            videos = len(predictions.videos)
            tqdm.write(f"validation of {videos} videos · accuracy {accuracy:.1%} · {seconds:.1f} s")
        return {"validation_accuracy": accuracy, "validation_seconds": seconds}

    return validate
