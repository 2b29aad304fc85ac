"""What both decoders make of masked views (Figure 5).

Of each view: the input, what is visible of it, what each decoder makes of that, and how far the
cross-view decoder (without one: the self-view decoder) is from the input. At the ratio 1 nothing of
the target is visible: the cross-view decoder predicts all of it from the source.

python -m mv2mae_jax.visualize reconstruction --workdir=runs/pretrain --out=reconstruction.png
python -m mv2mae_jax.visualize reconstruction --workdir=runs/pretrain --out=ratios.mp4 \\
    --ratios 0.5 0.7 0.9 1
"""

import argparse
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from ml_collections import ConfigDict

from mv2mae_jax.check import check
from mv2mae_jax.errors import InputError
from mv2mae_jax.training.parameters import Parameters
from mv2mae_jax.visualize import pretrained
from mv2mae_jax.visualize.pretrained import masked_share, open_pretrained
from mv2mae_jax.visualize.reconstruct import STATISTICS, reconstruct, reconstruct_unseen
from mv2mae_jax.visualize.rows import Rows, Section, save
from mv2mae_jax.visualize.training_clips import Clip, view_names

__all__ = ["add_options", "describe", "draw", "reconstruction_sections"]

# What a label adds where a prediction is given more than the model knows.
GIVEN = {"visible": "", "truth": "\ntrue contrast"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this picture."""
    pretrained.add_options(parser)
    parser.add_argument(
        "--ratios",
        nargs="+",
        type=_ratio,
        metavar="RATIO",
        help="shares to mask, each in (0, 1]; 1: all of the target, while the source is masked as "
        "in training; default: as in training",
    )
    parser.add_argument(
        "--statistics",
        choices=STATISTICS,
        default=STATISTICS[0],
        help="of normalised predictions, mean and contrast are guessed from the visible tubelets "
        "(the default), or are those of the hidden tubelets, which the model does not know",
    )


def draw(args: argparse.Namespace) -> None:
    """Draws the views of some activities and their reconstructions.

    Raises:
      InputError: the run is none of pre-training, or its data cannot be read; it predicts pixels,
        whose statistics are asked for; the picture cannot be written.
    """
    config, parameters, clips = open_pretrained(args)
    if args.statistics == "truth" and config.objective.targets == "pixels":
        raise InputError(
            f"{args.workdir} predicts pixels as they are (config.objective.targets=pixels), which "
            "needs no statistics; leave --statistics=truth out"
        )
    ratios = args.ratios or [config.masking.ratio]
    sections = reconstruction_sections(config, parameters, clips, ratios, args.statistics)
    note = describe(config, ratios, args.statistics)
    save(sections, config.model.patch_size[0], note, args.out)


def describe(config: ConfigDict, ratios: Sequence[float], statistics: str = "visible") -> str:
    """What the picture shows, in words."""
    note = "masked tubelets are grey; predictions are shown in masked places only"
    note += "; error: absolute difference to the input, none is black"
    if config.objective.targets == "pixels":
        return note
    if statistics == "truth":
        return (
            f"{note}; mean and contrast of each prediction are those of the HIDDEN tubelet itself, "
            "which the model cannot know"
        )
    note += "; mean and contrast of each prediction are guessed"
    places = ["from the visible tubelets around it"] if min(ratios) < 1 else []
    if 1 in ratios:
        places.append("from the source's visible tubelets where all of the target is masked")
    return f"{note} {', '.join(places)}"


def reconstruction_sections(
    config: ConfigDict,
    parameters: Parameters,
    clips: Sequence[Clip],
    ratios: Sequence[float],
    statistics: str = "visible",
) -> list[Section]:
    """Of every sample, at every ratio, each view and its reconstructions.

    Args:
      config: of the run.
      parameters: of its model.
      clips: samples of as many views each.
      ratios: shares to mask, in (0, 1]; 1: all of the target, the source as in training.
      statistics: as of `reconstruct`.

    Raises:
      InputError: a ratio masks no tubelet, or all of both views; or it is 1 in a run without
        cross-view decoder.
    """
    pixels = np.stack([clip.views for clip in clips])
    of_ratios = [
        _unseen_rows(config, parameters, pixels, statistics)
        if ratio == 1
        else _masked_rows(_masking(config, ratio), parameters, pixels, statistics)
        for ratio in ratios
    ]
    return [
        Section(clip.title(pixels.shape[1]), rows)
        for clip, of_clip in zip(clips, zip(*of_ratios, strict=True), strict=True)
        for views in of_clip
        for rows in views
    ]


def _masking(config: ConfigDict, ratio: float) -> ConfigDict:
    """The config with another share to mask."""
    config = config.copy_and_resolve_references()
    config.masking.ratio = ratio
    check(config)
    return config


def _masked_rows(
    config: ConfigDict,
    parameters: Parameters,
    clips: UInt8[np.ndarray, "B V T H W C"],
    statistics: str,
) -> list[list[Rows]]:
    """Of every sample: each view, masked, and its reconstructions."""
    pictures = reconstruct(config, parameters, clips, statistics)
    decoders = {"self-view": pictures.self_view}
    if pictures.cross_view is not None:
        decoders["cross-view"] = pictures.cross_view
    (last, prediction) = list(decoders.items())[-1]

    def rows(b: int, v: int, name: str) -> Rows:
        return {
            name: pictures.input[b, v],
            f"{masked_share(config)} masked": pictures.masked[b, v],
            **{f"{by}\ndecoder{GIVEN[statistics]}": clips[b, v] for by, clips in decoders.items()},
            f"error of\n{last}": _error(prediction[b, v], pictures.input[b, v]),
        }

    names = view_names(clips.shape[1])
    return [[rows(b, v, name) for v, name in enumerate(names)] for b in range(len(clips))]


def _unseen_rows(
    config: ConfigDict,
    parameters: Parameters,
    clips: UInt8[np.ndarray, "B V T H W C"],
    statistics: str,
) -> list[list[Rows]]:
    """Of every sample: what is visible of the sources, and the target predicted from it."""
    pictures = reconstruct_unseen(config, parameters, clips, statistics)
    target, *sources = view_names(clips.shape[1])
    given = GIVEN[statistics]
    sections = []
    for b, clip in enumerate(clips / 255.0):
        rows: Rows = {}
        for v, name in enumerate(sources, start=1):
            rows[name] = clip[v]
            rows[f"{name},\n{masked_share(config)} masked"] = pictures.masked[b, v]
        rows[f"{target},\nall hidden"] = clip[0]
        rows[f"from source\nalone{given}"] = pictures.cross_view[b]
        rows["error of it"] = _error(pictures.cross_view[b], clip[0])
        sections.append([rows])
    return sections


def _error(
    prediction: Float[np.ndarray, "T H W C"], truth: Float[np.ndarray, "T H W C"]
) -> Float[np.ndarray, "T H W C"]:
    return np.abs(prediction - truth)


def _ratio(text: str) -> float:
    """Parses a share to mask."""
    try:
        ratio = float(text)
    except ValueError:
        ratio = 0.0
    if not 0 < ratio <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number in (0, 1]")
    return ratio
