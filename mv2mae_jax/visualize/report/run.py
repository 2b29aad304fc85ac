"""What the files of a work directory say about its run, in the shape in which the page shows it."""

import csv
import io
import json
import math
from pathlib import PurePath
from typing import Any

import numpy as np
from etils import epath
from ml_collections import ConfigDict
from sklearn.metrics import confusion_matrix

from mv2mae_jax.errors import InputError
from mv2mae_jax.model.variants import VARIANTS
from mv2mae_jax.storage import to_path
from mv2mae_jax.training.parameters import Parameters

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
        ("probe_ridge", "probe_logistic", "probe_knn", "probe_chance"),
    ),
    ("Accuracy on training clips", "percent", False, ("accuracy",)),
    ("Learning rate", "number", False, ("learning_rate",)),
    ("Gradient norm", "number", True, ("gradient_norm",)),
)

# Names of metrics and results that do not say enough by themselves.
LABELS = {
    "self_view": "self-view",
    "cross_view": "cross-view",
    "self_view_target": "self-view, target",
    "self_view_source": "self-view, source",
    "cross_view_target": "cross-view, target",
    "cross_view_source": "cross-view, source",
    "probe_ridge": "ridge on all tokens",
    "probe_logistic": "logistic regression",
    "probe_knn": "nearest neighbours",
    "probe_chance": "chance",
    "pixels": "linear classifier on the pixels",
    "motion_map": "linear classifier on the motion map",
    "motion_map_over_time": "linear classifier on the motion map over time",
    "tokens_before": "token probe before pre-training",
    "tokens_after": "token probe after pre-training",
    "logistic_before": "logistic regression before pre-training",
    "logistic_after": "logistic regression after pre-training",
    "knn_before": "nearest neighbours before pre-training",
    "knn_after": "nearest neighbours after pre-training",
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
    metrics = read_metrics(folder / "metrics.jsonl")
    probed, tested = probe(folder / "probe.json"), results(folder / "results.json")
    return {
        "name": PurePath(str(workdir)).name,
        "task": "Pre-training" if "mask_token" in parameters else "Fine-tuning",
        "facts": facts(config, parameters, metrics),
        "headlines": headlines(metrics, probed, tested),
        "panels": panels(metrics),
        "probe": probed,
        "results": tested,
        "confusion": confusion(folder / "predictions.csv"),
        "config": [[name, _shown(value)] for name, value in _fields(config)],
    }


def facts(
    config: ConfigDict, parameters: Parameters, metrics: list[dict[str, float]]
) -> list[list[str]]:
    """The run in a few lines, each a name and what is to be said."""
    data, variant = config.data, VARIANTS[config.model.variant]
    pretrained = "mask_token" in parameters
    views = f", {data.num_views} views of an activity" if pretrained else ""
    size = sum(math.prod(value.shape) for value in parameters.values())
    steps = f"{metrics[-1]['step']:,.0f} steps" if metrics else "no step logged"
    rows = {
        "Data": f"{data.dataset or 'unknown'}, protocol {data.protocol}",
        "Clips": f"{data.num_frames} frames of {data.image_size} x {data.image_size} pixels, "
        f"one of every {data.stride} stored{views}",
        "Encoder": f"{config.model.variant}; blocks: {variant.depth}; width {variant.width}, "
        f"{variant.heads} heads; tubelets of {' x '.join(map(str, config.model.patch_size))}",
        "Parameters": f"{size / 1e6:,.2f} million",
        "Training": f"{steps} of {config.batch_size:,}, {config.epochs:g} epochs",
    }
    if pretrained:
        rows |= {
            "Decoders": f"blocks: {variant.decoder_depth}; width {variant.decoder_width}, "
            f"{variant.decoder_heads} heads",
            "Mask": f"{config.masking.kind}, {config.masking.ratio:.0%} of the tubelets",
            "Objective": f"targets: {config.objective.targets}; motion temperature "
            f"{config.objective.temperature:g}; weight of the cross-view term "
            f"{config.objective.cross_view:g}",
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
    logged += [("token probe while training, training split", "probe_ridge", "percent")]
    found = [(name, last[key], unit) for name, key, unit in logged if key in last]
    if probed:
        shown = {x: value for x, value in probed["rows"] if x in (LABELS["tokens_after"], "chance")}
        found += [(name, shown[name], "percent") for name in sorted(shown, reverse=True)]
    if tested:
        found += [(row[0], row[1], "percent") for row in tested["rows"]]
    return found


def read_metrics(file: epath.Path) -> list[dict[str, float]]:
    """The finite numbers of every line; none if there is no such file.

    Raises:
      InputError: a line is damaged.
    """
    lines = []
    for number, line in enumerate(_text(file).splitlines(keepends=True), start=1):
        if not line.endswith("\n"):  # cut by a kill
            continue
        try:
            values = {name: value for name, value in json.loads(line).items() if _is_number(value)}
            lines.append({"step": values.pop("step"), **values})
        except (ValueError, KeyError, AttributeError, RecursionError) as error:
            raise InputError(f"line {number} of {file} is damaged; remove it") from error
    return lines


def panels(metrics: list[dict[str, float]]) -> list[dict[str, Any]]:
    """The panels of which there is anything, each with its series of steps and values."""
    found = []
    for title, unit, logarithmic, names in PANELS:
        series: list[dict[str, Any]] = [
            {"name": _label(name), "points": [[x["step"], x[name]] for x in metrics if name in x]}
            for name in names
        ]
        series = [one for one in series if one["points"]]
        if series:
            log = logarithmic and all(y > 0 for one in series for _, y in one["points"])
            found.append({"title": title, "unit": unit, "log": log, "series": series})
    return found


def probe(file: epath.Path) -> dict[str, Any] | None:
    """Accuracies of `probe.json`, and of what they are; None if there is no such file.

    Raises:
      InputError: it is damaged.
    """
    found = _read_json(file)
    if found is None:
        return None
    rows = [[_label(name), x] for name, x in found.items() if isinstance(x, float)]
    return {"rows": [row for row in rows if _is_number(row[1])], "videos": found.get("num_videos")}


def results(file: epath.Path) -> dict[str, Any] | None:
    """Accuracies of `results.json` with their intervals and counts; None if there is no such file.

    Raises:
      InputError: it is damaged.
    """
    found = _read_json(file)
    if found is None:
        return None
    try:
        counts, intervals = found["count"], found["interval_95"]
        names = [name for name in found if name.startswith("top1_")]
        rows = [[_label(x), found[x], *intervals[x], counts[x]] for x in names]
        classes = found["per_class_accuracy"]
        per_class = [
            [name, share, counts["per_class_accuracy"][name]] for name, share in classes.items()
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(file, error) from error
    if not all(_is_number(value) for row in rows + per_class for value in row[1:]):
        raise _damaged(file, "an accuracy or a count is not a number")
    return {"rows": rows, "perClass": per_class, "split": str(found.get("split", ""))}


def confusion(file: epath.Path) -> dict[str, Any] | None:
    """How often videos of each class are taken for each; None if there is no such file.

    Raises:
      InputError: it is damaged.
    """
    text = _text(file)
    if not text:
        return None
    try:
        rows = list(csv.DictReader(io.StringIO(text), strict=True))
        truth, predicted = ([str(row[name]) for row in rows] for name in ("label", "predicted"))
    except (csv.Error, KeyError) as error:
        raise _damaged(file, error) from error
    names = sorted({*truth, *predicted})
    counts = confusion_matrix(truth, predicted, labels=names) if rows else np.zeros((0, 0))
    return {"classes": names, "counts": counts.tolist()}


def _read_json(file: epath.Path) -> dict[str, Any] | None:
    text = _text(file)
    if not text:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged(file, error) from error
    if not isinstance(found, dict):
        raise _damaged(file, "it is no object")
    return found


def _text(file: epath.Path) -> str:
    """What a file holds; nothing if it is not there."""
    if not file.exists():
        return ""
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(file, error) from error


def _damaged(file: epath.Path, reason: object) -> InputError:
    return InputError(f"{file} is damaged ({reason}); write it anew with the command that wrote it")


def _fields(config: ConfigDict, above: str = "") -> list[tuple[str, Any]]:
    """Every field with its full name."""
    fields: list[tuple[str, Any]] = []
    for name, value in config.items():
        below = isinstance(value, ConfigDict)
        fields += _fields(value, f"{above}{name}.") if below else [(above + name, value)]
    return fields


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _is_number(value: Any) -> bool:
    """A finite one, and none that a page could not write."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _label(name: str) -> str:
    return LABELS.get(name, name.replace("_", " "))
