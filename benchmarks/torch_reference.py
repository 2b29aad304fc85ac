"""The pre-training step in plain PyTorch, as one would extend VideoMAE's to several views.

Every clip is embedded whole by a strided convolution and its visible tokens are picked by a
boolean mask; every decoder block runs on all tokens, norm and head on the masked ones only. The
numbers are those of `mv2mae_jax` for the same weights and masks.
"""

from collections.abc import Callable
from typing import Any

import torch
from ml_collections import ConfigDict
from torch import Tensor, nn

from mv2mae_jax.interop.pytorch import MV2MAE
from mv2mae_jax.model.masking import num_masked
from mv2mae_jax.model.positions import Grid, tubelet_grid
from mv2mae_jax.model.variants import VARIANTS


def patchify(clip: Tensor, patch_size: tuple[int, int, int]) -> Tensor:
    """[B C T H W] to [B N P]."""
    batch, channels, *extent = clip.shape
    split = [n for e, p in zip(extent, patch_size, strict=True) for n in (e // p, p)]
    x = clip.reshape(batch, channels, *split).permute(0, 2, 4, 6, 3, 5, 7, 1)
    return x.reshape(batch, split[0] * split[2] * split[4], -1)


@torch.no_grad()
def targets(clip: Tensor, patch_size: tuple[int, int, int]) -> Tensor:
    """Pixels normalised by tubelet and channel; clip in [0, 1]."""
    x = patchify(clip, patch_size).unflatten(-1, (-1, 3))
    return ((x - x.mean(2, keepdim=True)) / (x.std(2, keepdim=True) + 1e-6)).flatten(2)


@torch.no_grad()
def motion_weights(clip: Tensor, patch_size: tuple[int, int, int], temperature: float) -> Tensor:
    """Algorithm 1 with a mean of one over the tokens [B N]."""
    difference = clip[:, :, 1:] - clip[:, :, :-1]
    difference = torch.cat([difference[:, :, :1], difference], dim=2)
    motion = torch.linalg.vector_norm(patchify(difference, patch_size), dim=2)
    return torch.softmax(motion / temperature, dim=1) * motion.shape[1]


def pretraining_loss(config: ConfigDict, model: nn.Module, clips: Tensor, hidden: Tensor) -> Tensor:
    """Eq. 3 of uint8 clips [B V T H W C] under boolean masks [B V N]."""
    patch_size = tuple(config.model.patch_size)
    mean, std = (
        torch.tensor(values, device=clips.device).view(3, 1, 1, 1)
        for values in (config.data.mean, config.data.std)
    )
    pixels = clips.permute(0, 1, 5, 2, 3, 4).float() / 255
    normalized = (pixels - mean) / std
    prediction = model(normalized, hidden)
    pixels, normalized, hidden = (x.flatten(0, 1) for x in (pixels, normalized, hidden))
    weights = motion_weights(normalized, patch_size, config.objective.temperature)
    weights = weights[hidden].unflatten(0, (len(hidden), -1))
    target = targets(pixels, patch_size)[hidden].unflatten(0, (len(hidden), -1))

    def loss_of(prediction: Tensor) -> Tensor:
        error = (prediction.flatten(0, 1).float() - target).square().mean(2)
        return clips.shape[1] * (weights * error).mean()  # summed over the views

    across = config.objective.cross_view * loss_of(prediction.cross_view)
    return loss_of(prediction.self_view) + across


def random_masks(batch: int, grid: Grid, ratio: float, device: torch.device) -> Tensor:
    """Boolean masks [B 2 N] of a fixed count."""
    tokens = grid[0] * grid[1] * grid[2]
    order = torch.rand(batch, 2, tokens, device=device).argsort(dim=-1)
    return order < num_masked("random", ratio, grid)


def make_step(config: ConfigDict, device: torch.device) -> Callable[[Tensor], Tensor]:
    """A step of AdamW on uint8 clips [B 2 T H W C]; returns the loss."""
    patch_size = tuple(config.model.patch_size)
    grid = tubelet_grid(config.data.num_frames, config.data.image_size, patch_size)
    variant = VARIANTS[config.model.variant]
    model = MV2MAE(variant, grid, patch_size, config.model.positions).to(device)
    groups: list[dict[str, Any]] = [  # a mask token is a vector, whatever its shape
        {"params": [p for p in model.parameters() if p.squeeze().ndim > 1]},
        {"params": [p for p in model.parameters() if p.squeeze().ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        groups,
        lr=1e-4,
        betas=(config.optimizer.b1, config.optimizer.b2),
        weight_decay=config.optimizer.weight_decay,
        fused=True,
    )
    dtype = getattr(torch, config.model.dtype)

    def step(clips: Tensor) -> Tensor:
        hidden = random_masks(len(clips), grid, config.masking.ratio, device)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss = pretraining_loss(config, model, clips, hidden)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step
