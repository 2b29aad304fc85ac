"""Encoder, single-view pre-training and classifier against Hugging Face's VideoMAE."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from model.comparison import (
    IMAGENET,
    as_booleans,
    as_pixel_values,
    assert_same,
    assert_same_parameters,
    from_huggingface,
    gradients,
    random_videomae,
)
from transformers import VideoMAEForPreTraining, VideoMAEForVideoClassification

from mv2mae_jax import objective
from mv2mae_jax.model.classifier import Classifier
from mv2mae_jax.model.grid import tubelet_grid
from mv2mae_jax.model.masking import Mask, sample_masks
from mv2mae_jax.model.mv2mae import MV2MAE
from mv2mae_jax.model.variants import Variant
from mv2mae_jax.training.parameters import split

FRAMES, SIZE, PATCH, CLASSES = 4, 32, (2, 16, 16), 5
PIXELS = 3 * int(np.prod(PATCH))
GRID = tubelet_grid(FRAMES, SIZE, PATCH)
VARIANT = Variant(width=32, depth=2, heads=4, decoder_width=16, decoder_heads=2, decoder_depth=2)


def huggingface(model_class: type, **options) -> torch.nn.Module:
    return random_videomae(model_class, VARIANT, FRAMES, SIZE, **options)


@pytest.fixture(scope="module")
def clips() -> np.ndarray:
    shape = (3, FRAMES, SIZE, SIZE, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def patches(clips) -> jax.Array:
    return objective.patchify(objective.normalize_pixels(jnp.array(clips), *IMAGENET), PATCH)


@pytest.fixture(scope="module")
def pixel_values(clips) -> torch.Tensor:
    return as_pixel_values(clips)


@pytest.fixture(scope="module")
def mask() -> Mask:
    """In random order, while Hugging Face's order of tokens is ascending."""
    return sample_masks(jax.random.split(jax.random.key(0), 3), "random", 0.7, GRID)


@pytest.fixture(scope="module")
def bool_masked_pos(mask) -> torch.Tensor:
    return as_booleans(mask)


def ascending(values, places: jax.Array) -> np.ndarray:
    """Token values in the order of their places, as boolean indexing gives them."""
    order = np.argsort(np.asarray(places), axis=1)
    return np.take_along_axis(np.asarray(values), order[..., None], axis=1)


def shapes(parameters: dict) -> dict[str, tuple[int, ...]]:
    return {name: value.shape for name, value in parameters.items()}


@pytest.fixture(scope="module")
def pretraining() -> VideoMAEForPreTraining:
    return huggingface(VideoMAEForPreTraining, norm_pix_loss=True, use_mean_pooling=False)


@pytest.fixture(scope="module")
def with_its_parameters(pretraining):
    """Our model's definition, and its parameters with those of `pretraining` put in."""
    definition, ours = split(MV2MAE(VARIANT, GRID, PIXELS, rngs=nnx.Rngs(0)))
    theirs = from_huggingface(dict(pretraining.named_parameters()))
    shared = {name: x for name, x in ours.items() if not name.startswith("cross_view_decoder.")}
    assert shapes(shared) == shapes(theirs)
    return definition, ours | {name: jnp.array(value) for name, value in theirs.items()}


def test_encoder(with_its_parameters, pretraining, patches, mask, pixel_values, bool_masked_pos):
    definition, parameters = with_its_parameters

    @jax.jit
    def encode(parameters, patches, places=None):
        model = definition.bind(parameters)
        return model.encoder_norm(model.encoder(patches, places))

    with torch.no_grad():
        all_tokens = pretraining.videomae(pixel_values).last_hidden_state
        visible = pretraining.videomae(pixel_values, bool_masked_pos).last_hidden_state
    assert_same(encode(parameters, patches), all_tokens)
    ours = encode(parameters, objective.gather_tokens(patches, mask.visible), mask.visible)
    assert_same(ascending(ours, mask.visible), visible)


def test_pretraining(
    with_its_parameters, pretraining, clips, patches, mask, pixel_values, bool_masked_pos
):
    """Prediction, loss and every gradient, with one view and therefore the self-view decoder."""
    definition, parameters = with_its_parameters
    target = objective.normalize_patches(objective.patchify(jnp.array(clips) / 255.0, PATCH))
    target = objective.gather_tokens(target, mask.masked)

    @jax.jit
    def loss_and_gradients(parameters):
        def loss_of(parameters):
            one_view = jax.tree.map(lambda x: x[:, None], (patches, mask))
            prediction = definition.bind(parameters)(*one_view)
            assert prediction.cross_view is None
            prediction = prediction.self_view[:, 0]
            loss = objective.reconstruction_loss(prediction, target, jnp.ones(mask.masked.shape))
            return loss.mean(), prediction

        return jax.value_and_grad(loss_of, has_aux=True)(parameters)

    (loss, prediction), grads = loss_and_gradients(parameters)
    theirs = pretraining(pixel_values, bool_masked_pos)
    pretraining.zero_grad()
    theirs.loss.backward()
    assert_same(ascending(prediction, mask.masked), theirs.logits.detach())
    assert_same(loss, theirs.loss.detach())
    assert_same_parameters(grads, from_huggingface(gradients(pretraining)))
    unused = [grads[name] for name in grads if name.startswith("cross_view_decoder.")]
    assert unused and all((grad == 0).all() for grad in unused)


def test_classifier(patches, pixel_values):
    """Logits, cross-entropy and every gradient."""
    labels = np.array([0, 3, 2])
    theirs = huggingface(VideoMAEForVideoClassification, num_labels=CLASSES, use_mean_pooling=True)
    definition, ours = split(Classifier(VARIANT, GRID, PIXELS, CLASSES, rngs=nnx.Rngs(0)))
    parameters = from_huggingface(dict(theirs.named_parameters()))
    assert {name: x.shape for name, x in ours.items()} == {
        k: v.shape for k, v in parameters.items()
    }

    @jax.jit
    def loss_and_gradients(parameters):
        def loss_of(parameters):
            logits = definition.bind(parameters)(patches)
            chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)
            return -chosen.mean(), logits

        return jax.value_and_grad(loss_of, has_aux=True)(parameters)

    (loss, logits), grads = loss_and_gradients(parameters)
    output = theirs(pixel_values, labels=torch.from_numpy(labels))
    output.loss.backward()
    assert_same(logits, output.logits.detach())
    assert_same(loss, output.loss.detach())
    assert_same_parameters(grads, from_huggingface(gradients(theirs)))
