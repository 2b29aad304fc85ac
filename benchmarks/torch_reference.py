"""Losses and parameter groups in plain PyTorch, as one would extend VideoMAE's.

Every clip is embedded whole by a strided convolution and its visible tokens are picked by a
boolean mask; every decoder block runs on all tokens, norm and head on the masked ones only. The
numbers are those of `mv2mae_jax` for the same weights and masks.

The modules take all views as one batch, and attention from PyTorch's fused operation;
`view_by_view` and `written_out` do what VideoMAE's own code does.
"""

import re
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from ml_collections import ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

from mv2mae_jax.interop.pytorch import MV2MAE, Reconstruction
from mv2mae_jax.model.grid import Grid, num_masked


def patchify(clip: Tensor, patch_size: tuple[int, int, int]) -> Tensor:
    """[B C T H W] to [B N P]."""
    batch, channels, *extent = clip.shape
    split = [n for e, p in zip(extent, patch_size, strict=True) for n in (e // p, p)]
    x = clip.reshape(batch, channels, *split).permute(0, 2, 4, 6, 3, 5, 7, 1)
    return x.reshape(batch, split[0] * split[2] * split[4], -1)


@torch.no_grad()
def targets(clip: Tensor, patch_size: tuple[int, int, int]) -> Tensor:
    """Pixels normalised by tubelet and channel; clip in [0, 1]."""
    x = patchify(clip, patch_size).unflatten(-1, (-1, clip.shape[1]))
    return ((x - x.mean(2, keepdim=True)) / (x.std(2, keepdim=True) + 1e-6)).flatten(2)


@torch.no_grad()
def motion_weights(clip: Tensor, patch_size: tuple[int, int, int], temperature: float) -> Tensor:
    """Algorithm 1 with a mean of one over the tokens [B N]."""
    difference = clip[:, :, 1:] - clip[:, :, :-1]
    difference = torch.cat([difference[:, :, :1], difference], dim=2)
    motion = torch.linalg.vector_norm(patchify(difference, patch_size), dim=2)
    return torch.softmax(motion / temperature, dim=1) * motion.shape[1]


def pixels_of(config: ConfigDict, clips: Tensor) -> tuple[Tensor, Tensor]:
    """Bytes [... T H W C] to [... C T H W], in [0, 1] and ImageNet-normalised."""
    mean, std = (
        torch.tensor(values, device=clips.device).view(3, 1, 1, 1)
        for values in (config.data.mean, config.data.std)
    )
    pixels = clips.movedim(-1, -4).float() / 255
    return pixels, (pixels - mean) / std


def written_out(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention from queries [B h Q d] to keys and values [B h K d]: two products, a softmax."""
    return (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).softmax(dim=-1) @ v


def view_by_view(model: MV2MAE, clips: Tensor, hidden: Tensor) -> Reconstruction:
    """What `model` makes of two views [B 2 C T H W] under masks [B 2 N], one after the other."""
    masked = int(hidden[0, 0].sum())
    to_decoder = model.encoder_to_decoder, model.mask_token
    tokens = [
        model._decoder_tokens(model.encoder(clip, mask), mask, *to_decoder)
        for clip, mask in zip(clips.unbind(1), hidden.unbind(1), strict=True)
    ]
    alone = [model.decoder(x, masked) for x in tokens]
    across = [
        model.cross_view_decoder(x, masked, other[:, :-masked])
        for x, other in zip(tokens, reversed(tokens), strict=True)
    ]
    return Reconstruction(torch.stack(alone, dim=1), torch.stack(across, dim=1))


def pretraining_loss(
    config: ConfigDict,
    model: Callable[[Tensor, Tensor], Reconstruction],
    clips: Tensor,
    hidden: Tensor,
) -> Tensor:
    """Eq. 3 of uint8 clips [B V T H W C] under boolean masks [B V N]."""
    patch_size = tuple(config.model.patch_size)
    pixels, normalized = pixels_of(config, clips)
    prediction = model(normalized, hidden)
    pixels, normalized, hidden = (x.flatten(0, 1) for x in (pixels, normalized, hidden))
    weights = motion_weights(normalized, patch_size, config.objective.temperature)
    weights = weights[hidden].unflatten(0, (len(hidden), -1))
    target = targets(pixels, patch_size)[hidden].unflatten(0, (len(hidden), -1))

    def loss_of(prediction: Tensor) -> Tensor:
        error = (prediction.flatten(0, 1).float() - target).square().mean(2)
        return clips.shape[1] * (weights * error).mean()  # summed over the views

    assert prediction.cross_view is not None
    across = config.objective.cross_view * loss_of(prediction.cross_view)
    return loss_of(prediction.self_view) + across


def classification_loss(
    config: ConfigDict, model: nn.Module, clips: Tensor, labels: Tensor
) -> Tensor:
    """Cross-entropy with label smoothing, of uint8 clips [B T H W C] with labels [B]."""
    logits = model(pixels_of(config, clips)[1]).float()
    return F.cross_entropy(logits, labels, label_smoothing=config.finetune.label_smoothing)


def parameter_groups(
    model: nn.Module, layer_decay: float, weight_decay: float
) -> list[dict[str, Any]]:
    """What AdamW takes: parameters, with their factor on the learning rate and their weight decay.

    The rule is that of VideoMAE's `get_parameter_groups` and `LayerDecayValueAssigner`, read there
    and written down anew, for its names and for Hugging Face's.
    """
    blocks = {
        name: int(match[1])
        for name, _ in model.named_parameters()
        if (match := re.search(r"(?:^|encoder\.)(?:blocks|layer)\.(\d+)\.", name))
    }
    top = max(blocks.values()) + 2
    groups = defaultdict(list)
    for name, parameter in model.named_parameters():
        layer = blocks[name] + 1 if name in blocks else 0 if "patch_embed" in name else top
        decays = parameter.ndim > 1 and not name.endswith((".bias", "mask_token"))
        groups[layer_decay ** (top - layer), weight_decay if decays else 0.0].append(parameter)
    return [
        {"params": parameters, "lr_scale": scale, "weight_decay": decay}
        for (scale, decay), parameters in groups.items()
    ]


def random_masks(batch: int, grid: Grid, ratio: float, device: torch.device) -> Tensor:
    """Boolean masks [B 2 N] of a fixed count."""
    tokens = grid[0] * grid[1] * grid[2]
    order = torch.rand(batch, 2, tokens, device=device).argsort(dim=-1)
    return order < num_masked("random", ratio, grid)
