"""VideoMAEs to compare with: Hugging Face's, and how MCG-NJU's program names the same."""

import numpy as np
import torch
from model.comparison import as_pixel_values, random_videomae
from transformers import VideoMAEForPreTraining

from mv2mae_jax.model.variants import VARIANTS, Variant

MINI = VARIANTS["mini"]
FRAMES, SIZE = 4, 32
CLIPS = np.random.default_rng(0).integers(0, 256, (2, FRAMES, SIZE, SIZE, 3), dtype=np.uint8)
PIXEL_VALUES = as_pixel_values(CLIPS)


def huggingface(model_class: type, variant: Variant = MINI, **options) -> torch.nn.Module:
    return random_videomae(model_class, variant, FRAMES, SIZE, **options)


def as_mcg_nju(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The state_dict that MCG-NJU's program would have of the same model, written out by hand."""
    theirs = {}

    def layer(name: str, module: torch.nn.Module) -> None:
        inner = module.attention.attention
        parts = (inner.query.weight, inner.key.weight, inner.value.weight)
        theirs[f"{name}.attn.qkv.weight"] = torch.cat(parts)
        theirs[f"{name}.attn.q_bias"] = inner.query.bias
        theirs[f"{name}.attn.v_bias"] = inner.value.bias
        both(f"{name}.norm1", module.layernorm_before)
        both(f"{name}.norm2", module.layernorm_after)
        both(f"{name}.attn.proj", module.attention.output.dense)
        both(f"{name}.mlp.fc1", module.intermediate.dense)
        both(f"{name}.mlp.fc2", module.output.dense)

    def both(name: str, module: torch.nn.Module) -> None:
        theirs[f"{name}.weight"], theirs[f"{name}.bias"] = module.weight, module.bias

    pretrains = isinstance(model, VideoMAEForPreTraining)
    start = "encoder." if pretrains else ""
    both(f"{start}patch_embed.proj", model.videomae.embeddings.patch_embeddings.projection)
    for n, module in enumerate(model.videomae.encoder.layer):
        layer(f"{start}blocks.{n}", module)
    if pretrains:
        both("encoder.norm", model.videomae.layernorm)
        theirs["encoder_to_decoder.weight"] = model.encoder_to_decoder.weight
        theirs["mask_token"] = model.mask_token
        for n, module in enumerate(model.decoder.decoder_layers):
            layer(f"decoder.blocks.{n}", module)
        both("decoder.norm", model.decoder.norm)
        both("decoder.head", model.decoder.head)
    else:
        both("fc_norm", model.fc_norm)
        both("head", model.classifier)
    return {name: value.detach().clone() for name, value in theirs.items()}
