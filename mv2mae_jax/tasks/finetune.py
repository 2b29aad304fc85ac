"""Fine-tuning: the encoder of a pre-training run (or a new one) learns to name actions."""

import itertools
import logging
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from mv2mae_jax.data import loader, splits
from mv2mae_jax.data.records import fingerprint, load_index
from mv2mae_jax.data.samples import unit
from mv2mae_jax.errors import InputError
from mv2mae_jax.evaluation.features import FrozenEncoder
from mv2mae_jax.evaluation.scheduled_validation import scheduled_validation
from mv2mae_jax.interop.initial import load_initial
from mv2mae_jax.learner import learner_of
from mv2mae_jax.run_files import read_classes
from mv2mae_jax.tasks.evaluate import check_classes, evaluate
from mv2mae_jax.training.checkpoints import has_checkpoint
from mv2mae_jax.training.loop import train
from mv2mae_jax.training.parameters import Parameters
from mv2mae_jax.training.sharding import make_mesh, require_even_batches
from mv2mae_jax.training.workdir import opened, write_classes

log = logging.getLogger(__name__)

STANDARDIZED_CLIPS = 256


def finetune(config: ConfigDict, workdir: epath.PathLike) -> None:
    """Trains a classifier end to end on the training split, then evaluates it.

    Where there is a validation split, that is tested meanwhile.

    Raises:
      InputError: the data or `init_from` cannot be used as configured, or they are not those of
        the run in `workdir`; or as `train`.
      SystemExit: as `train`.
    """
    require_even_batches(config, jax.device_count())
    classes = splits.class_names(config)
    _check_labels(config, classes)
    steps_per_epoch = loader.steps_per_epoch(config)
    continues = has_checkpoint(workdir)
    starts = config.finetune.init_from and not continues
    initial = initial_parameters(config) if starts else None
    mesh = make_mesh(config.mesh.fsdp)
    with opened(workdir, config) as path:
        if continues and (named := read_classes(path)):
            check_classes(named, classes, path)  # which its classifier counts
        else:
            write_classes(path, classes)
        train(
            config,
            path,
            learner=learner_of(config, len(classes)),
            batches=loader.finetuning_batches,
            steps_per_epoch=steps_per_epoch,
            unit=unit(config),
            mesh=mesh,
            data=fingerprint(config.data.data_dir, config.data.dataset),
            initial=initial,
            measure=scheduled_validation(config, len(classes)),
            measure_every=max(1, round(config.finetune.validate_every_epochs * steps_per_epoch)),
        )
        evaluate(config, path)


def _check_labels(config: ConfigDict, classes: Sequence[str]) -> None:
    """Says before training that there is nothing to tell apart, or what the test will not get.

    Raises:
      InputError: training has one class only, or there is nothing to test.
    """
    index = load_index(config.data.data_dir, config.data.dataset)
    trained, tested = (
        {activity.label for activity in splits.split_of(config, index, split)}
        for split in ("train", config.data.evaluate_on)
    )
    if len(trained) < 2:
        raise InputError(
            f"all training videos of protocol {config.data.protocol} are of one class; label them, "
            "or set another config.data.protocol: fine-tuning learns to tell classes apart"
        )
    if unseen := sorted(tested - trained):
        log.warning(
            "no training video is of these classes, which are tested: %s",
            ", ".join(classes[label] for label in unseen),
        )


def initial_parameters(config: ConfigDict) -> Parameters:
    """What fine-tuning starts from: the pre-trained encoder, and the norm before the head.

    Raises:
      InputError: as `load_initial`.
    """
    encoder = load_initial(config, config.finetune.init_from, encoder_only=True)
    return encoder | (standardizing_norm(config, encoder) if config.finetune.standardize else {})


def standardizing_norm(config: ConfigDict, encoder: Parameters) -> Parameters:
    """Scale and bias with which pooled features have mean 0 and variance 1 over training clips.

    What pooled features have in common is much larger than what tells clips apart, and the head's
    gradients are mostly noise until it has learnt to ignore it; a short fine-tuning has no time to.
    """
    width = encoder["encoder.embed.bias"].shape[0]
    plain = {"norm.scale": jnp.ones(width), "norm.bias": jnp.zeros(width)}
    frozen = FrozenEncoder(config, encoder | plain)
    with loader.finetuning_batches(config, 0, 0, 1) as batches:  # the same in all processes
        steps = math.ceil(STANDARDIZED_CLIPS / (config.batch_size * config.data.repeats))
        first = [batch["clips"][:STANDARDIZED_CLIPS] for batch in itertools.islice(batches, steps)]
    pooled = frozen.encode(np.concatenate(first)[:STANDARDIZED_CLIPS])
    deviation = pooled.std(axis=0)
    scale = 1 / np.where(deviation > 0, deviation, 1)  # one that never varies has none
    return {"norm.scale": scale, "norm.bias": -scale * pooled.mean(axis=0)}
