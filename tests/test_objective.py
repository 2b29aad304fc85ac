"""The objective against a transcription in PyTorch, and against numbers worked out by hand."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
import torch
from einops import rearrange
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import torch_reference
from mv2mae_jax import objective

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Compiled as a whole, a new shape takes less time than operation by operation.
motion_weights = jax.jit(objective.motion_weights, static_argnums=(1, 2))
patchify = jax.jit(objective.patchify, static_argnums=1)
unpatchify = jax.jit(objective.unpatchify, static_argnums=(1, 2))
normalize_patches = jax.jit(objective.normalize_patches, static_argnums=1)
reconstruction_loss = jax.jit(objective.reconstruction_loss)

sizes = st.integers(1, 3)
patch_sizes = st.tuples(sizes, sizes, sizes)


@st.composite
def clips(draw: st.DrawFn) -> tuple[np.ndarray, tuple[int, int, int]]:
    """A random clip [B T H W C] of at least two frames, and a patch size that divides it."""
    patch_size = draw(patch_sizes)
    batch, channels = draw(st.integers(1, 2)), draw(sizes)
    t, h, w = draw(st.tuples(sizes, sizes, sizes).filter(lambda grid: grid[0] * patch_size[0] > 1))
    shape = (batch, t * patch_size[0], h * patch_size[1], w * patch_size[2], channels)
    clip = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).normal(size=shape)
    return clip.astype(np.float32), patch_size


def to_torch(clip: np.ndarray) -> torch.Tensor:
    """[B T H W C] to [B C T H W]."""
    return torch.from_numpy(clip).permute(0, 4, 1, 2, 3)


@settings(deadline=None, max_examples=8)
@given(clips(), st.floats(0.1, 1000))
def test_motion_weights_equal_algorithm_1(clip_and_patch, temperature):
    clip, patch_size = clip_and_patch
    ours = motion_weights(jnp.array(clip), patch_size, temperature)
    mean_one = torch_reference.motion_weights(to_torch(clip), patch_size, temperature)
    theirs = mean_one / mean_one.shape[1]
    np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-7)
    np.testing.assert_allclose(ours.sum(axis=1), 1, rtol=1e-5)


def jumping() -> jax.Array:
    """Two tubelets in time, two in width, each 2 frames x 1 x 1 pixel x 2 channels.

    Left: both channels jump by 3 between frames 0 and 1. The difference (3, 3) stands at frames 0
    (repeated) and 1, so the first tubelet's norm is sqrt(4 * 9) = 6 and the second's 0.
    Right: one channel jumps by 4 between frames 2 and 3: 0 in the first tubelet, 4 in the second.
    Norms in token order (t h w): 6, 0, 0, 4. With tau = 2 / ln 2, exp(norm / tau) = 2^(norm / 2):
    8, 1, 1, 4.
    """
    left = [[0, 0], [3, 3], [3, 3], [3, 3]]
    right = [[1, 5], [1, 5], [1, 5], [1, 1]]
    return jnp.array([left, right], jnp.float32).transpose(1, 0, 2)[None, :, None]


def test_motion_weights_by_hand():
    weights = objective.motion_weights(jumping(), (2, 1, 1), 2 / np.log(2))
    np.testing.assert_allclose(weights, [[8 / 14, 1 / 14, 1 / 14, 4 / 14]], rtol=1e-6)


def test_motion_weights_among_some_tubelets_by_hand():
    some = jnp.array([[3, 0]])
    weights = objective.motion_weights(jumping(), (2, 1, 1), 2 / np.log(2), among=some)
    np.testing.assert_allclose(weights, [[8 / 12, 0, 0, 4 / 12]], rtol=1e-6)


def test_low_temperature_follows_motion_and_high_temperature_ignores_it():
    clip = np.zeros((1, 16, 64, 64, 3), np.float32)
    clip[:, 8:, 16:32, 32:48] = 1.0  # one place appears at once in the middle of the clip
    sharp = objective.motion_weights(jnp.array(clip), temperature=1.0)
    moving = np.ravel_multi_index((4, 1, 2), (8, 4, 4))
    assert sharp.argmax() == moving and sharp.max() > 0.99
    flat = objective.motion_weights(jnp.array(clip), temperature=jnp.inf)
    np.testing.assert_array_equal(flat, 1 / 128)


def test_defaults_are_the_papers():
    clip = jnp.array(np.random.default_rng(0).normal(size=(1, 4, 32, 32, 3)), jnp.float32)
    weights = objective.motion_weights(clip)
    np.testing.assert_array_equal(weights, objective.motion_weights(clip, (2, 16, 16), 60.0))
    assert weights.shape == (1, 8) and weights.max() > weights.min()
    patches = objective.patchify(clip, (2, 16, 16))
    targets = objective.normalize_patches(patches)
    np.testing.assert_array_equal(targets, objective.normalize_patches(patches, 3, 1e-6))


@settings(deadline=None, max_examples=8)
@given(clips())
def test_patchify_equals_permutation_and_is_inverted(clip_and_patch):
    clip, patch_size = clip_and_patch
    patches = patchify(jnp.array(clip), patch_size)
    np.testing.assert_array_equal(patches, torch_reference.patchify(to_torch(clip), patch_size))
    grid = tuple(n // p for n, p in zip(clip.shape[1:4], patch_size, strict=True))
    np.testing.assert_array_equal(unpatchify(patches, patch_size, grid), clip)


def test_patch_order_by_hand():
    """Pixels carry their frame, row, column and channel as decimal digits."""
    t, h, w, c = np.indices((4, 2, 4, 2))
    clip = jnp.array(1000 * t + 100 * h + 10 * w + c, jnp.float32)[None]
    patches = objective.patchify(clip, (2, 1, 2))
    assert patches.shape == (1, 8, 8)
    assert patches[0, 0].tolist() == [0, 1, 10, 11, 1000, 1001, 1010, 1011]
    assert patches[0, :, 0].tolist() == [0, 20, 100, 120, 2000, 2020, 2100, 2120]


def test_motion_history_by_hand():
    """One pixel, five frames: it moves at frame 1 (which also stands for frame 0) and at 4."""
    clip = jnp.array([0.0, 1.0, 1.2, 1.2, 3.0]).reshape(1, 5, 1, 1, 1)
    history = objective.motion_history(clip, threshold=0.5)
    np.testing.assert_allclose(history.ravel(), [1, 1, 0.8, 0.6, 1], rtol=1e-6)
    at_threshold = objective.motion_history(clip[:, :2] / 2, threshold=0.5)
    assert not at_threshold.any()  # more than that counts
    still = objective.motion_history(jnp.zeros((1, 4, 2, 2, 3)), threshold=0.5)
    assert still.shape == (1, 4, 2, 2, 1) and not still.any()


def test_motion_history_equals_the_recursion():
    """H(t) = 1 where something moves, else max(0, H(t - 1) - 1 / T) (Bobick and Davis, Eq. 3)."""
    clip = np.random.default_rng(0).normal(size=(2, 7, 4, 4, 3)).astype(np.float32)
    change = np.abs(np.diff(clip, axis=1, prepend=clip[:, :1])).max(axis=-1)
    change[:, 0] = change[:, 1]
    history = np.zeros((2, 4, 4))
    ours = np.asarray(objective.motion_history(jnp.array(clip), threshold=2.0))
    for time in range(7):
        history = np.where(change[:, time] > 2.0, 1, np.maximum(0, history - 1 / 7))
        np.testing.assert_allclose(ours[:, time, ..., 0], history, atol=1e-6)


def test_any_feature_of_the_pixels_can_weigh():
    """As optical flow would: two channels a pixel, of norm 5 in one tubelet, 0 elsewhere."""

    def flow(clip):
        x = jnp.zeros((*clip.shape[:-1], 2))
        return x.at[:, 0, 0, 0].set(jnp.array([3.0, 4.0]))

    weights = objective.motion_weights(jnp.zeros((1, 2, 2, 2, 3)), (2, 1, 1), 5.0, flow)
    np.testing.assert_allclose(weights[0, 0] / weights[0, 1], np.e, rtol=1e-6)


@settings(deadline=None, max_examples=8)
@given(clips())
def test_targets_equal_transcription(clip_and_patch):
    clip, _ = clip_and_patch
    patch_size, channels = (clip.shape[1], *clip.shape[2:4]), clip.shape[-1]
    if np.prod(patch_size) == 1:
        return  # the unbiased variance of one pixel is not defined
    patches = patchify(jnp.array(clip), patch_size)
    theirs = torch_reference.targets(to_torch(clip), patch_size)
    ours = normalize_patches(patches, channels)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_targets_normalise_each_channel_by_itself():
    """A channel's scale and offset do not reach the targets, and its unbiased variance is one."""
    patches = np.random.default_rng(0).uniform(size=(2, 3, 32)).astype(np.float32)
    scaled = rearrange(patches, "b n (p c) -> b n p c", c=2) * [100.0, 0.1] + [5.0, -7.0]
    targets = objective.normalize_patches(jnp.array(patches), channels=2)
    of_scaled = objective.normalize_patches(
        jnp.array(rearrange(scaled, "b n p c -> b n (p c)"), jnp.float32), channels=2
    )
    np.testing.assert_allclose(of_scaled, targets, atol=1e-3)
    by_channel = rearrange(np.array(targets), "b n (p c) -> b n c p", c=2)
    np.testing.assert_allclose(by_channel.mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(by_channel.var(-1, ddof=1), 1, rtol=1e-4)


def test_targets_of_a_constant_tubelet_are_zero():
    np.testing.assert_array_equal(objective.normalize_patches(jnp.full((1, 2, 24), 0.25)), 0)


def test_eps_of_the_targets_stands_outside_the_root():
    """Pixels -d and d: variance 2 d^2, so the target is d / (sqrt(2) d + eps)."""
    d = 1e-6
    targets = objective.normalize_patches(jnp.array([[[-d, d]]]), channels=1)
    np.testing.assert_allclose(targets[0, 0, 1], d / (2**0.5 * d + 1e-6), rtol=1e-5)


@settings(deadline=None, max_examples=8)
@given(st.integers(1, 3), st.integers(1, 6), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_loss_equals_eq_2_and_without_weights_eq_1(batch, masked, pixels, seed):
    random = np.random.default_rng(seed)
    prediction, target = random.normal(size=(2, batch, masked, pixels)).astype(np.float32)
    weights = random.uniform(size=(batch, masked)).astype(np.float32)
    error = (torch.from_numpy(prediction) - torch.from_numpy(target)).square()
    eq_2 = (torch.from_numpy(weights) * error.sum(2)).sum(1) / masked / pixels
    arrays = (jnp.array(prediction), jnp.array(target))
    ours = reconstruction_loss(*arrays, jnp.array(weights))
    np.testing.assert_allclose(ours, eq_2, rtol=2e-5)
    eq_1 = torch.stack(
        [
            torch.nn.functional.mse_loss(*pair)
            for pair in zip(torch.from_numpy(prediction), torch.from_numpy(target), strict=True)
        ]
    )
    ours = reconstruction_loss(*arrays, jnp.ones((batch, masked)))
    np.testing.assert_allclose(ours, eq_1, rtol=2e-5)


def test_infinite_temperature_gives_eq_1():
    random = np.random.default_rng(0)
    clip = jnp.array(random.normal(size=(2, 4, 8, 8, 3)), jnp.float32)
    patches = objective.patchify(clip, (2, 4, 4))
    masked = jnp.array([[0, 3, 5], [7, 1, 2]])
    target = objective.gather_tokens(objective.normalize_patches(patches), masked)
    prediction = jnp.array(random.normal(size=target.shape), jnp.float32)
    tokens = patches.shape[1]
    weights = tokens * objective.motion_weights(clip, (2, 4, 4), jnp.inf)
    weighted = objective.reconstruction_loss(
        prediction, target, jnp.take_along_axis(weights, masked, axis=1)
    )
    plain = objective.reconstruction_loss(prediction, target, jnp.ones(masked.shape))
    np.testing.assert_array_equal(weighted, plain)


def test_loss_is_float32_for_a_bfloat16_prediction():
    target, weights = jnp.ones((1, 2, 3)), jnp.ones((1, 2))
    loss = objective.reconstruction_loss(jnp.zeros((1, 2, 3), jnp.bfloat16), target, weights)
    assert loss.dtype == jnp.float32 and loss.tolist() == [1.0]


def test_normalize_pixels():
    clip = np.random.default_rng(0).integers(0, 256, (1, 2, 2, 2, 3), dtype=np.uint8)
    ours = objective.normalize_pixels(jnp.array(clip), IMAGENET_MEAN, IMAGENET_STD)
    expected = (clip / 255 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


def test_gather_tokens():
    x = jnp.arange(12.0).reshape(2, 3, 2)
    picked = objective.gather_tokens(x, jnp.array([[2, 0], [1, 1]]))
    assert picked.tolist() == [[[4, 5], [0, 1]], [[8, 9], [8, 9]]]


def test_shapes_in_signatures_are_checked():
    with pytest.raises(jaxtyping.TypeCheckError):
        objective.reconstruction_loss(jnp.ones((1, 2, 3)), jnp.ones((1, 2, 3)), jnp.ones((1, 3)))


def test_effective_patches():
    weights = jnp.array([[3.0, 3.0, 3.0, 3.0], [0.0, 7.0, 0.0, 0.0], [0.5, 0.25, 0.25, 0.0]])
    by_hand = [4.0, 1.0, 2**1.5]  # the entropy of (1/2, 1/4, 1/4) is 1.5 bits
    np.testing.assert_allclose(objective.effective_patches(weights), by_hand, rtol=1e-6)
