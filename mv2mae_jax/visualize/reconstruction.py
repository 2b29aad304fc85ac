"""What both decoders make of a masked view (Figure 5).

python -m mv2mae_jax.visualize reconstruction --workdir=runs/pretrain --out=reconstruction.png
"""

import argparse

import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict

from mv2mae_jax.training.parameters import Parameters
from mv2mae_jax.visualize.pretrained import add_options, open_pretrained
from mv2mae_jax.visualize.reconstruct import reconstruct
from mv2mae_jax.visualize.rows import Rows, save

__all__ = ["add_options", "draw", "reconstruction_rows"]


def draw(args: argparse.Namespace) -> None:
    """Draws the views of some activities and their reconstructions."""
    config, parameters, clips = open_pretrained(args)
    note = f"{config.masking.ratio:.0%} masked (grey); predictions are shown in masked places only"
    if config.objective.targets == "normalized":
        note += "; mean and contrast of each are guessed from visible tubelets"
    sections = reconstruction_rows(config, parameters, clips)
    save(sections, config.model.patch_size[0], note, args.out)


def reconstruction_rows(
    config: ConfigDict, parameters: Parameters, clips: UInt8[np.ndarray, "B V T H W C"]
) -> list[Rows]:
    """Of every sample: the source, the target, and the target masked and reconstructed."""
    pictures = reconstruct(config, parameters, clips)
    return [
        {
            "source view": pictures.input[b, 1],
            "target view": pictures.input[b, 0],
            "masked": pictures.masked[b, 0],
            "self-view\ndecoder": pictures.self_view[b, 0],
            "cross-view\ndecoder": pictures.cross_view[b, 0],
            "error of\ncross-view": np.abs(pictures.cross_view[b, 0] - pictures.input[b, 0]),
        }
        for b in range(len(clips))
    ]
