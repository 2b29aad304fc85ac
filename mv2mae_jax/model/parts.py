"""Which parts a set of parameters has, told by their names; without JAX.

A pre-training has an encoder, a final norm and decoders, a fine-tuning an encoder and a classifier;
what is exported or imported may have fewer.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar

Part = Literal["encoder", "final norm", "self-view decoder", "cross-view decoder", "classifier"]
Value = TypeVar("Value")

# By the beginnings of the parameters' names; each parameter belongs to one part.
PARTS: Mapping[Part, tuple[str, ...]] = {
    "encoder": ("encoder.",),
    "final norm": ("encoder_norm.",),
    "self-view decoder": ("projector.", "mask_token", "self_view_decoder."),
    "cross-view decoder": ("cross_view_",),
    "classifier": ("norm.", "head."),
}
ENCODER: tuple[Part, ...] = ("encoder", "final norm")  # all that a pre-trained encoder needs


def has(names: Iterable[str], part: Part) -> bool:
    """Whether anything of a part is among the parameters of these names."""
    return any(name.startswith(PARTS[part]) for name in names)


def only(parameters: Mapping[str, Value], parts: Iterable[Part]) -> dict[str, Value]:
    """The parameters of some parts."""
    starts = tuple(start for part in parts for start in PARTS[part])
    return {name: value for name, value in parameters.items() if name.startswith(starts)}


def num_classes(parameters: Mapping[str, Any]) -> int:
    """Classes of the classifier; 0 if there is none."""
    return parameters["head.bias"].size if "head.bias" in parameters else 0
