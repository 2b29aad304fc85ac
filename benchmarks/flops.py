"""Floating-point operations that training needs, counted from the shapes of a config.

Two for each multiply-add of the linear maps and of attention, forward and backward, whose two
products for each of the forward pass make it twice as long. What the method leaves out is not
counted: masked tubelets are not embedded, the last decoder blocks compute masked tokens only, and
nobody needs the gradient of the pixels. Nor is what `model.remat` computes twice.

By hand, where `cost/program.py` counts a traced step: the device is left to the rounds of a
benchmark, and tests compare the two.
"""

import math

from ml_collections import ConfigDict

from mv2mae_jax.model.build import grid_of
from mv2mae_jax.model.grid import num_masked
from mv2mae_jax.model.variants import VARIANTS


def pretraining_flops(config: ConfigDict) -> int:
    """Of one sample: V views, each a target in its turn with all others as its sources."""
    variant, views = VARIANTS[config.model.variant], config.data.num_views
    small = variant.decoder_width
    pixels = 3 * math.prod(config.model.patch_size)
    grid = grid_of(config)
    tokens = math.prod(grid)
    masked = num_masked(config.masking.kind, config.masking.ratio, grid)
    visible = tokens - masked

    before_last = variant.decoder_depth - 1
    decoder = before_last * _block(tokens, tokens, small) + _block(masked, tokens, small)
    decoder += masked * small * pixels
    projector = visible * variant.width * small
    embedding = visible * pixels * variant.width
    view = embedding + variant.depth * _block(visible, visible, variant.width)
    view += projector + decoder
    if views > 1 and config.objective.cross_view:
        across = variant.decoder_depth * _attention(tokens, (views - 1) * visible, small)
        view += across + decoder
        view += projector if config.model.projector == "separate" else 0
    return 2 * views * (3 * view - embedding)


def finetuning_flops(config: ConfigDict, classes: int) -> int:
    """Of one clip; frozen blocks have no backward pass."""
    variant = VARIANTS[config.model.variant]
    tokens = math.prod(grid_of(config))
    embedding = tokens * 3 * math.prod(config.model.patch_size) * variant.width
    block = _block(tokens, tokens, variant.width)
    trainable = config.finetune.trainable_blocks
    if trainable < 0:
        encoder = 2 * embedding + 3 * variant.depth * block
    else:
        encoder = embedding + (variant.depth + 2 * trainable) * block
    return 2 * (encoder + 3 * variant.width * classes)


def _block(queries: int, tokens: int, width: int) -> int:
    """Multiply-adds of a forward pass: attention, and an MLP that is four times as wide inside."""
    return _attention(queries, tokens, width) + 8 * queries * width**2


def _attention(queries: int, memory: int, width: int) -> int:
    maps = 2 * (queries + memory) * width**2  # query and output; key and value
    return maps + 2 * queries * memory * width  # scores; weighted values
