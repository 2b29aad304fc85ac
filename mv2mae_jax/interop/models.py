"""A trained model from wherever it is: a work directory, an exported folder, or VideoMAE's weights.

What comes from elsewhere says little about itself. The encoder must be one of our variants, whole,
or it is refused; decoders and a classifier are taken if they are whole, and what becomes of every
tensor is told.
"""

import re
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
from etils import epath
from ml_collections import ConfigDict

from configs.base import get_config, set_method
from mv2mae_jax.check import check
from mv2mae_jax.errors import InputError, is_name
from mv2mae_jax.interop.files import Stored, read_stored
from mv2mae_jax.interop.names import NAMINGS, Tensors, depth, from_tensors, in_full, name_table
from mv2mae_jax.model import build
from mv2mae_jax.model.grid import PatchSize
from mv2mae_jax.model.parts import PARTS, has, num_classes, only
from mv2mae_jax.model.variants import VARIANTS
from mv2mae_jax.run_files import CHECKPOINTS, read_classes
from mv2mae_jax.storage import to_path
from mv2mae_jax.training.checkpoints import load_parameters
from mv2mae_jax.training.parameters import Parameters, definition_of

Shape = tuple[int, ...]


class ReportRow(NamedTuple):
    """What became of one tensor of a file."""

    tensor: str
    shape: Shape
    parameters: tuple[str, ...]  # of ours that it holds; none: its name means nothing here
    left: str  # why it was not taken; empty if it was


class Model(NamedTuple):
    """Parameters, and what they are parameters of.

    Attributes:
      parameters: by our names, float32.
      config: of the run that trained them; what is not known of it has our defaults.
      classes: names of a classifier's classes, as far as they are known.
      rows: every tensor that was found.
    """

    parameters: Parameters
    config: ConfigDict
    classes: tuple[str, ...]
    rows: list[ReportRow]


def load_model(path: epath.PathLike) -> Model:
    """The newest model of a run, or the one in a file or folder of weights (`read_stored`).

    Raises:
      InputError: nothing can be read there, or its encoder is not one of this package's.
    """
    if (to_path(path) / CHECKPOINTS).exists():
        trained, config = load_parameters(path)
        rows = [ReportRow(name, tuple(x.shape), (name,), "") for name, x in trained.items()]
        return Model(trained, config, read_classes(path), rows)
    stored = read_stored(path)
    try:
        return _model(stored)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _model(stored: Stored) -> Model:
    tensors = {in_full(name): value for name, value in stored.tensors.items()}
    if len(tensors) < len(stored.tensors):
        twice = Counter(map(in_full, stored.tensors)).most_common(1)[0][0]
        raise InputError(f"two tensors are {twice}; save one model's state_dict")
    naming, patch_size = _naming(tensors)
    table = name_table(naming, tensors)
    parameters = from_tensors(tensors, table)
    if stored.origin:
        config, classes = stored.origin
    else:
        config, classes = _config(stored.options, parameters, patch_size), _classes(stored.options)
        check(config)
    unknown = sorted(tensors.keys() - table.keys())
    problems = _problems(parameters, config, stored.options) | _foreign(unknown)
    if "encoder" in problems:
        raise InputError(f"another encoder than this package's: {problems['encoder']}")
    rows = [
        ReportRow(name, tuple(value.shape), *_fate(table.get(in_full(name), ()), problems))
        for name, value in stored.tensors.items()
    ]
    taken = {
        name: jnp.asarray(parameters[name])
        for row in rows
        if not row.left
        for name in row.parameters
    }
    count = num_classes(taken)
    if not count:
        classes = ()
    elif classes and len(classes) != count:
        raise InputError(f"{len(classes)} names for the {count} classes")
    return Model(taken, config, classes, rows)


