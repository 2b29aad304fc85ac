"""Where the cross-view decoder looks in the other views to predict one tubelet (Figure 5).

python -m mv2mae_jax.visualize attention --workdir=runs/pretrain --out=attention.png
"""

import argparse

import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict

from mv2mae_jax.model import build
from mv2mae_jax.training.parameters import Parameters
from mv2mae_jax.visualize.cross_attention import cross_attention_maps, mark_tubelet
from mv2mae_jax.visualize.pretrained import add_options, open_pretrained
from mv2mae_jax.visualize.reconstruct import reconstruct
from mv2mae_jax.visualize.rows import Rows, overlay, save

__all__ = ["add_options", "attention_rows", "draw"]


def draw(args: argparse.Namespace) -> None:
    """Draws some activities, masked, and the attention to their source views."""
    config, parameters, clips = open_pretrained(args)
    note = (
        "where the cross-view decoder looks to predict the marked tubelet, the masked one that "
        "moves most; brightness: mean over heads and blocks; masked source tubelets are dark"
    )
    sections = attention_rows(config, parameters, clips)
    save(sections, config.model.patch_size[0], note, args.out)


def attention_rows(
    config: ConfigDict, parameters: Parameters, clips: UInt8[np.ndarray, "B V T H W C"]
) -> list[Rows]:
    """Of every sample: the target, masked and reconstructed, and the attention to its sources."""
    patch_size, grid = tuple(config.model.patch_size), build.grid_of(config)
    pictures = reconstruct(config, parameters, clips)
    attention = cross_attention_maps(config, parameters, clips)
    sections = []
    for b, query in enumerate(attention.query):
        rows = {
            "target view": pictures.input[b, 0],
            "masked": mark_tubelet(pictures.masked[b, 0], query, patch_size, grid),
            "cross-view\ndecoder": pictures.cross_view[b, 0],
        }
        for number, weights in enumerate(attention.sources[b], start=1):
            frames = pictures.input[b, number]
            rows[f"source view {number}"] = frames
            rows[f"attention to\nview {number}"] = overlay(frames, weights, patch_size, grid)
        sections.append(rows)
    return sections
