"""The fine-tuning model: the encoder over all tubelets, mean pooling and a linear classifier."""

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from mv2mae_jax.model.encoder import Encoder
from mv2mae_jax.model.grid import Grid
from mv2mae_jax.model.layers import LayerNorm, linear
from mv2mae_jax.model.variants import Variant

truncated_normal = nnx.initializers.truncated_normal(0.02)


def head_init(key: Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Array:
    """The other maps' initial values times 0.001: training starts at uniform predictions."""
    return 0.001 * truncated_normal(key, shape, dtype)


class Classifier(nnx.Module):
    """Action recognition by global average pooling (Section 3.4)."""

    def __init__(
        self,
        variant: Variant,
        grid: Grid,
        pixels: int,
        num_classes: int,
        *,
        positions: str = "flattened",
        drop_path: float = 0.0,
        dtype: DTypeLike = jnp.float32,
        remat: bool = False,
        rngs: nnx.Rngs,
    ):
        """Args as of `Encoder`."""
        self.encoder = Encoder(
            variant,
            grid,
            pixels,
            positions=positions,
            drop_path=drop_path,
            dtype=dtype,
            remat=remat,
            kernel_init=truncated_normal,
            rngs=rngs,
        )
        self.norm = LayerNorm(variant.width, rngs=rngs)
        self.head = linear(variant.width, num_classes, kernel_init=head_init, rngs=rngs)

    def __call__(
        self, patches: Float[Array, "B N P"], *, keys: Key[Array, " B"] | None = None
    ) -> Float[Array, "B classes"]:
        """Logits, float32. `keys`, one a clip, draw the dropped branches in training."""
        tokens = self.encoder(patches, keys=keys)
        pooled = tokens.astype(jnp.float32).mean(axis=1)
        return self.head(self.norm(pooled))
