"""The losses of pre-training and fine-tuning in PyTorch, made to be fast.

Both views are one batch of the encoder, both directions one batch of a decoder. Only visible
tubelets are embedded, by a matrix product of gathered bytes; tokens stay visible first; the last
block of a decoder computes masked tokens only; activations keep the dtype of autocast. Everything
is one graph of fixed shapes for `torch.compile`. The numbers are those of `torch_reference` for the
same weights and masks.
"""

import torch
from jaxtyping import Bool, Float, Int, UInt8
from ml_collections import ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.torch_reference import patchify
from mv2mae_jax.interop.pytorch import MV2MAE, Block, Classifier, CrossViewBlock, Decoder, Encoder
from mv2mae_jax.model.grid import num_masked, tubelet_grid


class Pixels(nn.Module):
    """From the bytes of clips to what models and losses read."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: ConfigDict):
        super().__init__()
        self.patch_size = tuple(config.model.patch_size)
        self.register_buffer("mean", torch.tensor(config.data.mean))
        self.register_buffer("std", torch.tensor(config.data.std))

    def patches(self, clips: UInt8[Tensor, "B T H W C"]) -> UInt8[Tensor, "B N p C"]:
        """The tubelets' bytes."""
        return patchify(clips.permute(0, 4, 1, 2, 3), self.patch_size).unflatten(-1, (-1, 3))

    def embed(self, encoder: Encoder, patches: UInt8[Tensor, "B K p C"]) -> Float[Tensor, "B K D"]:
        """The encoder's map of tubelets, as a matrix product."""
        x = (patches.float() / 255 - self.mean) / self.std
        weight = encoder.patch_embed.proj.weight.permute(0, 2, 3, 4, 1).flatten(1)
        return F.linear(x.flatten(2), weight, encoder.patch_embed.proj.bias)

    def targets(self, patches: UInt8[Tensor, "B M p C"]) -> Float[Tensor, "B M P"]:
        """Pixels normalised by tubelet and channel."""
        x = patches.float() / 255
        std, mean = torch.std_mean(x, dim=2, keepdim=True)
        return ((x - mean) / (std + 1e-6)).flatten(2)

    def motion(self, clips: UInt8[Tensor, "B T H W C"]) -> Float[Tensor, "B N"]:
        """Length of every tubelet's frame difference."""
        x = clips.float() / (255 * self.std)
        difference = x[:, 1:] - x[:, :-1]
        squares = torch.cat([difference[:, :1], difference], dim=1).square().sum(-1, keepdim=True)
        return patchify(squares.permute(0, 4, 1, 2, 3), self.patch_size).sum(-1).sqrt()


class PretrainingLoss(nn.Module):
    """Eq. 3 of two views."""

    def __init__(self, config: ConfigDict, model: MV2MAE):
        super().__init__()
        self.model = model
        self.pixels = Pixels(config)
        self.temperature = config.objective.temperature
        self.cross_view = config.objective.cross_view
        grid = tubelet_grid(config.data.num_frames, config.data.image_size, self.pixels.patch_size)
        self.masked = num_masked(config.masking.kind, config.masking.ratio, grid)

    def forward(
        self, clips: UInt8[Tensor, "B 2 T H W C"], hidden: Bool[Tensor, "B 2 N"]
    ) -> Float[Tensor, ""]:
        model, clips = self.model, clips.flatten(0, 1)
        order = hidden.flatten(0, 1).byte().argsort(dim=-1)  # visible first
        visible, masked = order[:, : -self.masked], order[:, -self.masked :]
        with torch.no_grad():
            patches = self.pixels.patches(clips)
            target = self.pixels.targets(pick(patches, masked))
            weights = torch.softmax(self.pixels.motion(clips) / self.temperature, dim=1)
            weights = weights.gather(1, masked) * weights.shape[1]

        x = self.pixels.embed(model.encoder, pick(patches, visible))
        x = x + model.encoder.positions[visible].to(x.dtype)
        for block in model.encoder.blocks:
            x = block(x)
        shown = model.encoder_to_decoder(model.encoder.norm(x))
        positions = model.decoder_positions.to(shown.dtype)
        shown = shown + positions[visible]
        tokens = torch.cat([shown, model.mask_token.to(shown.dtype) + positions[masked]], dim=1)
        other = shown.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)

        def loss_of(prediction: Tensor) -> Tensor:
            error = (prediction.float() - target).square().mean(2)
            return 2 * (weights * error).mean()  # summed over the views

        loss = loss_of(decode(model.decoder, tokens, self.masked))
        across = decode(model.cross_view_decoder, tokens, self.masked, other)
        return loss + self.cross_view * loss_of(across)


class ClassificationLoss(nn.Module):
    """Cross-entropy with label smoothing."""

    def __init__(self, config: ConfigDict, model: Classifier):
        super().__init__()
        self.model = model
        self.pixels = Pixels(config)
        self.smoothing = config.finetune.label_smoothing

    def forward(
        self, clips: UInt8[Tensor, "B T H W C"], labels: Int[Tensor, " B"]
    ) -> Float[Tensor, ""]:
        model = self.model
        x = self.pixels.embed(model, self.pixels.patches(clips))
        x = x + model.positions.to(x.dtype)
        for block in model.blocks:
            x = block(x)
        logits = model.head(model.fc_norm(x.float().mean(1)))
        return F.cross_entropy(logits.float(), labels, label_smoothing=self.smoothing)


def decode(
    decoder: Decoder, x: Float[Tensor, "B N D"], masked: int, *memory: Float[Tensor, "B K D"]
) -> Float[Tensor, "B M P"]:
    """Pixels of the last `masked` tokens."""
    *before, last = decoder.blocks
    for block in before:
        x = block(x, *memory)
    if isinstance(last, CrossViewBlock):
        x = x + last.cross_attn(last.norm_query(x), last.norm_memory(*memory))
    assert isinstance(last, Block)
    normed = last.norm1(x)
    x = x[:, -masked:] + last.attn(normed[:, -masked:], normed)
    x = x + last.mlp(last.norm2(x))
    return decoder.head(decoder.norm(x))


def pick(x: Tensor, index: Int[Tensor, "B K"]) -> Tensor:
    """[B N ...] to [B K ...], clip by clip."""
    return x[torch.arange(len(x), device=x.device)[:, None], index]
