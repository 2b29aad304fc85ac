"""Pictures show what they say, and nothing that the model could not know."""

import subprocess
import sys

import cv2
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from runs import save_run

from configs.mannequin import get_config
from mv2mae_jax.data.samples import PretrainingDraw
from mv2mae_jax.errors import InputError
from mv2mae_jax.model import build
from mv2mae_jax.objective import normalize_patches, patch_statistics
from mv2mae_jax.training.parameters import split
from mv2mae_jax.visualize.reconstruct import (
    HIDDEN,
    reconstruct,
    reconstruct_unseen,
    surrounding_statistics,
)
from mv2mae_jax.visualize.reconstruction import describe, reconstruction_sections
from mv2mae_jax.visualize.rows import overlay
from mv2mae_jax.visualize.training_clips import Clip


@pytest.fixture(scope="module")
def config():
    config = get_config()
    config.data.num_frames, config.data.image_size = 4, 16
    config.model.patch_size = (2, 8, 8)
    config.objective.targets = "normalized"
    return config


@pytest.fixture(scope="module")
def parameters(config):
    return split(build.pretraining_model(config, nnx.Rngs(0)))[1]


def named(clips):
    """Samples of what is in the clips."""
    draw = PretrainingDraw(["left", "right"], np.arange(4), [])
    return [Clip(f"a{n}", "walk", draw, views) for n, views in enumerate(clips)]


def test_hidden_pixels_do_not_show_through(config, parameters):
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


def test_the_truth_shows_through_only_where_asked_for(config, parameters):
    """Hidden tubelets of another grey than the visible ones get it with the truth alone."""
    clips = np.full((1, 2, 4, 16, 16, 3), 60, np.uint8)
    hidden = (reconstruct(config, parameters, clips).masked == HIDDEN).all(axis=-1, keepdims=True)
    clips = np.where(hidden, 200, clips).astype(np.uint8)
    for statistics, grey in (("visible", 60), ("truth", 200)):
        pictures = reconstruct(config, parameters, clips, statistics)
        of_hidden = pictures.cross_view[np.broadcast_to(hidden, clips.shape)]
        np.testing.assert_allclose(of_hidden, grey / 255, atol=1e-5)


def test_a_single_view_is_reconstructed_from_itself(config, parameters):
    """By the same values: without the cross-view decoder, the self-view decoder says the same."""
    clips = np.random.default_rng(1).integers(0, 256, (1, 2, 4, 16, 16, 3)).astype(np.uint8)
    both = reconstruct(config, parameters, clips)
    config = config.copy_and_resolve_references()
    config.objective.cross_view = 0.0
    own = {name: x for name, x in parameters.items() if not name.startswith("cross_view_decoder.")}
    np.testing.assert_allclose(reconstruct(config, own, clips).self_view, both.self_view, atol=1e-5)
    config.data.num_views = 1
    [(title, rows)] = reconstruction_sections(config, own, named(clips[:, :1]), [0.7])
    assert title == "walk · a0 · target view: left"
    labels = ["target view", "70% masked", "self-view\ndecoder", "error of\nself-view"]
    assert list(rows) == labels
    error = np.abs(rows["self-view\ndecoder"] - rows["target view"])
    np.testing.assert_array_equal(rows["error of\nself-view"], error)
    with pytest.raises(InputError, match="without cross-view decoder"):
        reconstruction_sections(config, own, named(clips[:, :1]), [1.0])


def test_statistics_undo_the_normalisation():
    pixels = jnp.asarray(np.random.default_rng(0).random((1, 2, 24)), jnp.float32)
    mean, std = patch_statistics(pixels)
    normalized = normalize_patches(pixels).reshape(1, 2, 8, 3)
    np.testing.assert_allclose((normalized * std + mean).reshape(1, 2, 24), pixels, atol=1e-5)


