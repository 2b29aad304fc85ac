"""Testing a classifier: one clip, many clips and crops, and all views of an activity together."""

import json
from itertools import zip_longest
from typing import Any

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict
from tabulate import tabulate

from mv2mae_jax.data import splits
from mv2mae_jax.errors import InputError
from mv2mae_jax.evaluation.confusion import draw_confusion
from mv2mae_jax.evaluation.fusion import fuse_views
from mv2mae_jax.evaluation.predictions import Predictions, Predictor, write_table
from mv2mae_jax.evaluation.scores import Score, score
from mv2mae_jax.evaluation.trained import as_trained, refusal, require_data_set
from mv2mae_jax.model.parts import num_classes
from mv2mae_jax.run_files import PREDICTIONS, RESULTS, read_classes
from mv2mae_jax.storage import to_path, write_whole
from mv2mae_jax.training.checkpoints import load_parameters

OTHER_CLASSES = "build the data set with those that it was trained with, or fine-tune anew"


def evaluate(config: ConfigDict, workdir: epath.PathLike) -> None:
    """Tests the classifier of a fine-tuning work directory; the findings are written there.

    Single-clip: the centre crop of the middle clip. Otherwise the mean softmax over
    `evaluation.clips` x `evaluation.crops`; multi-view: over the views of an activity too.
    `results.json` has the accuracies with their counts and 95% intervals, `predictions.csv` the
    probabilities of every video, `confusion.png` which classes are taken for which.

    Raises:
      InputError: no classifier in `workdir`, or one of another data set, protocol or classes.
    """
    parameters, trained = load_parameters(workdir)
    count = num_classes(parameters)
    if not count:
        raise InputError(f"{workdir} holds no classifier; evaluate the --workdir of a fine-tuning")
    require_data_set(trained, workdir, "fine-tune from them, and evaluate that run")
    if trained.data.dataset != config.data.dataset:
        raise refusal("dataset", config, trained, workdir)
    config = as_trained(config, trained, workdir)
    names = splits.class_names(config)
    check_classes(read_classes(workdir) or names, names, workdir)
    clips, crops = config.evaluation.clips, config.evaluation.crops
    if count != len(names):
        raise InputError(
            f"{workdir} was trained with {count} classes, the data set has {len(names)}; "
            + OTHER_CLASSES
        )
    single_clip = Predictor(config, count, clips=1, crops=1)(parameters)
    predictions = Predictor(config, count, clips=clips, crops=crops)(parameters)
    if jax.process_index() > 0:
        return
    overall = overall_scores(predictions, single_clip)
    per_class = per_class_scores(predictions, names)
    results = {
        "protocol": config.data.protocol,
        "dataset": config.data.dataset,
        "split": config.data.evaluate_on,
        **each("accuracy", overall, per_class),
        "count": each("count", overall, per_class),
        "interval_95": each("interval", overall, per_class),
        "num_videos": overall["top1_single_view"].count,
        "num_activities": overall["top1_multi_view"].count,
        "num_classes": len(names),
        "clips": clips,
        "crops": crops,
    }
    workdir = to_path(workdir)
    write_table(workdir / PREDICTIONS, predictions, single_clip, names)
    write_whole(workdir / RESULTS, json.dumps(results, indent=2) + "\n")
    draw_confusion(predictions.labels, predictions.predicted, names, workdir / "confusion.png")
    print(table(overall))


def check_classes(
    trained: tuple[str, ...], names: tuple[str, ...], workdir: epath.PathLike
) -> None:
    """The classifier's classes are those of the data set as it is built now.

    Raises:
      InputError: labels would count others.
    """
    for number, (theirs, ours) in enumerate(zip_longest(trained, names, fillvalue="missing")):
        if theirs != ours:
            raise InputError(
                f"{workdir} was trained with other classes than the data set has now: number "
                f"{number} is {theirs} there, {ours} here; {OTHER_CLASSES}"
            )


def overall_scores(predictions: Predictions, single_clip: Predictions) -> dict[str, Score]:
    """Of videos by a single clip and by all clips and crops, and of activities by all views."""
    fused, fused_labels = fuse_views(
        predictions.probabilities, predictions.labels, predictions.activities
    )
    fused_correct = fused.argmax(axis=1) == fused_labels
    return {
        "top1_single_clip": score(single_clip.correct, single_clip.activities),
        "top1_single_view": score(predictions.correct, predictions.activities),
        "top1_multi_view": score(fused_correct, np.arange(len(fused_labels))),
        "top5_single_view": score(predictions.among_best(5), predictions.activities),
    }


def per_class_scores(predictions: Predictions, names: tuple[str, ...]) -> dict[str, Score]:
    """Single-view scores of each class that occurs, by name."""
    labels, activities, correct = predictions.labels, predictions.activities, predictions.correct
    return {
        names[label]: score(correct[labels == label], activities[labels == label])
        for label in np.unique(labels)
    }


def each(field: str, overall: dict[str, Score], per_class: dict[str, Score]) -> dict[str, Any]:
    """One field of every score, under the name of the accuracy."""

    def of(scores: dict[str, Score]) -> dict[str, Any]:
        return {name: getattr(value, field) for name, value in scores.items()}

    return of(overall) | {"per_class_accuracy": of(per_class)}


def table(scores: dict[str, Score]) -> str:
    """For people: accuracy, interval and count."""
    rows = [
        [name, f"{s.accuracy:.1%}", "{:.1%} to {:.1%}".format(*s.interval), s.count]
        for name, s in scores.items()
    ]
    return tabulate(rows, ["", "accuracy", "95% interval", "count"], disable_numparse=True)
