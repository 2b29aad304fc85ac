"""What the page needs to let a reader play with clips: pictures, masks, weights and attention.

Arrays go into the page as base64 (`page.packed`). An attention map is one byte a source tubelet:
weight = byte / 255 * the largest weight of that query, which is stored beside it as float32.
"""

from typing import Any

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from jaxtyping import Array, Float, UInt8
from ml_collections import ConfigDict

from mv2mae_jax.data import loader
from mv2mae_jax.errors import InputError
from mv2mae_jax.losses import token_weights
from mv2mae_jax.model import build
from mv2mae_jax.model.grid import num_masked
from mv2mae_jax.model.masking import Mask
from mv2mae_jax.model.parts import has
from mv2mae_jax.model.variants import VARIANTS
from mv2mae_jax.objective import patchify
from mv2mae_jax.training.parameters import Parameters
from mv2mae_jax.visualize.pretrained import pretraining_definition, require_samples
from mv2mae_jax.visualize.reconstruct import masked_inputs, reconstruct
from mv2mae_jax.visualize.report.page import columns_of, packed, sheet
from mv2mae_jax.visualize.training_clips import Clip, first_clips

RATIOS = (0.5, 0.7, 0.9)  # masked shares to choose from, besides the run's
SAMPLES = 6  # activities, at most, unless more are asked for
ATTENTION_BYTES = 11e6  # of all samples, as text: the rest of a page is for pictures
ERROR_RANGE = 0.25  # mean absolute difference, of pixels in [0, 1], that is shown as the largest


def explorer(config: ConfigDict, parameters: Parameters, samples: int | None) -> dict[str, Any]:
    """The data of the page's viewer; of a run without one, only `reason`, why there is none.

    Args:
      config: of the run.
      parameters: of the run.
      samples: activities; None: up to `SAMPLES`, as many as there are and fit.

    Raises:
      InputError: the data cannot be read, or there are not so many activities, or no room for
        them.
    """
    if not has(parameters, "self-view decoder"):
        reason = "This run has no decoders, so there is nothing to reconstruct: explore the "
        return {"reason": reason + "pre-training that it started from."}
    if not has(parameters, "cross-view decoder"):
        return {"reason": "This run has no cross-view decoder, so no view is looked at by another."}
    if not config.data.dataset:
        return {"reason": "These weights do not say which data they were trained on."}
    ratios = mask_ratios(config)
    detail = attention_detail(config, ratios)
    if detail is None:
        tokens, sources = int(np.prod(build.grid_of(config))), config.data.num_views - 1
        return {
            "reason": f"The attention of {tokens:,} tubelets to {sources} views does not fit in a "
            "page; draw it with `python -m mv2mae_jax.visualize attention`."
        }
    blocks, heads = detail
    clips = first_clips(config, _samples_that_fit(config, ratios, detail, samples))
    at_ratios = [_at_ratio(config, parameters, clips, ratio, detail) for ratio in ratios]
    size, frames = config.data.image_size, config.data.num_frames
    return {
        "ratios": ratios,
        "trained": ratios.index(config.masking.ratio),
        "targets": config.objective.targets,
        "grid": build.grid_of(config),
        "patch": list(config.model.patch_size),
        "size": size,
        "frames": frames,
        "columns": columns_of(frames),
        "blocks": blocks,
        "heads": heads,
        "errorRange": ERROR_RANGE,
        "palette": packed(matplotlib.colormaps["inferno"](np.arange(256), bytes=True)[:, :3]),
        "samples": [
            {
                "id": clip.activity,
                "action": clip.action,
                "views": clip.draw.views,
                "times": clip.draw.times.tolist(),
                "clips": [sheet(view / 255) for view in clip.views],
                "ratios": [of_samples[number] for of_samples in at_ratios],
            }
            for number, clip in enumerate(clips)
        ],
    }


def mask_ratios(config: ConfigDict) -> list[float]:
    """`RATIOS` and the run's, in order, without those that would hide all tubelets or none."""
    grid = build.grid_of(config)
    tokens = int(np.prod(grid))
    return [
        ratio
        for ratio in sorted({*RATIOS, config.masking.ratio})
        if 0 < num_masked(config.masking.kind, ratio, grid) < tokens
    ]


def attention_detail(config: ConfigDict, ratios: list[float]) -> tuple[int, int] | None:
    """How many attention maps of a query the page has: blocks and heads.

    All of them if one sample then fits, otherwise their mean over heads, or over blocks too; None
    if not even that fits.
    """
    variant = VARIANTS[config.model.variant]
    blocks, heads = variant.decoder_depth, variant.decoder_heads
    for detail in ((blocks, heads), (blocks, 1), (1, 1)):
        if _attention_bytes(config, ratios, detail) <= ATTENTION_BYTES:
            return detail
    return None


