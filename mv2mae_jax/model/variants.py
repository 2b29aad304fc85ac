"""Sizes of the encoder by name (Table 8), and of the decoders that go with them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Variant:
    """Widths, depths and heads; an MLP is four times as wide as its block."""

    width: int
    depth: int
    heads: int
    decoder_width: int
    decoder_heads: int
    decoder_depth: int = 4


VARIANTS = {
    "mini": Variant(
        width=128, depth=4, heads=4, decoder_width=64, decoder_heads=2, decoder_depth=1
    ),
    "tiny": Variant(width=192, depth=12, heads=3, decoder_width=96, decoder_heads=3),
    "small": Variant(width=384, depth=12, heads=6, decoder_width=192, decoder_heads=3),
    "base": Variant(width=768, depth=12, heads=12, decoder_width=384, decoder_heads=6),
    "large": Variant(width=1024, depth=24, heads=16, decoder_width=512, decoder_heads=8),
}
