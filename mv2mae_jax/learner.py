"""What each task trains: a model, its loss, and which of its parameters, as a config says."""

from functools import partial
from typing import Any

from ml_collections import ConfigDict

from mv2mae_jax.losses import classification_loss, pretraining_loss
from mv2mae_jax.model import build
from mv2mae_jax.training.optimizer import trainable_parameters
from mv2mae_jax.training.step import Learner


def learner_of(config: ConfigDict, classes: int = 0) -> Learner[Any]:
    """That of pre-training, or of fine-tuning, if there are classes to tell apart."""
    if not classes:
        return Learner(partial(build.pretraining_model, config), partial(pretraining_loss, config))
    return Learner(
        partial(build.classifier, config, classes),
        partial(classification_loss, config),
        partial(trainable_parameters, last_blocks=config.finetune.trainable_blocks),
    )
