"""A frozen encoder gives what the model it comes from computes."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from runs import save_run

import mv2mae_jax
from configs.mannequin import get_config
from mv2mae_jax.errors import InputError
from mv2mae_jax.evaluation.features import CLIPS_AT_ONCE, FrozenEncoder
from mv2mae_jax.model import build
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
    save_run(tmp_path, config, split(model)[1])
    encoder = mv2mae_jax.load_encoder(tmp_path)
    tokens = encoder.tokens(CLIPS)
    patches = build.clip_patches(config, jnp.asarray(CLIPS))
    np.testing.assert_allclose(tokens, model.encoder_norm(model.encoder(patches)), atol=1e-5)
    assert tokens.shape == (3, 2 * 2 * 2, 128)
    np.testing.assert_allclose(encoder.encode(CLIPS), tokens.mean(axis=1), atol=1e-5)


@pytest.mark.parametrize(
    ("clips", "found"),
    [
        (CLIPS / np.float32(255), "float32 of shape .* with values from 0 to 1"),
        (CLIPS.astype(np.int64), r"int64 of shape \(3, 4"),
        (CLIPS[:, :2], r"uint8 of shape \(3, 2, 16, 16, 3\)"),
        (CLIPS[0], r"uint8 of shape \(4, 16, 16, 3\)"),
        ([CLIPS[0], CLIPS[0, :2]], ""),
        (CLIPS[:0], r"uint8 of shape \(0, 4"),
    ],
)
def test_other_clips_are_refused(clips: np.ndarray, found: str):
    config = small_config()
    _, parameters = split(build.pretraining_model(config, nnx.Rngs(0)))
    message = rf"uint8 from 0 to 255, of shape \(B, 4, 16, 16, 3\).*not {found}"
    with pytest.raises(InputError, match=message if found else "as one array"):
        FrozenEncoder(config, parameters).encode(clips)


def test_any_number_of_clips_gives_the_same_features():
    """More than fit on the device at once, and a last part that is not full."""
    config = small_config()
    _, parameters = split(build.pretraining_model(config, nnx.Rngs(0)))
    encoder = FrozenEncoder(config, parameters)
    many = np.random.default_rng(1).integers(
        0, 256, (CLIPS_AT_ONCE + 3, *CLIPS.shape[1:]), np.uint8
    )
    alone = np.concatenate([encoder.encode(clip[None]) for clip in many])
    np.testing.assert_allclose(encoder.encode(many), alone, atol=1e-6)
    assert encoder.tokens(many).shape == (CLIPS_AT_ONCE + 3, 8, 128)


def test_the_size_of_clips_is_another_and_a_possible_one(tmp_path):
    """In float32, whatever the run's activities were."""
    config = small_config()
    config.model.dtype = "bfloat16"
    _, parameters = split(build.pretraining_model(config, nnx.Rngs(0)))
    save_run(tmp_path, config, parameters)
    larger = mv2mae_jax.load_encoder(tmp_path, num_frames=np.int64(6), image_size=24)
    assert larger.clip_shape == (6, 24, 24, 3)
    config.model.dtype = "float32"
    expected = FrozenEncoder(config, parameters).encode(CLIPS)
    np.testing.assert_array_equal(mv2mae_jax.load_encoder(tmp_path).encode(CLIPS), expected)
    for sizes in ({"num_frames": 0}, {"image_size": -8}, {"image_size": "16"}, {"num_frames": 4.0}):
        with pytest.raises(InputError, match="it is a whole number, 1 or more"):
            mv2mae_jax.load_encoder(tmp_path, **sizes)
    with pytest.raises(InputError, match="not a multiple of the tubelet's 8"):
        mv2mae_jax.load_encoder(tmp_path, image_size=20)


def test_no_checkpoint_is_one_line(tmp_path):
    with pytest.raises(InputError, match="neither checkpoints, as a work directory"):
        mv2mae_jax.load_encoder(tmp_path)
