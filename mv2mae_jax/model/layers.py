"""Pre-norm transformer layers in VideoMAE's convention.

Attention has a query and a value bias and no key bias; LayerNorm's eps is 1e-6; GELU is exact.
Activations have the dtype of the input, normalisation and softmax statistics are float32.
"""

import contextlib
import math
from collections.abc import Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jax.experimental.xla_metadata import set_xla_metadata
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

xavier = nnx.initializers.xavier_uniform()

_platform: ContextVar[str | None] = ContextVar("platform", default=None)


def linear(
    fan_in: int,
    fan_out: int,
    *,
    rngs: nnx.Rngs,
    use_bias: bool = True,
    kernel_init: nnx.Initializer = xavier,
    bias_init: nnx.Initializer = jax.nn.initializers.zeros,
) -> nnx.Linear:
    """A linear map with float32 parameters that computes in the dtype of its input."""
    return nnx.Linear(
        fan_in,
        fan_out,
        use_bias=use_bias,
        kernel_init=kernel_init,
        bias_init=bias_init,
        promote_dtype=_in_dtype_of_input,
        rngs=rngs,
    )


def _in_dtype_of_input(arrays: tuple[Any, ...], /, **_: Any) -> Any:
    return tuple(None if a is None else a.astype(arrays[0].dtype) for a in arrays)


class LayerNorm(nnx.LayerNorm):
    """LayerNorm with eps 1e-6 and float32 statistics; the output has the input's dtype."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        super().__init__(width, epsilon=1e-6, use_fast_variance=False, rngs=rngs)

    def __call__(  # type: ignore[override]  # no mask
        self, x: Float[Array, "*B D"]
    ) -> Float[Array, "*B D"]:
        def normalized(x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
            return super(LayerNorm, self).__call__(x.astype(jnp.float32)).astype(x.dtype)

        # The statistics are cheap: only x is kept for the backward pass.
        return jax.checkpoint(normalized, prevent_cse=False)(x)


class Attention(nnx.Module):
    """Multi-head attention from queries `x` to a memory (itself, or another view's tokens)."""

    def __init__(
        self, width: int, heads: int, *, kernel_init: nnx.Initializer = xavier, rngs: nnx.Rngs
    ):
        self.heads = heads
        third_init = one_of_three(kernel_init)
        self.query = linear(width, width, kernel_init=third_init, rngs=rngs)
        self.key = linear(width, width, use_bias=False, kernel_init=third_init, rngs=rngs)
        self.value = linear(width, width, kernel_init=third_init, rngs=rngs)
        self.out = linear(width, width, kernel_init=kernel_init, rngs=rngs)

    def __call__(
        self, x: Float[Array, "B Q D"], memory: Float[Array, "B K D"]
    ) -> Float[Array, "B Q D"]:
        return self.out(self.mix(x, memory))

    def mix(self, x: Float[Array, "B Q D"], memory: Float[Array, "B K D"]) -> Float[Array, "B Q D"]:
        """The heads' weighted values, before the output projection."""
        value = self._split(self.value(memory))
        mixed = jnp.matmul(self.weights(x, memory), value)
        return rearrange(mixed, "b h q d -> b q (h d)")

    def weights(
        self, x: Float[Array, "B Q D"], memory: Float[Array, "B K D"]
    ) -> Float[Array, "B heads Q K"]:
        """Softmax over the memory, for every head and query."""
        query = self._split(self.query(x))
        key = self._split(self.key(memory))
        scale = query.shape[-1] ** -0.5
        scores = jnp.matmul(query * scale, key.swapaxes(-1, -2))
        return jax.nn.softmax(scores.astype(jnp.float32), axis=-1).astype(x.dtype)

    def _split(self, x: Float[Array, "B N D"]) -> Float[Array, "B heads N d"]:
        # Heads lead, so that each is one contiguous matrix: up to 1.7 times faster on a CPU.
        return rearrange(x, "b n (h d) -> b h n d", h=self.heads)


class Mlp(nnx.Module):
    """Two linear maps with an exact GELU between them, four times as wide inside."""

    def __init__(self, width: int, *, kernel_init: nnx.Initializer = xavier, rngs: nnx.Rngs):
        self.up = linear(width, 4 * width, kernel_init=kernel_init, rngs=rngs)
        self.down = linear(4 * width, width, kernel_init=kernel_init, rngs=rngs)

    def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
        return self.down(gelu(self.up(x)))


@jax.custom_vjp
def gelu(x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
    """The exact GELU; only x is kept for the backward pass."""
    return jax.nn.gelu(x, approximate=False)


def _gelu_forward(x: Array) -> tuple[Array, Array]:
    return gelu(x), x


def _gelu_backward(x: Array, gradient: Array) -> tuple[Array]:
    z = x.astype(jnp.float32)
    below = 0.5 * jax.lax.erfc(-math.sqrt(0.5) * z)  # distribution function of the normal
    density = jnp.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    return ((gradient * (below + z * density)).astype(x.dtype),)


gelu.defvjp(_gelu_forward, _gelu_backward)


def drop_path(
    branch: Float[Array, "B N D"], rate: float, keys: Key[Array, " B"] | None
) -> Float[Array, "B N D"]:
    """Stochastic depth: drops a residual branch clip by clip, and scales up the ones it keeps.

    Args:
      branch: the residual branch of B clips.
      rate: probability to drop.
      keys: one key a clip, so that the draw does not depend on the batch; None keeps all.
    """
    if keys is None or rate == 0:
        return branch
    keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - rate))(keys)
    return branch * (keep / (1 - rate)).astype(branch.dtype)[:, None, None]


