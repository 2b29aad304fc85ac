"""The method's networks as PyTorch modules, with the weights that an export for PyTorch has.

They carry what VideoMAE's classes cannot: separable positions, and the cross-view decoder. Names of
parameters are MCG-NJU's, as `names.to_tensors` gives them; a classifier's encoder stands, as there,
at the top. Initial values are PyTorch's own: the modules are for trained weights. JAX is not
imported.

    encoder = load("exported")
    encoder.features(encoder.normalize(clips))  # uint8 [B T H W C] -> [B D]
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, UInt8
from ml_collections import ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

from mv2mae_jax.errors import InputError
from mv2mae_jax.interop.files import read_stored
from mv2mae_jax.interop.names import Tensors
from mv2mae_jax.model.grid import Grid, PatchSize, tubelet_grid
from mv2mae_jax.model.positions import position_table
from mv2mae_jax.model.variants import VARIANTS, Variant


class Reconstruction(NamedTuple):
    """Predicted pixels of every view's masked tubelets, in ascending order of their places."""

    self_view: Float[Tensor, "B V M P"]
    cross_view: Float[Tensor, "B V M P"] | None  # from all other views; None without any


def layer_norm(width: int) -> nn.LayerNorm:
    """With VideoMAE's eps."""
    return nn.LayerNorm(width, eps=1e-6)


