"""The model card of an export: what it is, how it was trained, its results, how to load it."""

import json
import re
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict
from tabulate import tabulate

from mv2mae_jax.interop.files import Origin
from mv2mae_jax.model.variants import VARIANTS

ABOUT = """\
A {kind} {trained} *MV2MAE: Self-Supervised Video Pre-Training with Motion-Aware Multi-View
Masked Autoencoders* ([paper](https://openreview.net/forum?id=nqt35xJywK))."""

LICENCE = """\
Not chosen yet: whoever publishes these weights names one, here and in the first lines of this
file. The terms of the data that they were trained on may bind it."""


def model_card(
    origin: Origin, library: str, loading: str, num_classes: int, results: Mapping[str, str]
) -> str:
    """The text of an export's README.md.

    Args:
      origin: the run's config and the names of its classes.
      library: that loads it, by the name that model hubs know.
      loading: how it is loaded.
      num_classes: of the classifier; 0 if there is none.
      results: what was `measured`; may be empty.
    """
    config = origin.config
    title = f"MV2MAE, ViT-{config.model.variant}, {config.data.dataset or 'imported weights'}"
    kind = f"classifier of {num_classes} actions" if num_classes else "video encoder"
    trained = "trained after" if config.data.dataset else "from elsewhere, in the terms of"
    sections = {
        "Loading": loading,
        "Training": _table(_training(config)),
        "Results": _table(results) if results else "",
        "Classes": _list(origin.classes) if num_classes else "",
        "Licence": LICENCE,
    }
    about = ABOUT.format(kind=kind, trained=trained)
    text = [_front_matter(config, library, num_classes), f"# {title}", about]
    text += [f"## {name}\n\n{section}" for name, section in sections.items() if section]
    return "\n\n".join(text) + "\n"


def _front_matter(config: ConfigDict, library: str, num_classes: int) -> str:
    """What model hubs read."""
    lines = [
        f"library_name: {library}",
        *(["pipeline_tag: video-classification"] if num_classes else []),
        f"tags: {json.dumps(['video', 'mv2mae', 'videomae'])}",
        *([f"datasets: {json.dumps([config.data.dataset])}"] if config.data.dataset else []),
        "# license:",
    ]
    return "\n".join(("---", *lines, "---"))


def _training(config: ConfigDict) -> dict[str, Any]:
    data, model, variant = config.data, config.model, VARIANTS[config.model.variant]
    facts = {
        "input": f"{data.num_frames} frames of {data.image_size} x {data.image_size} pixels, "
        f"one of every {data.stride}",
        "pixels": f"RGB in [0, 1], less {tuple(data.mean)}, divided by {tuple(data.std)}",
        "encoder": f"{variant.depth} blocks, width {variant.width}, {variant.heads} heads, "
        f"tubelets of {' x '.join(map(str, model.patch_size))}, {model.positions} positions",
    }
    if not data.dataset:
        return facts | {"origin": "weights that were imported; how they were trained is not known"}
    facts |= {
        "data": f"{data.dataset}, training split of protocol {_escaped(data.protocol)}",
        "task": config.task,
        "epochs": config.epochs,
        "batch": config.batch_size,
        "base learning rate": config.optimizer.base_learning_rate,
        "seed": config.seed,
    }
    if config.task == "pretrain":
        return facts | {
            "views": data.num_views,
            "mask": f"{config.masking.kind}, {config.masking.ratio:.0%}",
            "motion weights": f"{config.objective.motion}, temperature "
            f"{config.objective.temperature:g}",
        }
    return facts | {"started from": _escaped(config.finetune.init_from) or "random values"}


def measured(results: Mapping[str, Any]) -> dict[str, str]:
    """Rows of the table of results: shares, with the counts and intervals they have.

    Args:
      results: what `results.json` or `probe.json` of a run says.
    """
    counts, intervals = results.get("count", {}), results.get("interval_95", {})
    rows = {
        key: _escaped(str(results[key]))
        for key in ("dataset", "protocol", "split", "num_videos")
        if key in results
    }
    for name, value in results.items():
        if isinstance(value, float):
            low, high = intervals.get(name, (None, None))
            interval = f" ({low:.1%} to {high:.1%}, of {counts[name]:d})" if low is not None else ""
            rows[name] = f"{value:.1%}{interval}"
    return rows


def _table(rows: Mapping[str, Any]) -> str:
    return tabulate(rows.items(), ["", ""], tablefmt="github", disable_numparse=True)


def _list(names: tuple[str, ...]) -> str:
    quoted = (_escaped(json.dumps(name, ensure_ascii=False)) for name in names)
    return "\n".join(f"{number}. {name}" for number, name in enumerate(quoted))


def _escaped(text: str) -> str:
    """What Markdown and HTML would take for markup, as plain text in one line."""
    return re.sub(r"[\\`*_\[\]<>|#&$~!]", r"\\\g<0>", " ".join(text.split()))
