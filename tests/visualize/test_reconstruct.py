"""Pictures show what they say, and nothing that the model could not know."""

import subprocess
import sys

import cv2
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs.mannequin import get_config
from mv2mae_jax.model import build
from mv2mae_jax.training.checkpoints import Checkpoints
from mv2mae_jax.training.parameters import split
from mv2mae_jax.visualize.reconstruct import reconstruct, surrounding_statistics
from mv2mae_jax.visualize.rows import overlay


@pytest.fixture(scope="module")
def config():
    config = get_config()
    config.data.num_frames, config.data.image_size = 4, 16
    config.model.patch_size = (2, 8, 8)
    config.objective.targets = "normalized"
    return config


def test_hidden_pixels_do_not_show_through(config):
    _, parameters = split(build.pretraining_model(config, nnx.Rngs(0)))
    rng = np.random.default_rng(0)
    clips = rng.integers(0, 256, (1, 2, 4, 16, 16, 3)).astype(np.uint8)
    pictures = reconstruct(config, parameters, clips)
    np.testing.assert_allclose(pictures.input, clips / 255, atol=1e-6)
    hidden = (pictures.masked == 0.5).all(axis=-1, keepdims=True)
    assert 0.5 < hidden.mean() < 0.75
    for picture in (pictures.self_view, pictures.cross_view):
        np.testing.assert_array_equal(picture * ~hidden, pictures.input * ~hidden)
    others = np.where(hidden, 255 - clips, clips).astype(np.uint8)
    again = reconstruct(config, parameters, others)
    np.testing.assert_allclose(again.self_view, pictures.self_view, atol=1e-5)
    np.testing.assert_allclose(again.cross_view, pictures.cross_view, atol=1e-5)


def test_statistics_come_from_the_nearest_visible_tubelets():
    visible = jnp.array([[0, 3]])  # of a grid of 1 x 1 x 4
    pixels = jnp.array([[[0.0, 0.2], [0.6, 1.0]]]).repeat(3, axis=-1)  # two pixels, three channels
    mean, _ = surrounding_statistics(pixels, visible, jnp.array([[1, 2]]), (1, 1, 4))
    near, far = 1.0, 2.0**-4  # inverse fourth powers of the distances 1 and 2
    first = pixels.reshape(1, 2, 2, 3).mean(axis=2)[0]
    expected = (near * first[0] + far * first[1]) / (near + far)
    np.testing.assert_allclose(mean[0, 0, 0], expected, rtol=1e-6)


def test_overlay_is_brightest_where_the_weight_is_largest():
    weights = np.array([0.1, 0.4, 0.4, 0.1])
    shown = overlay(np.ones((2, 4, 4, 3)), weights, (2, 2, 2), (1, 2, 2))
    assert (shown[:, :2, 2:] == 1).all()
    assert (shown[:, :2, :2] < 0.5).all()


@pytest.mark.parametrize("picture", ["motion", "reconstruction"])
def test_the_command_draws(mannequin_dir, tmp_path, config, picture):
    config.data.data_dir = str(mannequin_dir)
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        model = build.pretraining_model(config, nnx.Rngs(0))
        checkpoints.save(1, {"parameters": split(model)[1]}, config)
    out = tmp_path / "pictures" / "out.png"
    words = ["-m", "mv2mae_jax.visualize", picture, f"--workdir={tmp_path}", f"--out={out}"]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert cv2.imread(str(out)).std() > 10
