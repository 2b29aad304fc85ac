"""A frozen encoder: tokens and clip features of a trained run, for probes and other programs."""

import copy
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jaxtyping import Array, Float, UInt8
from ml_collections import ConfigDict

from mv2mae_jax.check import check_tubelets
from mv2mae_jax.errors import InputError
from mv2mae_jax.interop.models import load_model
from mv2mae_jax.model import build
from mv2mae_jax.model.layers import LayerNorm
from mv2mae_jax.training.parameters import Parameters, definition_of, initial

CLIPS_AT_ONCE = 16

Clips = UInt8[np.ndarray, "B T H W C"]


class FrozenEncoder:
    """An encoder with fixed parameters, from bytes to features.

    The norm after the last block is the one that the encoder was trained with: of pre-training,
    or of a classifier. An encoder that came without either has none.
    """

    def __init__(self, config: ConfigDict, parameters: Parameters):
        data = config.data
        self.config = config
        self.clip_shape = (data.num_frames, data.image_size, data.image_size, 3)
        self._parameters = parameters
        prefix = next((x for x in ("encoder_norm", "norm") if f"{x}.scale" in parameters), None)
        width = parameters["encoder.embed.bias"].shape[0]
        encoder = definition_of(partial(build.encoder, config))
        encoder.check(_below("encoder", parameters))
        norm = definition_of(lambda rngs: LayerNorm(width, rngs=rngs))

        def tokens(parameters: Parameters, clips: Array, pool: bool) -> Array:
            encode = encoder.bind(_below("encoder", parameters))
            normalize = norm.bind(_below(prefix, parameters)) if prefix else lambda x: x
            x = encode(build.clip_patches(config, clips)).astype(jnp.float32)
            if not pool:
                return normalize(x)
            pools_first = prefix == "norm"  # a classifier pools, then normalises
            return normalize(x.mean(axis=1)) if pools_first else normalize(x).mean(axis=1)

        self._apply = jax.jit(tokens, static_argnums=2)

    def with_parameters(self, parameters: Parameters) -> "FrozenEncoder":
        """The same encoder with other values of its parameters; nothing is compiled again."""
        other = copy.copy(self)
        other._parameters = parameters
        return other

    def tokens(self, clips: Clips) -> Float[np.ndarray, "B N D"]:
        """Features of every tubelet of a clip, in the order (t h w).

        Raises:
          InputError: the clips have not the shape or type that the encoder takes.
        """
        return self._in_parts(clips, pool=False)

    def encode(self, clips: Clips) -> Float[np.ndarray, "B D"]:
        """One feature vector a clip: the mean over its tubelets.

        Raises:
          InputError: the clips have not the shape or type that the encoder takes.
        """
        return self._in_parts(clips, pool=True)

    def _in_parts(self, clips: Clips, pool: bool) -> Float[np.ndarray, "B *N D"]:
        """Many clips take no more memory of the device than CLIPS_AT_ONCE; one shape for all."""
        clips = self._checked(clips)
        parts = []
        for start in range(0, len(clips), CLIPS_AT_ONCE):
            part = clips[start : start + CLIPS_AT_ONCE]
            missing = CLIPS_AT_ONCE - len(part) if start else 0
            filled = np.pad(part, [(0, missing), *[(0, 0)] * 4])
            parts.append(np.asarray(self._apply(self._parameters, filled, pool))[: len(part)])
        return np.concatenate(parts)

    def _checked(self, clips: Clips) -> Clips:
        try:
            clips = np.asarray(clips)
        except (RuntimeError, TypeError, ValueError) as error:
            raise InputError(f"the encoder takes clips as one array ({error})") from error
        if clips.dtype == np.uint8 and clips.shape[1:] == self.clip_shape and len(clips):
            return clips
        shape = ", ".join(map(str, self.clip_shape))
        found = f"{clips.dtype} of shape {clips.shape}"
        if np.issubdtype(clips.dtype, np.floating) and clips.size:
            found += f" with values from {clips.min():g} to {clips.max():g}"
        raise InputError(
            f"the encoder takes one or more clips of bytes, uint8 from 0 to 255, of shape "
            f"(B, {shape}): frames, height, width, RGB; not {found}"
        )


def load_encoder(
    path: epath.PathLike, *, num_frames: int | None = None, image_size: int | None = None
) -> FrozenEncoder:
    """The encoder of a run, of an export, or of VideoMAE's released weights, in float32.

    Args:
      path: a work directory; a folder that `mv2mae_jax.convert export` wrote, or Hugging Face's; a
        file of weights (`interop/files.py: READERS`).
      num_frames: of the clips it will be given; None: as in training, as far as `path` says so,
        otherwise 16, as of all released weights.
      image_size: their height and width; None: as in training, otherwise 224.

    Raises:
      InputError: nothing can be read there, it is another encoder than this package's, or clips of
        such a size cannot be cut into its tubelets.
    """
    parameters, config, *_ = load_model(path)
    config.model.dtype = "float32"
    for name, size in (("num_frames", num_frames), ("image_size", image_size)):
        if size is not None:
            if not isinstance(size, int | np.integer) or size < 1:
                raise InputError(f"{name}={size}; it is a whole number, 1 or more")
            config.data[name] = int(size)
    check_tubelets(config)
    return FrozenEncoder(config, parameters)


def random_encoder(config: ConfigDict) -> FrozenEncoder:
    """The encoder as a pre-training without `init_from` starts with it."""
    make_model = partial(build.pretraining_model, config)
    _, parameters = initial(make_model, jax.random.key(config.seed))
    return FrozenEncoder(config, parameters)


def _below(prefix: str, parameters: Parameters) -> Parameters:
    start = prefix + "."
    return {name.removeprefix(start): x for name, x in parameters.items() if name.startswith(start)}
