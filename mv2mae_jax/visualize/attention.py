"""Where the cross-view decoder looks in the other views to predict one tubelet (Figure 5).

The tubelet is masked in the target; it is marked in red, and its place (time, height, width) counts
from 0.

python -m mv2mae_jax.visualize attention --workdir=runs/pretrain --out=attention.png
python -m mv2mae_jax.visualize attention --workdir=runs/pretrain --out=heads.png --samples 1 \\
    --by-head --tubelet 2 1 3
"""

import argparse
from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from mv2mae_jax.command_line import number
from mv2mae_jax.model import build
from mv2mae_jax.training.parameters import Parameters
from mv2mae_jax.visualize import pretrained
from mv2mae_jax.visualize.cross_attention import cross_attention_maps, mark_tubelet
from mv2mae_jax.visualize.pretrained import masked_share, open_pretrained
from mv2mae_jax.visualize.reconstruct import reconstruct
from mv2mae_jax.visualize.rows import Rows, Section, overlay, save
from mv2mae_jax.visualize.training_clips import Clip, view_names

__all__ = ["NOTE", "add_options", "attention_sections", "draw"]

NOTE = (
    "where the cross-view decoder looks in the source to predict the tubelet marked in red; "
    "brightness: attention relative to the largest of the clip; masked source tubelets are dark"
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this picture."""
    pretrained.add_options(parser)
    parser.add_argument(
        "--by-head", action="store_true", help="also a row for every block and head of the decoder"
    )
    parser.add_argument(
        "--tubelet",
        nargs=3,
        type=number(int, 0, 10_000),
        metavar=("T", "H", "W"),
        help="place of the tubelet; default: of the masked ones, the one that moves most",
    )


def draw(args: argparse.Namespace) -> None:
    """Draws some activities, masked, and the attention to their source views."""
    config, parameters, clips = open_pretrained(args)
    query = tuple(args.tubelet) if args.tubelet else None
    sections = attention_sections(config, parameters, clips, query, by_head=args.by_head)
    save(sections, config.model.patch_size[0], NOTE, args.out)


def attention_sections(
    config: ConfigDict,
    parameters: Parameters,
    clips: Sequence[Clip],
    query: tuple[int, int, int] | None = None,
    *,
    by_head: bool = False,
) -> list[Section]:
    """Of every sample: the target, masked and reconstructed, and the attention to its sources.

    Args:
      config: of the run.
      parameters: of its model.
      clips: samples of as many views each.
      query: as of `cross_attention_maps`.
      by_head: whether every block and head has a row, after their mean.

    Raises:
      InputError: as of `cross_attention_maps`.
    """
    patch_size, grid = tuple(config.model.patch_size), build.grid_of(config)
    pixels = np.stack([clip.views for clip in clips])
    attention = cross_attention_maps(config, parameters, pixels, query)
    pictures = reconstruct(config, parameters, pixels)
    assert pictures.cross_view is not None  # what attends, predicts
    target, *sources = view_names(pixels.shape[1])
    sections = []
    for b, token in enumerate(attention.query):
        place = " ".join(map(str, np.unravel_index(token, grid)))
        marked = mark_tubelet(pictures.masked[b, 0], token, patch_size, grid)
        rows: Rows = {
            target: pictures.input[b, 0],
            f"{masked_share(config)} masked,\ntubelet\n{place}": marked,
            "cross-view\ndecoder": pictures.cross_view[b, 0],
        }
        for s, source in enumerate(sources):
            frames = pictures.input[b, 1 + s]
            rows[source] = frames
            maps = {"mean of\nheads": attention.sources[b, s]}
            if by_head:
                maps |= {
                    f"block {block + 1}\nhead {head + 1}": attention.heads[b, s, block, head]
                    for block, head in np.ndindex(attention.heads.shape[2:4])
                }
            for name, weights in maps.items():
                rows[f"{source}\n{name}"] = overlay(frames, weights, patch_size, grid)
        sections.append(Section(clips[b].title(pixels.shape[1]), rows))
    return sections
