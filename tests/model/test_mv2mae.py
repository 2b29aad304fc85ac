"""The pre-training model: what its output may and may not depend on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mv2mae_jax import objective
from mv2mae_jax.model.masking import Mask, sample_masks
from mv2mae_jax.model.mv2mae import MV2MAE
from mv2mae_jax.model.positions import position_table
from mv2mae_jax.model.variants import Variant
from mv2mae_jax.training.parameters import split

VARIANT = Variant(width=32, depth=1, heads=2, decoder_width=16, decoder_heads=2, decoder_depth=2)
GRID, PIXELS, BATCH = (2, 3, 3), 24, 2


@pytest.fixture(scope="module")
def model():
    """Definition and initial parameters, both deaf to the number of views."""
    return split(MV2MAE(VARIANT, GRID, PIXELS, rngs=nnx.Rngs(0)))


@pytest.fixture(scope="module")
def reconstruct(model):
    definition, parameters = model
    return jax.jit(lambda patches, mask: definition.bind(parameters)(patches, mask))


def sample(views: int) -> tuple[jax.Array, Mask]:
    """Patches [B V N P] and masks [B V ...]."""
    random = np.random.default_rng(0)
    patches = jnp.float32(random.normal(size=(BATCH, views, np.prod(GRID), PIXELS)))
    mask = sample_masks(jax.random.split(jax.random.key(0), BATCH * views), "random", 0.7, GRID)
    return patches, jax.tree.map(lambda x: x.reshape(BATCH, views, -1), mask)


def change(patches: jax.Array, view: int, tokens: jax.Array) -> jax.Array:
    """Other pixels in some tokens of one view of the first activity."""
    return patches.at[0, view, tokens].add(1.0)


@pytest.mark.parametrize("views", [2, 3])
def test_order_of_tokens_does_not_matter(reconstruct, views):
    """Permuted masks give the permuted reconstruction and the same loss."""
    patches, mask = sample(views)
    random = np.random.default_rng(1)
    visible = random.permuted(np.asarray(mask.visible), axis=-1)
    order = random.permuted(
        np.broadcast_to(np.arange(mask.masked.shape[-1]), mask.masked.shape), axis=-1
    )
    masked = np.take_along_axis(np.asarray(mask.masked), order, axis=-1)
    permuted = Mask(jnp.array(visible), jnp.array(masked))

    def loss(prediction, mask):
        target = jnp.take_along_axis(patches, mask.masked[..., None], axis=2)
        weights = mask.masked.astype(jnp.float32)  # some weight of each place
        arrays = (x.reshape(-1, *x.shape[2:]) for x in (prediction, target, weights))
        return objective.reconstruction_loss(*arrays)

    for before, after in zip(
        reconstruct(patches, mask), reconstruct(patches, permuted), strict=True
    ):
        expected = np.take_along_axis(np.asarray(before), order[..., None], axis=2)
        np.testing.assert_allclose(after, expected, atol=1e-5)
        np.testing.assert_allclose(loss(after, permuted), loss(before, mask), rtol=1e-5)


def test_masked_pixels_are_never_seen(reconstruct):
    patches, mask = sample(2)
    before = reconstruct(patches, mask)
    after = reconstruct(change(patches, 0, mask.masked[0, 0]), mask)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_each_decoder_sees(reconstruct):
    """A view's visible pixels reach its own reconstructions and, as a source, all other views'."""
    patches, mask = sample(3)
    before = reconstruct(patches, mask)
    after = reconstruct(change(patches, 0, mask.visible[0, 0, :1]), mask)

    def changed(one, other):
        return [[not np.array_equal(a, b) for a, b in zip(x, y, strict=True)]
                for x, y in zip(one, other, strict=True)]  # fmt: skip

    assert changed(before.self_view, after.self_view) == [[True, False, False], [False] * 3]
    assert changed(before.cross_view, after.cross_view) == [[True] * 3, [False] * 3]


def test_memory_lists_all_other_views(model):
    definition, parameters = model
    # Two activities, three views, two tokens of one channel: the value is 100 b + 10 v + k.
    b, v, k = np.indices((2, 3, 2))
    visible = jnp.float32(100 * b + 10 * v + k).reshape(6, 2, 1)
    memory = definition.bind(parameters).memory(visible, 3)[..., 0]
    assert memory.tolist() == [
        [10, 11, 20, 21], [0, 1, 20, 21], [0, 1, 10, 11],
        [110, 111, 120, 121], [100, 101, 120, 121], [100, 101, 110, 111],
    ]  # fmt: skip


@pytest.mark.parametrize("views", [1, 2, 3])
def test_any_number_of_views_with_the_same_parameters(reconstruct, views):
    patches, mask = sample(views)
    reconstruction = reconstruct(patches, mask)
    shape = (BATCH, views, 12, PIXELS)
    assert reconstruction.self_view.shape == shape
    assert (
        reconstruction.cross_view is None
        if views == 1
        else reconstruction.cross_view.shape == shape
    )


def test_without_cross_view_decoder_only_that_is_missing(model):
    """Table 9: the same parameters otherwise, and the same self-view reconstruction."""
    definition, parameters = split(
        MV2MAE(VARIANT, GRID, PIXELS, cross_view=False, rngs=nnx.Rngs(0))
    )
    whole_definition, whole = model
    kept = {name for name in whole if not name.startswith("cross_view_decoder.")}
    assert set(parameters) == kept < set(whole)
    patches, mask = sample(2)
    out = definition.bind({name: whole[name] for name in kept})(patches, mask)
    assert out.cross_view is None
    expected = whole_definition.bind(whole)(patches, mask).self_view
    np.testing.assert_array_equal(out.self_view, expected)


def test_separate_projectors_serve_one_decoder_each():
    definition, parameters = split(
        MV2MAE(VARIANT, GRID, PIXELS, separate_projectors=True, rngs=nnx.Rngs(0))
    )
    patches, mask = sample(2)
    before = definition.bind(parameters)(patches, mask)
    for prefix, changes in (("", (True, False)), ("cross_view_", (False, True))):
        for name in (f"{prefix}projector.kernel", f"{prefix}mask_token"):
            changed = parameters | {name: parameters[name] + 0.1}
            after = definition.bind(changed)(patches, mask)
            differs = [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
            assert tuple(differs) == changes, name


def test_bfloat16_computes_near_float32(reconstruct):
    """Parameters and loss stay float32, the reconstruction is bfloat16 and close."""
    patches, mask = sample(2)
    definition, parameters = split(
        MV2MAE(VARIANT, GRID, PIXELS, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    )
    assert {x.dtype for x in parameters.values()} == {jnp.dtype("float32")}
    target = jnp.take_along_axis(patches, mask.masked[..., None], axis=2)[:, 0]

    @jax.jit
    def run(parameters):
        def loss_of(parameters):
            out = definition.bind(parameters)(patches, mask)
            weights = jnp.ones(target.shape[:2])
            return objective.reconstruction_loss(out.self_view[:, 0], target, weights).mean(), out

        return jax.value_and_grad(loss_of, has_aux=True)(parameters)

    (loss, half), grads = run(parameters)
    assert loss.dtype == jnp.float32
    assert {x.dtype for x in grads.values()} == {jnp.dtype("float32")}
    for out, full in zip(half, reconstruct(patches, mask), strict=True):
        assert out.dtype == jnp.bfloat16
        assert 0 < np.abs(np.float32(out) - full).max() < 0.03 * np.abs(full).max()


def test_mask_token_starts_cut_at_one_standard_deviation(model):
    _, parameters = model
    token = np.asarray(parameters["mask_token"])
    assert token.shape == (16,) and token.std() > 0.005 and np.abs(token).max() <= 0.02


def test_an_unseen_view_is_decoded_from_mask_tokens_and_the_sources(model):
    definition, parameters = model
    patches, mask = sample(3)
    sources = Mask(mask.visible[:, 1:], mask.masked[:, 1:])
    bound = definition.bind(parameters)
    predicted = bound.predict_unseen(patches[:, 1:], sources)
    table = position_table("flattened", GRID, VARIANT.decoder_width)
    hidden = np.broadcast_to(bound.mask_token[...] + table, (BATCH, *table.shape))
    memory = []
    for v in (1, 2):
        of_view = Mask(mask.visible[:, v], mask.masked[:, v])
        latents = bound.encode(patches[:, v], of_view)
        memory.append(bound.projector(latents) + table[of_view.visible])
    expected = bound.cross_view_decoder(
        jnp.asarray(hidden), jnp.concatenate(memory, axis=1), num_visible=0
    )
    np.testing.assert_allclose(predicted, expected, atol=1e-5)
    assert np.ptp(predicted, axis=1).max() > 0.01