def fold_in(keys: Key[Array, " B"] | None, number: int) -> Key[Array, " B"] | None:
    """A new key from each key and a number; None stays None."""
    return None if keys is None else jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)


class Block(nnx.Module):
    """Self-attention, then MLP; each pre-norm and residual."""

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        drop_path: float = 0.0,
        kernel_init: nnx.Initializer = xavier,
        rngs: nnx.Rngs,
    ):
        self.norm1 = LayerNorm(width, rngs=rngs)
        self.attention = Attention(width, heads, kernel_init=kernel_init, rngs=rngs)
        self.norm2 = LayerNorm(width, rngs=rngs)
        self.mlp = Mlp(width, kernel_init=kernel_init, rngs=rngs)
        self.rate = drop_path

    def __call__(
        self,
        x: Float[Array, "B N D"],
        *,
        first: int = 0,
        keys: Key[Array, " B"] | None = None,
    ) -> Float[Array, "B N-{first} D"]:
        """The block's output for the tokens from `first` on; all tokens are attended to.

        `keys`, one a clip, draw the dropped branches in training.
        """
        normed = self.norm1(x)
        mixed = self.attention(normed[:, first:], normed)
        x = x[:, first:] + drop_path(mixed, self.rate, fold_in(keys, 0))
        return x + drop_path(self.mlp(self.norm2(x)), self.rate, fold_in(keys, 1))


def call_block(
    block: nnx.Module, *inputs: Array, remat: bool, inline: bool, first: int = 0, **keys: Any
) -> Array:
    """The output of a block, as a function of its own in the program.

    Blocks alike are traced once. For a CPU the compiler is told to keep the function too: inlined,
    the residual stream, which is a sum over all earlier branches, would be fused into each of its
    readers and added up again there (docs/performance.md). Other devices lose by it.

    Args:
      block: the block.
      *inputs: of its call.
      remat: whether the backward pass runs the block a second time and nothing is kept for it.
      inline: whether it is part of the caller after all, so that what is inside can be watched.
      first: the first token that is wanted.
      **keys: of its call.
    """
    if inline:
        return block(*inputs, first=first, **keys)
    graph, state = nnx.split(block)
    on_cpu = (_platform.get() or jax.default_backend()) == "cpu"
    with set_xla_metadata(inlineable="false") if on_cpu else contextlib.nullcontext():
        return _called(graph, remat, first, state, *inputs, **keys)


@contextlib.contextmanager
def compiled_for(platform: str) -> Iterator[None]:
    """What is traced within is for devices of this platform, and not for this process's own."""
    token = _platform.set(platform)
    try:
        yield
    finally:
        _platform.reset(token)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _called(
    graph: nnx.GraphDef[Any], remat: bool, first: int, state: Any, *inputs: Array, **keys: Any
) -> Array:
    def call(state: Any, *inputs: Array, **keys: Any) -> Array:
        return nnx.merge(graph, state)(*inputs, first=first, **keys)

    return (jax.checkpoint(call) if remat else call)(state, *inputs, **keys)


def torch_conv_init(fan_in: int) -> nnx.Initializer:
    """PyTorch's default for a convolution's weight and bias: uniform within 1 / sqrt(fan-in)."""
    bound = fan_in**-0.5

    def init(key: Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def one_of_three(kernel_init: nnx.Initializer) -> nnx.Initializer:
    """A third of a map's outputs, drawn as of the whole: VideoMAE's q, k, v are one linear map."""

    def init(key: Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Array:
        fan_in, fan_out = shape
        return kernel_init(key, (fan_in, 3 * fan_out), dtype)[:, :fan_out]

    return init
