"""The pre-training loss from bytes, against the same written out view by view."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from einops import repeat
from flax import nnx

from benchmarks.training import Training
from configs.mannequin import get_config
from mv2mae_jax.losses import (
    draw_masks,
    pretraining_loss,
    reconstruction_target,
    token_weights,
)
from mv2mae_jax.model import build
from mv2mae_jax.model.variants import VARIANTS, Variant
from mv2mae_jax.objective import motion_history, motion_weights, normalize_pixels
from mv2mae_jax.training.step import sample_keys


def small_config(**objective):
    config = get_config()
    config.data.image_size, config.data.num_frames = 16, 4
    config.model.patch_size = (2, 8, 8)
    config.objective.update(objective)
    return config


def batch_of(views: int) -> dict:
    rng = np.random.default_rng(views)
    return {"clips": jnp.asarray(rng.integers(0, 256, (3, views, 4, 16, 16, 3)), jnp.uint8)}


KEYS = sample_keys(0, jnp.arange(3))


@pytest.mark.parametrize("targets", ["pixels", "normalized"])
@pytest.mark.parametrize("views", [1, 2, 3])
def test_loss_written_out(targets: str, views: int):
    config = small_config(targets=targets, temperature=3.0, cross_view=0.5)
    model = build.pretraining_model(config, nnx.Rngs(0))
    batch = batch_of(views)
    loss, metrics = pretraining_loss(config, model, batch, KEYS)

    mask = draw_masks(config, KEYS, views)
    mean, std = np.array(config.data.mean), np.array(config.data.std)
    clips = np.asarray(batch["clips"], np.float64) / 255
    normalized = (clips - mean) / std
    cut = normalized.reshape(3, views, 2, 2, 2, 8, 2, 8, 3).transpose(0, 1, 2, 4, 6, 3, 5, 7, 8)
    patches = cut.reshape(3, views, 8, 384)
    predicted = model(jnp.asarray(patches, jnp.float32), mask)
    total = 0.0
    for prediction, scale in ((predicted.self_view, 1.0), (predicted.cross_view, 0.5)):
        if prediction is None:
            continue
        for b in range(3):
            for v in range(views):
                moved = np.abs(np.diff(normalized[b, v], axis=0))
                moved = np.concatenate([moved[:1], moved])
                for place, token in enumerate(np.asarray(mask.masked[b, v])):
                    t, h, w = np.unravel_index(token, (2, 2, 2))
                    area = np.s_[8 * h : 8 * h + 8, 8 * w : 8 * w + 8]
                    target = clips[b, v, 2 * t : 2 * t + 2, *area]
                    if targets == "normalized":
                        deviation = target.std(axis=(0, 1, 2), ddof=1)
                        target = (target - target.mean(axis=(0, 1, 2))) / (deviation + 1e-6)
                    norms = np.sqrt(
                        (moved**2).reshape(2, 2, 2, 8, 2, 8, 3).sum(axis=(1, 3, 5, 6)).ravel()
                    )
                    weights = np.exp(norms / 3.0) / np.exp(norms / 3.0).sum() * 8
                    error = (np.asarray(prediction[b, v, place]) - target.ravel()) ** 2
                    masked = mask.masked.shape[-1]
                    total += scale * weights[token] * error.mean() / masked / 3
    assert float(loss) == pytest.approx(total, rel=1e-4)
    assert ("cross_view" in metrics) == ("self_view_source" in metrics) == (views > 1)


def test_literal_weights_are_smaller_by_the_number_of_tokens():
    batch = batch_of(2)
    mean_one, literal = (small_config(weight_scale=scale) for scale in ("mean_one", "literal"))
    model = build.pretraining_model(mean_one, nnx.Rngs(0))
    one, _ = pretraining_loss(mean_one, model, batch, KEYS)
    other, _ = pretraining_loss(literal, model, batch, KEYS)
    assert float(one) == pytest.approx(8 * float(other), rel=1e-5)


def test_space_of_the_motion_scales_the_temperature():
    """Differences in 0..255 at 255 tau are those in [0, 1] at tau; channels count alike in both."""
    clips = batch_of(1)["clips"][:, 0]
    masked = jnp.arange(5)[None].repeat(3, axis=0)

    def weights(space: str, temperature: float) -> np.ndarray:
        config = small_config(motion_space=space, temperature=temperature)
        normalized = normalize_pixels(clips, config.data.mean, config.data.std)
        return np.asarray(token_weights(config, normalized, masked))

    np.testing.assert_allclose(weights("bytes", 255 * 2.0), weights("unit", 2.0), rtol=1e-4)
    by_hand = np.asarray(motion_weights(jnp.asarray(clips) / 255.0, (2, 8, 8), 2.0)) * 8
    np.testing.assert_allclose(weights("unit", 2.0), by_hand, rtol=1e-4)
    assert np.abs(weights("normalized", 2.0) - weights("unit", 2.0)).max() > 0.01


def test_softmax_over_masked_tokens_alone():
    clips = normalize_pixels(batch_of(1)["clips"][:, 0], (0.5,) * 3, (0.2,) * 3)
    masked = jnp.array([[0, 3, 5], [7, 1, 2], [4, 5, 6]])
    every = token_weights(small_config(temperature=3.0), clips, masked)
    alone = token_weights(small_config(temperature=3.0, softmax_over="masked"), clips, masked)
    hidden = jnp.take_along_axis(every, masked, axis=1)
    expected = 3 * hidden / hidden.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(jnp.take_along_axis(alone, masked, axis=1), expected, rtol=1e-5)
    np.testing.assert_allclose(alone.sum(axis=1), 3, rtol=1e-5)
    flat = token_weights(small_config(temperature=np.inf, softmax_over="masked"), clips, masked)
    np.testing.assert_array_equal(jnp.take_along_axis(flat, masked, axis=1), 1)


def test_motion_history_is_a_choice():
    clips = normalize_pixels(batch_of(1)["clips"][:, 0], (0.5,) * 3, (0.2,) * 3)
    config = small_config(motion="motion_history", motion_threshold=3.5, temperature=2.0)
    ours = token_weights(config, clips, jnp.zeros((3, 1), jnp.int32))
    feature = motion_history(clips, 3.5)
    np.testing.assert_allclose(ours, 8 * motion_weights(clips, (2, 8, 8), 2.0, lambda _: feature))
    assert 0 < float((feature == 1).mean()) < 1


def test_tubes_are_the_same_places_in_every_time_step():
    config = small_config()
    config.masking.kind, config.masking.ratio = "tube", 0.5
    places = np.sort(draw_masks(config, KEYS, 2).masked, axis=-1) % 4
    np.testing.assert_array_equal(places[..., :2], places[..., 2:])


def test_shared_masks():
    config = small_config()
    config.masking.views = "shared"
    mask = draw_masks(config, KEYS, 3)
    assert mask.masked.shape[:2] == (3, 3)
    assert (mask.masked == mask.masked[:, :1]).all()
    assert not (mask.masked[0] == mask.masked[1]).all()


def test_pixel_targets_are_the_clip_in_0_1():
    config = small_config(targets="pixels")
    patches = build.clip_patches(config, batch_of(2)["clips"][:, 0])
    target = reconstruction_target(config, patches)
    assert 0 <= float(target.min()) < 0.01
    assert 0.99 < float(target.max()) <= 1.0 + 1e-6


def test_masks_of_views_and_samples_differ_and_do_not_depend_on_the_batch():
    config = small_config()
    mask = draw_masks(config, KEYS, 2)
    assert mask.masked.shape == (3, 2, 5)
    assert not (mask.masked[:, 0] == mask.masked[:, 1]).all()
    alone = draw_masks(config, KEYS[1:2], 2)
    assert (alone.masked[0] == mask.masked[1]).all()


@pytest.mark.parametrize(
    ("views", "masked"),
    [
        ("independent", [[[6, 7, 1, 2, 3], [0, 1, 4, 7, 2]], [[6, 5, 2, 4, 1], [5, 0, 4, 3, 7]]]),
        ("shared", [[[6, 7, 1, 2, 3]] * 2, [[6, 5, 2, 4, 1]] * 2]),
    ],
)
def test_masks_of_a_seed_and_a_sample_stay(views: str, masked: list):
    """A run that goes on hides what it would have hidden."""
    config = small_config()
    config.masking.views = views
    keys = sample_keys(7, jnp.array([12345, 12346]))
    assert draw_masks(config, keys, 2).masked.tolist() == masked


def test_gradients_reach_every_parameter():
    config = small_config()
    graph, state = nnx.split(build.pretraining_model(config, nnx.Rngs(0)), nnx.Param)

    def loss(state: nnx.State):
        return pretraining_loss(config, nnx.merge(graph, state), batch_of(2), KEYS)[0]

    for path, gradient in nnx.to_flat_state(jax.grad(loss)(state)):
        assert float(jnp.abs(gradient[...]).max()) > 0, path


@pytest.mark.parametrize("views", [1, 2, 3])
def test_health_written_out(views: int):
    config = small_config(temperature=3.0, cross_view=0.5)
    model = build.pretraining_model(config, nnx.Rngs(0))
    batch = batch_of(views)
    loss_of = jax.jit(lambda batch: pretraining_loss(config, model, batch, KEYS))
    loss, metrics = loss_of(batch)
    parts = ("self_view", "cross_view") if views > 1 else ("self_view",)
    for part in parts:
        whole = metrics[f"{part}_target"]
        if views > 1:
            assert metrics[f"{part}_source"] != metrics[f"{part}_target"]
            whole += (views - 1) * metrics[f"{part}_source"]
        assert float(metrics[part]) == pytest.approx(float(whole), rel=1e-5)
    cross = metrics.get("cross_view", 0.0)
    assert float(loss) == pytest.approx(float(metrics["self_view"] + 0.5 * cross), rel=1e-6)

    # The target's self-view term does not depend on what the other views show.
    other = batch["clips"].at[:, 1:].set(128)
    _, with_other = loss_of({"clips": other})
    np.testing.assert_allclose(
        with_other["self_view_target"], metrics["self_view_target"], rtol=1e-5
    )
    if views > 1:
        assert abs(with_other["self_view_source"] - metrics["self_view_source"]) > 1e-3

    hidden, spread = [], []
    masked = np.asarray(draw_masks(config, KEYS, views).masked).reshape(3 * views, -1)
    clips = batch["clips"].reshape(3 * views, *batch["clips"].shape[2:])
    normalized = (np.asarray(clips) / 255 - config.data.mean) / config.data.std
    shares = np.asarray(motion_weights(jnp.asarray(normalized), (2, 8, 8), 3.0), np.float64)
    for clip_shares, places in zip(shares, masked, strict=True):
        hidden.append(clip_shares[places].sum())
        spread.append(np.exp(-(clip_shares * np.log(clip_shares)).sum()))
    assert float(metrics["masked_motion"]) == pytest.approx(np.mean(hidden), rel=1e-5)
    assert float(metrics["effective_patches"]) == pytest.approx(np.mean(spread), rel=1e-5)


def test_what_only_the_source_shows_only_the_cross_view_decoder_learns(monkeypatch):
    """Tubelets of random colours, of which none tells another; the source has the same."""
    sizes = dict(width=32, depth=1, heads=2, decoder_width=32, decoder_heads=2, decoder_depth=1)
    monkeypatch.setitem(VARIANTS, "mini", Variant(**sizes))
    config = small_config(temperature=np.inf)
    config.model.patch_size, config.masking.ratio = (4, 4, 4), 0.5
    config.batch_size, config.epochs = 32, 300
    config.optimizer.base_learning_rate, config.optimizer.warmup_epochs = 0.08, 0.0

    def batch(step: int) -> dict:
        colours = np.random.default_rng(step).integers(0, 256, (32, 4, 4, 3), np.uint8)
        clips = repeat(colours, "b h w c -> b 2 4 (h p) (w q) c", p=4, q=4)
        return {"clips": clips, "index": 32 * step + np.arange(32, dtype=np.int32)}

    every = Training(config).on(map(batch, range(300)))
    own, crossed = (
        np.mean([metrics[f"{name}_view_target"] for metrics in every[-50:]])
        for name in ("self", "cross")
    )
    variance = 1 / 12  # of colours from 0 to 1, which is what guessing their mean costs
    assert own == pytest.approx(variance, rel=0.02)
    assert crossed < 0.8 * own
