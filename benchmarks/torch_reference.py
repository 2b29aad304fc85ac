"""The pre-training step in plain PyTorch, as one would extend VideoMAE's modules to two views.

Every clip is embedded whole by a strided convolution and its visible tokens are picked by a
boolean mask; each view passes through the networks by itself; the head runs on masked tokens only.
The numbers are those of `mv2mae_jax` for the same weights and masks.
"""

from collections.abc import Callable
from typing import Any

import torch
from ml_collections import ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

from mv2mae_jax.model.masking import num_masked
from mv2mae_jax.model.positions import Grid, position_table, tubelet_grid
from mv2mae_jax.model.variants import VARIANTS, Variant


def layer_norm(width: int) -> nn.LayerNorm:
    """With VideoMAE's eps."""
    return nn.LayerNorm(width, eps=1e-6)


class Attention(nn.Module):
    """Self-attention with one map for query, key and value, and no key bias."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        bias = torch.cat([self.q_bias, torch.zeros_like(self.v_bias), self.v_bias])
        q, k, v = F.linear(x, self.qkv.weight, bias).chunk(3, dim=-1)
        return self.out(attend(q, k, v, self.heads))


class CrossAttention(nn.Module):
    """Queries from one sequence; keys and values, in one map, from another."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width, bias=False)
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        bias = torch.cat([torch.zeros_like(self.v_bias), self.v_bias])
        k, v = F.linear(memory, self.kv.weight, bias).chunk(2, dim=-1)
        return self.out(attend(self.q(x), k, v, self.heads))


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """PyTorch's fused attention on [B N D]."""
    split = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2)


class Block(nn.Module):
    """Self-attention, then MLP; pre-norm and residual."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1 = layer_norm(width)
        self.attention = Attention(width, heads)
        self.norm2 = layer_norm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class CrossViewBlock(nn.Module):
    """Cross-attention, then a block."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm_query = layer_norm(width)
        self.norm_memory = layer_norm(width)
        self.cross_attention = CrossAttention(width, heads)
        self.block = Block(width, heads)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        x = x + self.cross_attention(self.norm_query(x), self.norm_memory(memory))
        return self.block(x)


class Decoder(nn.Module):
    """Blocks on all tokens; norm and head on the masked ones, which come last."""

    def __init__(self, block: type[nn.Module], variant: Variant, pixels: int):
        super().__init__()
        width, heads = variant.decoder_width, variant.decoder_heads
        self.blocks = nn.ModuleList(block(width, heads) for _ in range(variant.decoder_depth))
        self.norm = layer_norm(width)
        self.head = nn.Linear(width, pixels)

    def forward(self, x: Tensor, num_masked: int, *memory: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, *memory)
        return self.head(self.norm(x[:, -num_masked:]))


class MV2MAE(nn.Module):
    """Encoder, projector and both decoders, for two views."""

    def __init__(self, variant: Variant, grid: Grid, patch_size: tuple[int, int, int]):
        super().__init__()
        width, decoder_width = variant.width, variant.decoder_width
        pixels = 3 * patch_size[0] * patch_size[1] * patch_size[2]
        self.embed = nn.Conv3d(3, width, kernel_size=patch_size, stride=patch_size)
        self.blocks = nn.ModuleList(Block(width, variant.heads) for _ in range(variant.depth))
        self.norm = layer_norm(width)
        self.projector = nn.Linear(width, decoder_width, bias=False)
        self.mask_token = nn.Parameter(torch.zeros(decoder_width))
        self.self_view_decoder = Decoder(Block, variant, pixels)
        self.cross_view_decoder = Decoder(CrossViewBlock, variant, pixels)
        self.positions: Tensor
        self.decoder_positions: Tensor
        for name, dim in (("positions", width), ("decoder_positions", decoder_width)):
            table = torch.from_numpy(position_table("flattened", grid, dim))
            self.register_buffer(name, table, persistent=False)

    def encode(self, clip: Tensor, hidden: Tensor) -> Tensor:
        """Visible tokens of a clip [B C T H W], as wide as the decoders."""
        x = self.embed(clip).flatten(2).transpose(1, 2) + self.positions
        x = x[~hidden].reshape(len(clip), -1, x.shape[-1])
        for block in self.blocks:
            x = block(x)
        return self.projector(self.norm(x))

    def tokens(self, visible: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """All tokens of a view, visible first, and the visible ones alone; with positions."""
        batch, _, width = visible.shape
        positions = self.decoder_positions.expand(batch, -1, -1)
        visible = visible + positions[~hidden].reshape(batch, -1, width)
        masked = self.mask_token + positions[hidden].reshape(batch, -1, width)
        return torch.cat([visible, masked], dim=1), visible

    def forward(
        self, source: Tensor, target: Tensor, source_hidden: Tensor, target_hidden: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Reconstructions S from S, T from T, T from S, S from T."""
        count = int(source_hidden[0].sum())
        source_tokens, source_visible = self.tokens(
            self.encode(source, source_hidden), source_hidden
        )
        target_tokens, target_visible = self.tokens(
            self.encode(target, target_hidden), target_hidden
        )
        return (
            self.self_view_decoder(source_tokens, count),
            self.self_view_decoder(target_tokens, count),
            self.cross_view_decoder(target_tokens, count, source_visible),
            self.cross_view_decoder(source_tokens, count, target_visible),
        )


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
    """Eq. 3 of uint8 clips [B 2 T H W C] under boolean masks [B 2 N]."""
    patch_size = tuple(config.model.patch_size)
    mean, std = (
        torch.tensor(values, device=clips.device).view(3, 1, 1, 1)
        for values in (config.data.mean, config.data.std)
    )
    views = [view.permute(0, 4, 1, 2, 3).float() / 255 for view in clips.unbind(1)]
    normalized = [(view - mean) / std for view in views]
    hiddens = hidden.unbind(1)
    to_source, to_target, to_target_across, to_source_across = model(*normalized, *hiddens)
    loss = torch.zeros((), device=clips.device)
    for view, (own, across) in enumerate(
        ((to_source, to_source_across), (to_target, to_target_across))
    ):
        weights = motion_weights(normalized[view], patch_size, config.objective.temperature)
        weights = weights[hiddens[view]].reshape(len(clips), -1)
        target = targets(views[view], patch_size)[hiddens[view]].reshape(own.shape)
        for prediction, factor in ((own, 1.0), (across, config.objective.cross_view)):
            error = (prediction.float() - target).square().mean(2)
            loss = loss + factor * (weights * error).mean()
    return loss


def random_masks(batch: int, grid: Grid, ratio: float, device: torch.device) -> Tensor:
    """Boolean masks [B 2 N] of a fixed count."""
    tokens = grid[0] * grid[1] * grid[2]
    order = torch.rand(batch, 2, tokens, device=device).argsort(dim=-1)
    return order < num_masked("random", ratio, grid)


def make_step(config: ConfigDict, device: torch.device) -> Callable[[Tensor], Tensor]:
    """A step of AdamW on uint8 clips [B 2 T H W C]; returns the loss."""
    patch_size = tuple(config.model.patch_size)
    grid = tubelet_grid(config.data.num_frames, config.data.image_size, patch_size)
    model = MV2MAE(VARIANTS[config.model.variant], grid, patch_size).to(device)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if p.ndim > 1]},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
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
