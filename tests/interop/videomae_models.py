"""VideoMAEs to compare with: Hugging Face's, and how MCG-NJU's program names the same."""

import numpy as np
import torch
from transformers import VideoMAEConfig, VideoMAEForPreTraining

FRAMES, SIZE = 4, 32
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIPS = np.random.default_rng(0).integers(0, 256, (2, FRAMES, SIZE, SIZE, 3), dtype=np.uint8)
SIZES = dict(  # of the variant `mini`
    image_size=SIZE,
    num_frames=FRAMES,
    hidden_size=128,
    num_hidden_layers=4,
    num_attention_heads=4,
    intermediate_size=512,
    decoder_hidden_size=64,
    decoder_num_hidden_layers=1,
    decoder_num_attention_heads=2,
    decoder_intermediate_size=256,
    layer_norm_eps=1e-6,
)


def huggingface(model_class: type, **options) -> torch.nn.Module:
    """With random values everywhere, and MCG-NJU's eps in all norms."""
    torch.manual_seed(0)
    model = model_class(VideoMAEConfig(**(SIZES | options))).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-6  # decoder.norm and fc_norm ignore the config
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return model


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


def pixel_values() -> torch.Tensor:
    mean, std = (torch.tensor(values) for values in IMAGENET)
    return ((torch.from_numpy(CLIPS) / 255 - mean) / std).permute(0, 1, 4, 2, 3).contiguous()
