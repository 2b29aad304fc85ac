"""A frozen encoder gives what the model it comes from computes."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import mv2mae_jax
from configs.mannequin import get_config
from mv2mae_jax.errors import InputError
from mv2mae_jax.evaluation.features import FrozenEncoder
from mv2mae_jax.model import build
from mv2mae_jax.training.checkpoints import Checkpoints
from mv2mae_jax.training.parameters import split


def small_config():
    config = get_config()
    config.data.num_frames, config.data.image_size = 4, 16
    config.model.patch_size = (2, 8, 8)
    return config


CLIPS = np.random.default_rng(0).integers(0, 256, (3, 4, 16, 16, 3)).astype(np.uint8)


def test_a_classifiers_features_are_what_its_head_reads():
    config = small_config()
    model = build.classifier(config, 5, nnx.Rngs(0))
    _, parameters = split(model)
    encoder = FrozenEncoder(config, parameters)
    logits = model(build.clip_patches(config, jnp.asarray(CLIPS)))
    features = encoder.encode(CLIPS)
    assert features.shape == (3, 128)
    np.testing.assert_allclose(model.head(jnp.asarray(features)), logits, atol=1e-6)


def test_a_pretrained_encoder_from_its_work_directory(tmp_path):
    config = small_config()
    model = build.pretraining_model(config, nnx.Rngs(0))
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(1, {"parameters": split(model)[1]}, config)
    encoder = mv2mae_jax.load_encoder(tmp_path)
    tokens = encoder.tokens(CLIPS)
    patches = build.clip_patches(config, jnp.asarray(CLIPS))
    np.testing.assert_allclose(tokens, model.encoder_norm(model.encoder(patches)), atol=1e-5)
    assert tokens.shape == (3, 2 * 2 * 2, 128)
    np.testing.assert_allclose(encoder.encode(CLIPS), tokens.mean(axis=1), atol=1e-5)


@pytest.mark.parametrize("clips", [CLIPS.astype(np.float32), CLIPS[:, :2], CLIPS[0]])
def test_other_clips_are_refused(clips: np.ndarray):
    config = small_config()
    _, parameters = split(build.pretraining_model(config, nnx.Rngs(0)))
    with pytest.raises(InputError, match=r"uint8 clips of shape \(B, 4, 16, 16, 3\)"):
        FrozenEncoder(config, parameters).encode(clips)


def test_no_checkpoint_is_one_line(tmp_path):
    with pytest.raises(InputError, match="no checkpoints"):
        mv2mae_jax.load_encoder(tmp_path)
