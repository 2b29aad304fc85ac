"""What the files of a work directory say about its run, in the shape in which the page shows it."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from etils import epath
from ml_collections import ConfigDict
from sklearn.metrics import confusion_matrix

from mv2mae_jax.check import fields
from mv2mae_jax.model.parts import has
from mv2mae_jax.model.variants import VARIANTS
from mv2mae_jax.run_files import (
    METRICS,
    PREDICTIONS,
    PROBE,
    RESULTS,
    TOP1,
    Tested,
    read_metrics,
    read_predictions,
    read_probe,
    read_results,
)
from mv2mae_jax.storage import to_path
from mv2mae_jax.training.parameters import Parameters
from mv2mae_jax.visualize.runs import named

# Panels of curves: title, how values are written, whether their axis is logarithmic, and which.
PANELS = (
    ("Loss", "number", True, ("loss", "self_view", "cross_view")),
    (
        "Loss by view",
        "number",
        True,
        ("self_view_target", "self_view_source", "cross_view_target", "cross_view_source"),
    ),
    (
        "Probes of the frozen encoder",
        "percent",
        False,
        ("probe_tokens", "probe_logistic", "probe_knn", "probe_chance"),
    ),
    ("Accuracy", "percent", False, ("accuracy", "validation_accuracy")),
    ("Learning rate", "number", False, ("learning_rate",)),
    ("Gradient norm", "number", True, ("gradient_norm",)),
)

MOST_POINTS = 2000  # of a curve: more than a screen has columns

# Names of metrics and results that do not say enough by themselves.
LABELS = {
    "accuracy": "of training clips",
    "validation_accuracy": "of the validation split, by a clip",
    "self_view": "self-view",
    "cross_view": "cross-view",
    "self_view_target": "self-view, target",
    "self_view_source": "self-view, source",
    "cross_view_target": "cross-view, target",
    "cross_view_source": "cross-view, source",
    "probe_tokens": "token probe",
    "probe_logistic": "logistic regression",
    "probe_knn": "nearest neighbours",
    "probe_chance": "chance",
    "pixels": "linear classifier on the pixels",
    "motion_map": "linear classifier on the motion map",
    "motion_map_over_time": "linear classifier on the motion map over time",
    "tokens_before": "token probe of an untrained encoder",
    "tokens_after": "token probe after training",
    "logistic_before": "logistic regression of an untrained encoder",
    "logistic_after": "logistic regression after training",
    "knn_before": "nearest neighbours of an untrained encoder",
    "knn_after": "nearest neighbours after training",
    "top1_single_clip": "top-1, a single clip",
    "top1_single_view": "top-1, a single view",
    "top1_multi_view": "top-1, all views",
}


def summary(workdir: epath.PathLike, config: ConfigDict, parameters: Parameters) -> dict[str, Any]:
    """What was trained and how it went.

    Args:
      workdir: of the run.
      config: of the run.
      parameters: of the run.

    Raises:
      InputError: a file of the run is damaged.
    """
    folder = to_path(workdir)

    def read(file: str, reader: Callable[[epath.Path], Any]) -> Any:
        """None where the run has no such file yet."""
        return reader(folder) if (folder / file).exists() else None

    metrics = read(METRICS, read_metrics) or []
    probed, tested = read(PROBE, read_probe), read(RESULTS, read_results)
    predictions = read(PREDICTIONS, read_predictions)
    (name,) = named([str(workdir)])
    return {
        "name": name,
        "task": task(config, parameters),
        "facts": facts(config, parameters, metrics),
        "headlines": headlines(metrics, probed, tested),
        "panels": panels(metrics),
        "probe": probed and probe(probed),
        "results": tested and results(tested),
        "confusion": predictions and confusion(predictions),
        "config": [[name, _shown(value)] for name, value in fields(config)],
    }


def task(config: ConfigDict, parameters: Parameters) -> str:
    """What the run was; of imported weights nobody knows."""
    if not config.data.dataset:
        return "Imported weights"
    return "Pre-training" if has(parameters, "self-view decoder") else "Fine-tuning"


def facts(
    config: ConfigDict, parameters: Parameters, metrics: list[dict[str, float]]
) -> list[list[str]]:
    """The run in a few lines, each a name and what is to be said."""
    data, variant, known = config.data, VARIANTS[config.model.variant], bool(config.data.dataset)
    pretrained = has(parameters, "self-view decoder")
    views = f", {data.num_views} views of an activity" if pretrained else ""
    size = sum(math.prod(value.shape) for value in parameters.values())
    rows = {
        "Data": f"{data.dataset}, protocol {data.protocol}" if known else "not known",
        "Clips": f"{data.num_frames} frames of {data.image_size} x {data.image_size} pixels, "
        f"one of every {data.stride} stored{views}",
        "Encoder": f"{config.model.variant}; blocks: {variant.depth}; width {variant.width}, "
        f"{variant.heads} heads; tubelets of {' x '.join(map(str, config.model.patch_size))}",
        "Parameters": f"{size / 1e6:,.2f} million",
    }
    if pretrained:
        rows["Decoders"] = (
            f"blocks: {variant.decoder_depth}; width {variant.decoder_width}, "
            f"{variant.decoder_heads} heads"
        )
    if not known:
        return [[name, text] for name, text in rows.items()]
    steps = f"{metrics[-1]['step']:,.0f} steps" if metrics else "no step logged, batches"
    rows["Training"] = f"{steps} of {config.batch_size:,}, {config.epochs:g} epochs"
    if pretrained:
        objective = config.objective
        weight = f"; weight of the cross-view term {objective.cross_view:g}"
        rows |= {
            "Mask": f"{config.masking.kind}, {config.masking.ratio:.0%} of the tubelets",
            "Objective": f"targets: {objective.targets}; motion: {objective.motion}, temperature "
            f"{objective.temperature:g}{weight * has(parameters, 'cross-view decoder')}",
        }
    else:
        rows["Started from"] = config.finetune.init_from or "random values"
    return [[name, text] for name, text in rows.items()]


def headlines(
    metrics: list[dict[str, float]], probed: dict[str, Any] | None, tested: dict[str, Any] | None
) -> list[tuple[str, float, str]]:
    """What one looks at first: name, value and how it is written."""
    last: dict[str, float] = {}
    for line in metrics:
        last |= line  # a probe is not in every line
    logged = [("steps", "step", "number"), ("loss, last logged", "loss", "number")]
    # Of fewer videos than the probe of a finished run, and none of the test split.
    logged += [("token probe while training, no test videos", "probe_tokens", "percent")]
    found = [(name, last[key], unit) for name, key, unit in logged if key in last]
    if probed:
        shown = ("tokens_after", "chance")
        found += [(_label(name), probed[name], "percent") for name in shown]
    if tested:
        found += [(_label(name), tested[name], "percent") for name in TOP1]
    return found


def panels(metrics: list[dict[str, float]]) -> list[dict[str, Any]]:
    """The panels of which there is anything, each with its series of steps and values."""
    found = []
    for title, unit, logarithmic, names in PANELS:
        series: list[dict[str, Any]] = [
            {"name": _label(name), "points": thinned(metrics, name)} for name in names
        ]
        series = [one for one in series if one["points"]]
        if series:
            log = logarithmic and all(y > 0 for one in series for _, y in one["points"])
            found.append({"title": title, "unit": unit, "log": log, "series": series})
    return found


def thinned(metrics: list[dict[str, float]], name: str) -> list[list[float]]:
    """Steps and values of a metric: the last and every n-th before it, `MOST_POINTS` or fewer."""
    points = [[line["step"], line[name]] for line in metrics if name in line]
    every = max(1, math.ceil(len(points) / MOST_POINTS))
    return points[::-every][::-1]


def probe(found: dict[str, Any]) -> dict[str, Any]:
    """Accuracies of the probes, and of how many videos of which split they are."""
    rows = [[_label(name), x] for name, x in found.items() if isinstance(x, float)]
    words = f"{found['num_videos']:,}", found.get("split"), "videos"
    return {"rows": rows, "videos": " ".join(filter(None, words))}


def results(found: dict[str, Any]) -> dict[str, Any]:
    """Accuracies of the test, with their intervals and counts, and those of each class."""
    counts, intervals = found["count"], found["interval_95"]
    of_classes = counts["per_class_accuracy"]
    return {
        "rows": [[_label(name), found[name], *intervals[name], counts[name]] for name in TOP1],
        "perClass": [[x, share, of_classes[x]] for x, share in found["per_class_accuracy"].items()],
        "split": found["split"],
    }


def confusion(tested: Tested) -> dict[str, Any]:
    """How often videos of each class that occurs are taken for each."""
    classes = np.union1d(tested.labels, tested.predicted)
    counts = confusion_matrix(tested.labels, tested.predicted, labels=classes)
    return {"classes": [tested.names[number] for number in classes], "counts": counts.tolist()}


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _label(name: str) -> str:
    return LABELS.get(name, name.replace("_", " "))