def token_attention(
    config: ConfigDict, parameters: Parameters, clips: UInt8[np.ndarray, "B V T H W C"]
) -> Float[np.ndarray, "B blocks heads N sK"]:
    """Where every tubelet of the target (view 0), in token order, looks in the other views.

    The last axis is the visible tokens of all other views, in the order of the mask. Visible
    tubelets of the target look there too, in every block.
    """
    definition = pretraining_definition(config)

    @jax.jit
    def in_token_order(
        parameters: Parameters, patches: Float[Array, "B V N P"], mask: Mask
    ) -> Float[Array, "B blocks heads N sK"]:
        maps = definition.bind(parameters).cross_attention(patches, mask)[:, 0]
        order = jnp.concatenate([mask.visible, mask.masked], axis=-1)[:, 0]
        places = jnp.argsort(order, axis=-1)[:, None, None, :, None]
        return jnp.take_along_axis(maps, places, axis=3).astype(jnp.float32)

    return np.asarray(in_token_order(parameters, *masked_inputs(config, clips)))


def quantized(
    weights: Float[np.ndarray, "*Q K"],
) -> tuple[UInt8[np.ndarray, "*Q K"], Float[np.ndarray, "*Q"]]:
    """Weights as bytes, 255 the largest of each query, and that largest weight."""
    largest = weights.max(axis=-1)
    return np.rint(255 * weights / largest[..., None]).astype(np.uint8), largest


def _samples_that_fit(
    config: ConfigDict, ratios: list[float], detail: tuple[int, int], samples: int | None
) -> int:
    fitting = int(ATTENTION_BYTES // _attention_bytes(config, ratios, detail))
    if samples is None:
        return min(SAMPLES, fitting, loader.num_samples(config))
    require_samples(config, samples)
    if samples > fitting:
        raise InputError(f"--samples={samples}; of this run at most {fitting:,} fit in a page")
    return samples


def _attention_bytes(config: ConfigDict, ratios: list[float], detail: tuple[int, int]) -> float:
    """Of one sample at all ratios, as base64."""
    grid = build.grid_of(config)
    tokens = int(np.prod(grid))
    visible = sum(tokens - num_masked(config.masking.kind, ratio, grid) for ratio in ratios)
    return 4 / 3 * np.prod(detail) * tokens * (config.data.num_views - 1) * visible


def _at_ratio(
    config: ConfigDict,
    parameters: Parameters,
    clips: list[Clip],
    ratio: float,
    detail: tuple[int, int],
) -> list[dict[str, Any]]:
    """Of every sample, what depends on the mask; the masks are those that training would draw."""
    config = config.copy_and_resolve_references()
    config.masking.ratio = ratio
    patch_size = tuple(config.model.patch_size)
    pixels = np.stack([clip.views for clip in clips])
    _, mask = masked_inputs(config, pixels)
    pictures = reconstruct(config, parameters, pixels)
    assert pictures.cross_view is not None  # or there would be no explorer
    target = build.normalized(config, jnp.asarray(pixels[:, 0]))
    weights = np.asarray(token_weights(config, target, mask.masked[:, 0]))
    attention, largest = quantized(_reduced(token_attention(config, parameters, pixels), detail))

    def decoded(prediction: Float[np.ndarray, "T H W C"], number: int) -> dict[str, str]:
        difference = prediction - pictures.input[number, 0]
        squares = np.square(patchify(jnp.asarray(difference)[None], patch_size))[0]
        return {
            "frames": sheet(prediction),
            "error": sheet(np.abs(difference).mean(axis=-1, keepdims=True) / ERROR_RANGE),
            "rms": packed(np.sqrt(squares.mean(axis=-1))),
        }

    return [
        {
            "visible": [packed(np.asarray(view, np.uint16)) for view in mask.visible[number]],
            "selfView": decoded(pictures.self_view[number, 0], number),
            "crossView": decoded(pictures.cross_view[number, 0], number),
            "weights": packed(weights[number]),
            "attention": packed(attention[number]),
            "largest": packed(largest[number]),
        }
        for number in range(len(clips))
    ]


def _reduced(
    attention: Float[np.ndarray, "B blocks heads N sK"], detail: tuple[int, int]
) -> Float[np.ndarray, "B {detail[0]} {detail[1]} N sK"]:
    """Means over heads and blocks where there are more of them than the page has."""
    for axis, count in ((2, detail[1]), (1, detail[0])):
        if attention.shape[axis] != count:
            attention = attention.mean(axis=axis, keepdims=True)
    return attention