def left_because(rows: list[ReportRow]) -> dict[str, list[str]]:
    """The tensors that were not taken, by the reason."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row.left:
            reasons.setdefault(row.left, []).append(row.tensor)
    return reasons


def _naming(tensors: Tensors) -> tuple[str, PatchSize]:
    """Whose names these are, and the frames, height and width of a tubelet."""
    for naming, names in NAMINGS.items():
        embed = tensors.get(f"{names.modules['encoder.embed']}.weight")
        if embed is not None and embed.ndim == 5:
            return naming, embed.shape[2:]
    found = ", ".join(sorted(tensors)[:3]) or "none"
    raise InputError(
        f"no VideoMAE encoder, neither MCG-NJU's nor Hugging Face's, is among its tensors: {found}"
        + (", ..." if len(tensors) > 3 else "")
    )


def _config(options: Mapping[str, Any], parameters: Tensors, patch_size: PatchSize) -> ConfigDict:
    """What can be told of a VideoMAE that was trained elsewhere, in our words.

    Raises:
      InputError: it is none, or not one of our variants, or its options belong to other weights.
    """
    width = parameters["encoder.embed.kernel"].shape[1]
    frames, height, _ = patch_size
    for field, value in {
        "model_type": "videomae",
        "hidden_act": "gelu",
        "hidden_size": width,
        "tubelet_size": frames,
        "patch_size": height,
    }.items():
        if options.get(field, value) != value:
            raise InputError(f"config.json has {field}={options[field]}, its weights {value}")
    config = get_config()
    set_method(config, "videomae")
    config.model.variant = _variant(width, parameters, options)
    config.model.patch_size = patch_size
    config.model.dtype = "float32"
    # All released weights are for 16 frames of 224 pixels. Positions are not among them: others
    # work too.
    config.data.num_frames = _count(options, "num_frames", 16 // frames * frames)
    config.data.image_size = _count(options, "image_size", 224 // height * height)
    config.data.dataset = config.data.protocol = ""
    config.task = "finetune" if num_classes(parameters) else "pretrain"
    if not options.get("norm_pix_loss", True):
        config.objective.targets = "pixels"
    return config


def _variant(width: int, parameters: Tensors, options: Mapping[str, Any]) -> str:
    """The variant with this encoder; its heads can be told from Hugging Face's config alone."""
    sizes = {"width": width, "depth": depth(parameters, "encoder.blocks")}
    if "num_attention_heads" in options:
        sizes["heads"] = _count(options, "num_attention_heads", 0)
    for name, variant in VARIANTS.items():
        if all(getattr(variant, field) == size for field, size in sizes.items()):
            return name
    theirs = ", ".join(f"{field} {size}" for field, size in sizes.items())
    raise InputError(f"an encoder of {theirs}; none of mv2mae_jax/model/variants.py is like that")


def _count(options: Mapping[str, Any], field: str, default: int) -> int:
    value = options.get(field, default)
    if not isinstance(value, int):
        raise InputError(f"config.json has {field}={value}; it is a whole number")
    return value


def _problems(
    parameters: Tensors, config: ConfigDict, options: Mapping[str, Any]
) -> dict[str, str]:
    """What is wrong with those parts that cannot be taken."""
    wanted = _shapes(parameters, config)
    problems: dict[str, str] = {}
    for part in PARTS:
        expected = only(wanted, [part])
        there = {name: x.shape for name, x in only(parameters, [part]).items()}
        if missing := sorted(expected.keys() - there.keys()):
            problems[part] = f"{missing[0]} is not there"
        elif wrong := sorted(name for name in there if there[name] != expected.get(name)):
            ours = expected.get(wrong[0], "nothing of that name")
            problems[part] = f"{wrong[0]} is of shape {there[wrong[0]]}, here {ours}"
    if "classifier" not in problems and not num_classes(parameters):
        problems["classifier"] = "it has no classes"
    heads = VARIANTS[config.model.variant].decoder_heads
    if options.get("decoder_num_attention_heads", heads) != heads:
        theirs = options["decoder_num_attention_heads"]
        problems["self-view decoder"] = f"it has {theirs} heads, here {heads}"
    return problems


def _foreign(unknown: list[str]) -> dict[str, str]:
    """Parts that have more than ours: layer scales, cosine attention, more tokens or positions."""
    problems = {}
    for name in unknown:
        if name.startswith("decoder."):
            problems["self-view decoder"] = f"it has {name}, which ours has not"
        elif name.startswith(("encoder.", "videomae.")) or re.search("token|embed|pos_", name):
            problems["encoder"] = f"it has {name}, which ours has not"
    return problems


def _shapes(parameters: Tensors, config: ConfigDict) -> dict[str, Shape]:
    """Of all that a pre-training model and a classifier of this config have, decoders included."""
    config = config.copy_and_resolve_references()
    config.data.num_views = 2
    config.objective.cross_view = 1.0
    separate = any(name.startswith("cross_view_projector.") for name in parameters)
    config.model.projector = "separate" if separate else "shared"
    classes = parameters["head.kernel"].shape[-1] if "head.kernel" in parameters else 1
    pretraining = definition_of(partial(build.pretraining_model, config))
    classifier = definition_of(partial(build.classifier, config, classes))
    return pretraining.shape_of | classifier.shape_of


def _fate(parameters: tuple[str, ...], problems: Mapping[str, str]) -> tuple[tuple[str, ...], str]:
    """The parameters that a tensor holds, and why it is left, if it is."""
    if not parameters:
        return (), "no tensor of a VideoMAE has this name"
    part = next(part for part in PARTS if has(parameters[:1], part))
    return parameters, f"{part}: {problems[part]}" if part in problems else ""


def _classes(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Names as Hugging Face's config has them."""
    names = options.get("id2label") or {}
    if not isinstance(names, dict) or names.keys() != {str(n) for n in range(len(names))}:
        raise InputError("config.json has an id2label that does not number its names from 0")
    if not all(map(is_name, names.values())):
        raise InputError("config.json has an id2label with names that are no text in one line")
    return tuple(names[str(n)] for n in range(len(names)))
