"""A frozen encoder: tokens and clip features of a trained run, for probes and other programs."""

import copy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8
from ml_collections import ConfigDict

from mv2mae_jax.errors import InputError
from mv2mae_jax.model import build
from mv2mae_jax.model.layers import LayerNorm
from mv2mae_jax.training.checkpoints import load_parameters
from mv2mae_jax.training.parameters import Parameters, split

Clips = UInt8[np.ndarray, "B T H W C"]


class FrozenEncoder:
    """An encoder with fixed parameters, from bytes to features.

    The norm after the last block is the one that the encoder was trained with: of pre-training,
    or of a classifier.
    """

    def __init__(self, config: ConfigDict, parameters: Parameters):
        data = config.data
        self.config = config
        self.clip_shape = (data.num_frames, data.image_size, data.image_size, 3)
        self._parameters = parameters
        prefix = "encoder_norm" if "encoder_norm.scale" in parameters else "norm"
        encoder, _ = split(build.encoder(config, nnx.Rngs(0)))
        norm, _ = split(LayerNorm(parameters[f"{prefix}.scale"].shape[0], rngs=nnx.Rngs(0)))

        def tokens(parameters: Parameters, clips: Array, pool: bool) -> Array:
            encode = encoder.bind(_below("encoder", parameters))
            normalize = norm.bind(_below(prefix, parameters))
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
        """Features of every tubelet of a clip.

        Raises:
          InputError: the clips have not the shape or type that the encoder was trained with.
        """
        return np.asarray(self._apply(self._parameters, self._checked(clips), False))

    def encode(self, clips: Clips) -> Float[np.ndarray, "B D"]:
        """One feature vector a clip: the mean over its tubelets.

        Raises:
          InputError: the clips have not the shape or type that the encoder was trained with.
        """
        return np.asarray(self._apply(self._parameters, self._checked(clips), True))

    def _checked(self, clips: Clips) -> Clips:
        clips = np.asarray(clips)
        if clips.dtype != np.uint8 or clips.shape[1:] != self.clip_shape:
            raise InputError(
                f"the encoder takes uint8 clips of shape (B, {', '.join(map(str, self.clip_shape))}"
                f"), not {clips.dtype} of shape {clips.shape}"
            )
        return clips


def load_encoder(path: str | Path) -> FrozenEncoder:
    """The encoder of a pre-training or fine-tuning work directory.

    Raises:
      InputError: there is no checkpoint.
    """
    parameters, config = load_parameters(path)
    return FrozenEncoder(config, parameters)


def random_encoder(config: ConfigDict) -> FrozenEncoder:
    """The encoder as it is before pre-training."""
    _, parameters = split(build.pretraining_model(config, nnx.Rngs(config.seed)))
    return FrozenEncoder(config, parameters)


def _below(prefix: str, parameters: Parameters) -> Parameters:
    start = prefix + "."
    return {name.removeprefix(start): x for name, x in parameters.items() if name.startswith(start)}
