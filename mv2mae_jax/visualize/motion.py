"""Motion weights over the frames, at several temperatures (Figure 2).

Beside each temperature: over how many tubelets the weights are spread in effect, exp of their
entropy.

python -m mv2mae_jax.visualize motion --workdir=runs/pretrain --out=motion.png
python -m mv2mae_jax.visualize motion --workdir=runs/pretrain --out=motion.gif \\
    --temperatures 10 60 inf
"""

import argparse
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict

from mv2mae_jax.losses import in_motion_space, motion_feature
from mv2mae_jax.model import build
from mv2mae_jax.objective import effective_patches, motion_weights
from mv2mae_jax.visualize import pretrained
from mv2mae_jax.visualize.pretrained import open_pretrained
from mv2mae_jax.visualize.rows import Rows, Section, overlay, save
from mv2mae_jax.visualize.training_clips import Clip

__all__ = ["NOTE", "add_options", "draw", "motion_sections"]

NOTE = "motion weights of the target view; brightness: weight relative to the largest of the clip"
TEMPERATURE_FACTORS = (0.2, 1.0, 5.0)  # times the temperature of the run


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this picture."""
    pretrained.add_options(parser)
    parser.add_argument(
        "--temperatures",
        nargs="+",
        type=_temperature,
        metavar="TAU",
        help="each positive, or inf; default: a fifth of the run's, the run's and five times it",
    )


def draw(args: argparse.Namespace) -> None:
    """Draws the target views of some activities and their weights."""
    config, _, clips = open_pretrained(args)
    sections = motion_sections(config, clips, args.temperatures)
    save(sections, config.model.patch_size[0], NOTE, args.out)


def motion_sections(
    config: ConfigDict, clips: Sequence[Clip], temperatures: Sequence[float] | None = None
) -> list[Section]:
    """A section for the target view of every sample, as of `motion_rows`."""
    return [
        Section(clip.title(views=1), motion_rows(config, clip.views[0], temperatures))
        for clip in clips
    ]


def motion_rows(
    config: ConfigDict,
    clip: UInt8[np.ndarray, "T H W C"],
    temperatures: Sequence[float] | None = None,
) -> Rows:
    """The clip, and the clip weighted at several temperatures; None: around that of the run."""
    patch_size, grid = tuple(config.model.patch_size), build.grid_of(config)
    frames = clip / 255.0
    normalized = build.normalized(config, jnp.asarray(clip)[None])
    pixels, feature = in_motion_space(config, normalized), motion_feature(config)
    rows = {"input": frames}
    for temperature in temperatures or _around(config.objective.temperature):
        weights = motion_weights(pixels, patch_size, temperature, feature)
        spread = float(effective_patches(weights)[0])
        label = f"τ = {temperature:g}\n{spread:.0f} of {weights.shape[1]}\ntubelets"
        rows[label] = overlay(frames, np.asarray(weights[0]), patch_size, grid)
    return rows


def _around(temperature: float) -> list[float]:
    return [temperature * factor for factor in TEMPERATURE_FACTORS]


def _temperature(text: str) -> float:
    """Parses tau."""
    try:
        temperature = float(text)
    except ValueError:
        temperature = 0.0
    if not temperature > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number, nor inf")
    return temperature
