"""Motion weights over the frames, at several temperatures (Figure 2).

python -m mv2mae_jax.visualize motion --workdir=runs/pretrain --out=motion.png
"""

import argparse

import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict

from mv2mae_jax.model import build
from mv2mae_jax.objective import effective_patches, motion_weights
from mv2mae_jax.tasks.pretrain import in_motion_space, motion_feature
from mv2mae_jax.visualize.pretrained import add_options, open_pretrained
from mv2mae_jax.visualize.rows import Rows, overlay, save

__all__ = ["add_options", "draw", "motion_rows"]

TEMPERATURE_FACTORS = (0.2, 1.0, 5.0)  # times the temperature of the run


def draw(args: argparse.Namespace) -> None:
    """Draws the target views of some activities and their weights."""
    config, _, clips = open_pretrained(args)
    note = "brightness: weight relative to the largest of the clip"
    sections = [motion_rows(config, clip[0]) for clip in clips]
    save(sections, config.model.patch_size[0], note, args.out)


def motion_rows(config: ConfigDict, clip: UInt8[np.ndarray, "T H W C"]) -> Rows:
    """The clip, and the clip weighted at several temperatures (Figure 2)."""
    patch_size, grid = tuple(config.model.patch_size), build.grid_of(config)
    frames = clip / 255.0
    normalized = build.normalized(config, jnp.asarray(clip)[None])
    pixels, feature = in_motion_space(config, normalized), motion_feature(config)
    rows = {"input": frames}
    for factor in TEMPERATURE_FACTORS:
        temperature = config.objective.temperature * factor
        weights = motion_weights(pixels, patch_size, temperature, feature)
        spread = float(effective_patches(weights)[0])
        label = f"τ = {temperature:g}\n{spread:.0f} of {weights.shape[1]}\ntubelets"
        rows[label] = overlay(frames, np.asarray(weights[0]), patch_size, grid)
    return rows