def test_an_unseen_target_is_predicted_from_what_is_visible_of_its_source(config, parameters):
    clips = np.random.default_rng(0).integers(0, 256, (1, 2, 4, 16, 16, 3)).astype(np.uint8)
    picture = reconstruct_unseen(config, parameters, clips)
    assert (picture.masked[:, 0] == HIDDEN).all()
    hidden = (picture.masked[:, 1] == HIDDEN).all(axis=-1, keepdims=True)
    assert 0.5 < hidden.mean() < 0.75

    def predicted(target: np.ndarray, source: np.ndarray) -> np.ndarray:
        others = np.stack([target, source], axis=1).astype(np.uint8)
        return reconstruct_unseen(config, parameters, others).cross_view

    source = clips[:, 1]
    unseen = predicted(255 - clips[:, 0], np.where(hidden, 255 - source, source))
    np.testing.assert_allclose(unseen, picture.cross_view, atol=1e-5)
    seen = predicted(clips[:, 0], np.where(hidden, source, 255 - source))
    assert np.abs(seen - picture.cross_view).max() > 0.01
    visible = source[np.broadcast_to(~hidden, source.shape)].reshape(-1, 3) / 255
    means = picture.cross_view.mean(axis=(0, 1, 2, 3))
    np.testing.assert_allclose(means, visible.mean(axis=0), atol=0.25)


def test_every_ratio_has_its_sections_and_the_masks_of_its_own(config, parameters):
    clips = np.full((2, 2, 4, 16, 16, 3), 60, np.uint8)
    titles, sections = zip(
        *reconstruction_sections(config, parameters, named(clips), [0.25, 1.0]), strict=True
    )
    assert titles[2] == "walk · a0 · target view: left, source view: right"
    assert titles == (titles[0],) * 3 + (titles[3],) * 3 and "a1" in titles[3]
    first = [next(iter(rows)) for rows in sections]
    assert first[:3] == first[3:] == ["target view", "source view", "source view"]
    shares = [(rows["25% masked"] == HIDDEN).all(axis=-1).mean() for rows in sections[:2]]
    assert shares == [0.25, 0.25]
    of_source = sections[2]["source view,\n70% masked"]
    assert (of_source == HIDDEN).all(axis=-1).mean() == 5 / 8  # floor(0.7 x 8): the run's ratio
    with pytest.raises(InputError, match=r"ratio=0.01 masks 0 of 8"):
        reconstruction_sections(config, parameters, named(clips), [0.01])


def test_the_picture_says_where_its_contrast_is_from(config):
    assert "the model cannot know" in describe(config, [0.5], "truth")
    assert "guessed from the visible tubelets around it" in describe(config, [0.5])
    assert describe(config, [1.0]).endswith("where all of the target is masked")
    config = config.copy_and_resolve_references()
    config.objective.targets = "pixels"
    assert "contrast" not in describe(config, [0.5, 1.0])


def test_statistics_come_from_the_nearest_visible_tubelets():
    visible = jnp.array([[0, 3]])  # of a grid of 1 x 1 x 4
    pixels = jnp.array([[[0.0, 0.2], [0.6, 1.0]]]).repeat(3, axis=-1)  # two pixels, three channels
    mean, std = surrounding_statistics(pixels, visible, jnp.array([[1, 2]]), (1, 1, 4))
    near, far = 1.0, 2.0**-4  # inverse fourth powers of the distances 1 and 2
    first = pixels.reshape(1, 2, 2, 3).mean(axis=2)[0]
    expected = (near * first[0] + far * first[1]) / (near + far)
    np.testing.assert_allclose(mean[0, 0, 0], expected, rtol=1e-6)
    deviations = np.array([0.2, 0.4]) / np.sqrt(2)  # of two values, unbiased
    expected = (near * deviations[0] + far * deviations[1]) / (near + far)
    np.testing.assert_allclose(std[0, 0, 0], expected, rtol=1e-5)


def test_overlay_is_brightest_where_the_weight_is_largest():
    weights = np.array([0.1, 0.4, 0.4, 0.1])
    shown = overlay(np.ones((2, 4, 4, 3)), weights, (2, 2, 2), (1, 2, 2))
    assert (shown[:, :2, 2:] == 1).all()
    assert (shown[:, :2, :2] < 0.5).all()


@pytest.mark.parametrize("picture", ["motion", "reconstruction"])
def test_the_command_draws(mannequin_dir, tmp_path, config, picture):
    config.data.data_dir = str(mannequin_dir)
    model = build.pretraining_model(config, nnx.Rngs(0))
    save_run(tmp_path, config, split(model)[1])
    out = tmp_path / "pictures" / "out.png"
    words = ["-m", "mv2mae_jax.visualize", picture, f"--workdir={tmp_path}", f"--out={out}"]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert cv2.imread(str(out)).std() > 10