class Attention(nn.Module):
    """Multi-head attention from queries `x` to a memory, by default to `x` itself.

    Query, key and value are one map; the key has no bias.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "B Q D"], memory: Float[Tensor, "B K D"] | None = None
    ) -> Float[Tensor, "B Q D"]:
        k_bias = torch.zeros_like(self.v_bias)
        if memory is None:
            bias = torch.cat([self.q_bias, k_bias, self.v_bias])
            q, k, v = F.linear(x, self.qkv.weight, bias).chunk(3, dim=-1)
        else:
            width = x.shape[-1]
            q_weight, kv_weight = self.qkv.weight.split([width, 2 * width])
            q = F.linear(x, q_weight, self.q_bias)
            k, v = F.linear(memory, kv_weight, torch.cat([k_bias, self.v_bias])).chunk(2, dim=-1)
        heads = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))
        return self.proj(self.attend(*heads).transpose(1, 2).flatten(2))

    def attend(
        self, q: Float[Tensor, "B h Q d"], k: Float[Tensor, "B h K d"], v: Float[Tensor, "B h K d"]
    ) -> Float[Tensor, "B h Q d"]:
        """Of every head."""
        return F.scaled_dot_product_attention(q, k, v)


class Mlp(nn.Module):
    """Two linear maps with an exact GELU between them, four times as wide inside."""

    def __init__(self, width: int):
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Self-attention, then MLP; each pre-norm and residual."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1 = layer_norm(width)
        self.attn = Attention(width, heads)
        self.norm2 = layer_norm(width)
        self.mlp = Mlp(width)

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class CrossViewBlock(Block):
    """Cross-attention to the source views, then a block."""

    def __init__(self, width: int, heads: int):
        super().__init__(width, heads)
        self.norm_query = layer_norm(width)
        self.norm_memory = layer_norm(width)
        self.cross_attn = Attention(width, heads)

    def forward(  # type: ignore[override]  # a memory besides
        self, x: Float[Tensor, "B N D"], memory: Float[Tensor, "B K D"]
    ) -> Float[Tensor, "B N D"]:
        x = x + self.cross_attn(self.norm_query(x), self.norm_memory(memory))
        return super().forward(x)


class PatchEmbed(nn.Module):
    """One linear map of every tubelet, as a strided convolution."""

    def __init__(self, width: int, patch_size: PatchSize):
        super().__init__()
        self.proj = nn.Conv3d(3, width, kernel_size=patch_size, stride=patch_size)

    def forward(self, clips: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B N D"]:
        return self.proj(clips).flatten(2).transpose(1, 2)


class Shape(NamedTuple):
    """What all modules of a run have in common.

    Attributes:
      variant: sizes.
      grid: tubelets along time, height and width.
      patch_size: frames, height and width of a tubelet.
      positions: `flattened` or `separable`.
      mean: of the colours that its weights were trained on, in [0, 1].
      std: their standard deviations.
    """

    variant: Variant
    grid: Grid
    patch_size: PatchSize
    positions: str
    mean: Sequence[float]
    std: Sequence[float]


class OfPixels(nn.Module):
    """Knows how the pixels are normalised that its weights were trained on."""

    mean: Tensor
    std: Tensor

    def __init__(self, shape: Shape):
        super().__init__()
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(getattr(shape, name)), persistent=False)

    def normalize(self, clips: UInt8[Tensor, "*B T H W C"]) -> Float[Tensor, "*B C T H W"]:
        """Clips as the other methods take them, of RGB bytes."""
        return ((clips.float() / 255 - self.mean) / self.std).movedim(-1, -4)


class Encoder(OfPixels):
    """Tubelets and their places through the blocks; what follows them is the subclasses' own."""

    positions: Tensor

    def __init__(self, shape: Shape):
        super().__init__(shape)
        variant = shape.variant
        self.patch_embed = PatchEmbed(variant.width, shape.patch_size)
        self.blocks = nn.ModuleList(
            Block(variant.width, variant.heads) for _ in range(variant.depth)
        )
        _add_positions(self, shape, variant.width)

    def encode(
        self, clips: Float[Tensor, "B C T H W"], hidden: Bool[Tensor, "B N"] | None = None
    ) -> Float[Tensor, "B K D"]:
        """The last block's output.

        Args:
          clips: as of `normalize`.
          hidden: tubelets that are left out, as many of each clip; None: none.
        """
        x = self.patch_embed(clips) + self.positions
        if hidden is not None:
            x = _pick(x, ~hidden)
        for block in self.blocks:
            x = block(x)
        return x

    def read_out(
        self, encoded: Float[Tensor, "B N D"]
    ) -> tuple[Float[Tensor, "B N D"], Float[Tensor, "B D"]]:
        """Features of every tubelet, and of the clip, from the last block's output."""
        raise NotImplementedError

    def tokens(self, clips: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B N D"]:
        """Features of every tubelet of clips as of `encode`."""
        return self.read_out(self.encode(clips))[0]

    def features(self, clips: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B D"]:
        """One feature vector a clip, of clips as of `encode`."""
        return self.read_out(self.encode(clips))[1]


class VisionTransformer(Encoder):
    """The encoder of pre-training, with its final norm; a classifier's encoder has none."""

    def __init__(self, shape: Shape, *, final_norm: bool = True):
        super().__init__(shape)
        self.norm = layer_norm(shape.variant.width) if final_norm else nn.Identity()

    def read_out(
        self, encoded: Float[Tensor, "B N D"]
    ) -> tuple[Float[Tensor, "B N D"], Float[Tensor, "B D"]]:
        tokens = self.norm(encoded)
        return tokens, tokens.mean(dim=1)

    def forward(
        self, clips: Float[Tensor, "B C T H W"], hidden: Bool[Tensor, "B N"] | None = None
    ) -> Float[Tensor, "B K D"]:
        """Normalised tokens; args as of `encode`."""
        return self.norm(self.encode(clips, hidden))


class Classifier(Encoder):
    """Mean over all tokens, a norm and a linear map."""

    def __init__(self, shape: Shape, *, num_classes: int):
        super().__init__(shape)
        self.fc_norm = layer_norm(shape.variant.width)
        self.head = nn.Linear(shape.variant.width, num_classes)

    def read_out(
        self, encoded: Float[Tensor, "B N D"]
    ) -> tuple[Float[Tensor, "B N D"], Float[Tensor, "B D"]]:
        return self.fc_norm(encoded), self.fc_norm(encoded.mean(dim=1))

    def forward(self, clips: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B classes"]:
        """Logits of clips as of `encode`."""
        return self.head(self.features(clips))


class Decoder(nn.Module):
    """Blocks on all tokens; norm and head on the masked ones, which come last."""

    def __init__(self, block: type[Block], variant: Variant, pixels: int):
        super().__init__()
        width, heads = variant.decoder_width, variant.decoder_heads
        self.blocks = nn.ModuleList(block(width, heads) for _ in range(variant.decoder_depth))
        self.norm = layer_norm(width)
        self.head = nn.Linear(width, pixels)

    def forward(
        self, x: Float[Tensor, "B N D"], num_masked: int, *memory: Float[Tensor, "B K D"]
    ) -> Float[Tensor, "B M P"]:
        for block in self.blocks:
            x = block(x, *memory)
        return self.head(self.norm(x[:, -num_masked:]))


class MV2MAE(OfPixels):
    """Multi-view video masked autoencoder: encoder, self-view decoder and cross-view decoder.

    Every one of the V views of an activity is a target in its turn, and all others its sources.
    """

    decoder_positions: Tensor

    def __init__(self, shape: Shape, *, cross_view: bool = True, separate_projectors: bool = False):
        """Args:
        shape: of the run.
        cross_view: whether there is a cross-view decoder.
        separate_projectors: whether it has a projector and a mask token of its own.
        """
        super().__init__(shape)
        variant = shape.variant
        width, decoder_width = variant.width, variant.decoder_width
        pixels = 3 * math.prod(shape.patch_size)
        self.has_cross_view = cross_view
        self.separate_projectors = cross_view and separate_projectors
        self.encoder = VisionTransformer(shape)
        self.encoder_to_decoder = nn.Linear(width, decoder_width, bias=False)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_width))
        self.decoder = Decoder(Block, variant, pixels)
        if cross_view:
            self.cross_view_decoder = Decoder(CrossViewBlock, variant, pixels)
        if self.separate_projectors:
            self.cross_view_encoder_to_decoder = nn.Linear(width, decoder_width, bias=False)
            self.cross_view_mask_token = nn.Parameter(torch.zeros(1, 1, decoder_width))
        _add_positions(self, shape, decoder_width, name="decoder_positions")

    def tokens(self, clips: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B N D"]:
        """Features of every tubelet of clips as of `Encoder.encode`."""
        return self.encoder.tokens(clips)

    def features(self, clips: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B D"]:
        """One feature vector a clip, of clips as of `Encoder.encode`."""
        return self.encoder.features(clips)

    def forward(
        self, clips: Float[Tensor, "B V C T H W"], hidden: Bool[Tensor, "B V N"]
    ) -> Reconstruction:
        """Reconstructs the hidden tubelets of every view.

        Args:
          clips: V synchronised views, each as of `Encoder.encode`.
          hidden: the tubelets to reconstruct, as many of each view.
        """
        batch, views, _ = hidden.shape
        hidden = hidden.flatten(0, 1)
        masked = int(hidden[0].sum())
        visible = self.encoder(clips.flatten(0, 1), hidden)
        tokens = self._decoder_tokens(visible, hidden, self.encoder_to_decoder, self.mask_token)
        self_view = self.decoder(tokens, masked).unflatten(0, (batch, views))
        if views == 1 or not self.has_cross_view:
            return Reconstruction(self_view, None)
        if self.separate_projectors:
            own = self.cross_view_encoder_to_decoder, self.cross_view_mask_token
            tokens = self._decoder_tokens(visible, hidden, *own)
        memory = tokens[:, :-masked].unflatten(0, (batch, views))
        # Row v lists the views other than v.
        others = [[u for u in range(views) if u != v] for v in range(views)]
        memory = memory[:, others].flatten(2, 3).flatten(0, 1)
        cross_view = self.cross_view_decoder(tokens, masked, memory)
        return Reconstruction(self_view, cross_view.unflatten(0, (batch, views)))

    def _decoder_tokens(
        self,
        visible: Float[Tensor, "B K E"],
        hidden: Bool[Tensor, "B N"],
        projector: nn.Module,
        mask_token: Float[Tensor, "1 1 D"],
    ) -> Float[Tensor, "B N D"]:
        """What a decoder reads: projected visible tokens, then mask tokens, with positions."""
        positions = self.decoder_positions.expand(len(visible), -1, -1)
        shown = projector(visible) + _pick(positions, ~hidden)
        return torch.cat([shown, mask_token + _pick(positions, hidden)], dim=1)


Exported = MV2MAE | VisionTransformer | Classifier


def load(folder: str | Path) -> Exported:
    """The module of a folder that `convert export --format pytorch` wrote, ready to evaluate.

    Returns:
      A classifier, the whole pre-training model, or its encoder where the rest was left out.

    Raises:
      InputError: the folder has no weights, or not such an export's.
    """
    stored = read_stored(folder)
    if stored.origin is None or stored.options:
        raise InputError(
            f"{folder} is not what `convert export --format pytorch` writes; for another model's "
            "weights, import them and export that"
        )
    try:
        return build(stored.origin.config, stored.tensors)
    except InputError as error:
        raise InputError(f"{folder}: {error}") from error


def build(config: ConfigDict, tensors: Tensors) -> Exported:
    """The module that these tensors are of, with them in it.

    Args:
      config: of the run.
      tensors: by the names of `names.to_tensors` for MCG-NJU's programs.

    Raises:
      InputError: the tensors are not those of a model of this config.
    """
    shape = _shape(config)
    module: Exported
    if "encoder_to_decoder.weight" in tensors:
        module = MV2MAE(
            shape,
            cross_view="cross_view_decoder.norm.weight" in tensors,
            separate_projectors="cross_view_mask_token" in tensors,
        )
    else:
        tensors = {name.removeprefix("encoder."): value for name, value in tensors.items()}
        if "head.weight" in tensors:
            module = Classifier(shape, num_classes=len(tensors["head.weight"]))
        else:
            module = VisionTransformer(shape, final_norm="norm.weight" in tensors)
    _check_same(tensors, module.state_dict())
    module.load_state_dict({name: torch.from_numpy(x) for name, x in tensors.items()})
    return module.eval()


def _shape(config: ConfigDict) -> Shape:
    model, data = config.model, config.data
    patch_size = tuple(model.patch_size)
    grid = tubelet_grid(data.num_frames, data.image_size, patch_size)
    return Shape(VARIANTS[model.variant], grid, patch_size, model.positions, data.mean, data.std)


def _check_same(tensors: Tensors, expected: Mapping[str, Any]) -> None:
    if odd := sorted(tensors.keys() ^ expected.keys()):
        what = "is missing" if odd[0] in expected else "is unknown"
        raise InputError(f"{odd[0]} {what} among the weights of the run's model")
    for name, value in expected.items():
        shape, wanted = tensors[name].shape, tuple(value.shape)
        if shape != wanted:
            raise InputError(f"{name} has shape {shape}, but in the run's model {wanted}")


def _add_positions(module: nn.Module, shape: Shape, width: int, name: str = "positions") -> None:
    """A constant of the shape, never stored."""
    table = torch.from_numpy(position_table(shape.positions, shape.grid, width))
    module.register_buffer(name, table, persistent=False)


def _pick(x: Float[Tensor, "B N D"], chosen: Bool[Tensor, "B N"]) -> Float[Tensor, "B K D"]:
    """The chosen tokens, as many of each clip, in ascending order."""
    return x[chosen].unflatten(0, (len(x), -1))
