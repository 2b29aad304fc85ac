"""The config with which a trained model is measured: its own, and what a command may choose."""

import logging

from etils import epath
from ml_collections import ConfigDict

from mv2mae_jax.check import fields
from mv2mae_jax.errors import InputError

log = logging.getLogger(__name__)

# Also of how much of the training split a probe may choose, whatever the run was trained on.
HOW = ("data_dir", "evaluate_on", "workers", "threads", "train_fraction")
# What of a data set is trained and tested on.
WHICH = ("dataset", "protocol", "test_views", "test_subjects", "validation_subjects")
OF_TRAINING = ("model.drop_path", "model.remat")  # without effect here
CLIPS = ("num_frames", "stride", "image_size", "mean", "std")  # what the model sees of a video


def as_trained(config: ConfigDict, trained: ConfigDict, workdir: epath.PathLike) -> ConfigDict:
    """A trained model's config, with the command's data directory and way of testing.

    Of another data set than the model's it takes the command's splits too. A line names what the
    model, its clips and its splits have otherwise than the command: it stays as it was trained.

    Args:
      config: the command's.
      trained: the model's.
      workdir: of the model, for messages.

    Raises:
      InputError: the same data set by another protocol, or a validation split that the run has
        not set aside.
    """
    merged = trained.copy_and_resolve_references()
    merged.evaluation, merged.probe = config.evaluation, config.probe
    same = config.data.dataset == trained.data.dataset
    if same and config.data.protocol != trained.data.protocol:
        raise refusal("protocol", config, trained, workdir)
    for field in HOW if same else HOW + WHICH:
        merged.data[field] = config.data[field]
    if merged.data.evaluate_on == "validation" and not merged.data.validation_subjects:
        whose, how = "the command sets", ""
        if same:
            whose, how = f"{workdir} was trained on all subjects, and has", "train with "
        raise InputError(
            f"{whose} no validation split; set config.data.evaluate_on=test, or "
            f"{how}config.data.validation_subjects"
        )
    asked, measured = dict(fields(config)), dict(fields(merged))
    names = [name for name in measured if name.startswith("model.") and name not in OF_TRAINING]
    names += [f"data.{name}" for name in CLIPS + WHICH]
    kept = [
        f"{name}={measured[name]} (not {asked[name]})"
        for name in names
        if measured[name] != asked[name]
    ]
    if kept:
        log.info("as %s was trained: %s", workdir, ", ".join(kept))
    return merged


def require_data_set(trained: ConfigDict, workdir: epath.PathLike, remedy: str) -> None:
    """Raises InputError of imported weights, which do not say what they were trained on."""
    if not trained.data.dataset:
        raise InputError(
            f"{workdir} holds imported weights that do not say which data they were trained on; "
            f"{remedy}"
        )


def refusal(
    field: str, config: ConfigDict, trained: ConfigDict, workdir: epath.PathLike
) -> InputError:
    """Says that a model is not tested on data of another dataset or protocol than its own."""
    theirs, ours = trained.data[field], config.data[field]
    return InputError(
        f"{workdir} was trained with data.{field}={theirs}, testing it with {ours} is another "
        "experiment, or would mix training and test data; set "
        f"config.data.{field}={theirs}"
    )
