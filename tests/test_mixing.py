"""Mixed and erased clips: what is in them, and what their labels say."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs.base import get_config
from mv2mae_jax import mixing
from mv2mae_jax.losses import classification_loss
from mv2mae_jax.model import build
from mv2mae_jax.model.variants import VARIANTS
from mv2mae_jax.training.step import sample_keys

CLASSES = 64


def batch_of(samples, index=None):
    """Every clip is of one value, the running number of its sample; so is its label."""
    index = np.arange(samples) if index is None else np.asarray(index)
    clips = np.broadcast_to(index[:, None, None, None, None], (samples, 2, 24, 32, 3))
    labels = jax.nn.one_hot(index, CLASSES)
    return jnp.float32(clips), labels, jnp.int32(index), sample_keys(0, jnp.int32(index))


@partial(jax.jit, static_argnames=("mixup", "cutmix"))
def mix(clips, labels, index, keys, **alphas):
    partner = mixing.partners(index)
    return mixing.mix(clips, labels, clips[partner], labels[partner], keys, **alphas)


def mixed(samples, **alphas):
    clips, labels = mix(*batch_of(samples), **({"mixup": 0.0, "cutmix": 0.0} | alphas))
    return np.asarray(clips), np.asarray(labels)


def erased(clips, keys, probability):
    return np.asarray(jax.jit(mixing.erase, static_argnums=2)(clips, keys, probability))


def test_partners_are_the_samples_in_reversed_order():
    assert mixing.partners(jnp.array([10, 11, 12, 13])).tolist() == [3, 2, 1, 0]
    # 7 is the first and 40 the last; 9 and 12 are in between.
    assert mixing.partners(jnp.array([40, 7, 12, 9])).tolist() == [1, 0, 3, 2]
    assert mixing.partners(jnp.array([5, 3, 4])).tolist() == [1, 0, 2]


def test_mixup_blends_clip_and_label_by_a_share_from_beta():
    clips, labels = mixed(64, mixup=0.8)
    own = np.arange(64)
    share = labels[own, own]
    np.testing.assert_allclose(labels[own, own[::-1]], 1 - share, atol=1e-6)
    np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-6)
    expected = share * own + (1 - share) * own[::-1]
    np.testing.assert_allclose(
        clips, np.broadcast_to(expected[:, None, None, None, None], clips.shape), rtol=1e-5
    )
    many = jax.vmap(lambda key: mixing._own_share(key, 1, 1, 0.8, 0.0)[0, 0])(
        jax.random.split(jax.random.key(1), 20000)
    )
    assert abs(many.mean() - 0.5) < 0.01
    assert abs(many.var() - 1 / (4 * (2 * 0.8 + 1))) < 0.003  # of Beta(0.8, 0.8)


def test_cutmix_pastes_one_box_in_all_frames_and_labels_have_its_real_area():
    clips, labels = mixed(64, cutmix=1.0)
    sides = set()
    for own, (clip, label) in enumerate(zip(clips, labels, strict=True)):
        pasted = clip[0, :, :, 0] != own
        assert np.array_equal(clip != own, np.broadcast_to(pasted[None, :, :, None], clip.shape))
        assert set(clip[:, pasted].ravel()) <= {63 - own}
        rows, columns = np.nonzero(pasted.any(axis=1))[0], np.nonzero(pasted.any(axis=0))[0]
        assert pasted.sum() == len(rows) * len(columns)  # a full box
        assert len(rows) == 0 or rows[-1] - rows[0] + 1 == len(rows)
        np.testing.assert_allclose(label[own], 1 - pasted.mean(), atol=1e-6)
        np.testing.assert_allclose(label[63 - own], pasted.mean(), atol=1e-6)
        sides.add((len(rows), len(columns)))
    assert len(sides) > 30


def test_the_share_that_cutmix_keeps_is_as_drawn_where_the_box_is_not_cut():
    """E[1 - share] is 1/2 before boxes are cut, and what remains of it is numbered in NumPy."""
    keys = jax.random.split(jax.random.key(0), 20000)
    boxes = jax.jit(jax.vmap(lambda key: mixing._pasted_box(key, 24, 32, 1.0)))(keys)
    rng = np.random.default_rng(0)
    side = np.sqrt(rng.uniform(size=200000))  # Beta(1, 1) is uniform
    area = 1.0
    for size in (24, 32):
        centre = rng.integers(0, size, side.shape)
        half = (size * side).astype(int) // 2
        area = area * (np.clip(centre + half, 0, size) - np.clip(centre - half, 0, size)) / size
    assert abs(boxes.mean() - area.mean()) < 0.005


def test_with_both_each_sample_takes_one_or_the_other():
    clips, _ = mixed(64, mixup=0.8, cutmix=1.0)
    own = np.arange(64)[:, None, None, None, None]
    pure = (clips == own) | (clips == 63 - own)
    pasted = pure.all(axis=(1, 2, 3, 4))
    assert 18 < pasted.sum() < 46
    assert (np.ptp(clips[~pasted], axis=(1, 2, 3, 4)) < 1e-4).all()  # blended alike everywhere


def test_mixing_does_not_depend_on_the_layout_of_the_batch():
    order = np.random.default_rng(0).permutation(16)
    clips, labels = mix(*batch_of(16), mixup=0.8, cutmix=1.0)
    other_clips, other_labels = mix(*batch_of(16, index=order), mixup=0.8, cutmix=1.0)
    np.testing.assert_array_equal(clips[order], other_clips)
    np.testing.assert_array_equal(labels[order], other_labels)


def test_erasing_puts_noise_into_one_box_of_some_clips():
    clips = jnp.full((200, 3, 40, 40, 3), 7.0)
    result = erased(clips, jax.random.split(jax.random.key(0), 200), 0.25)
    touched = result != 7
    assert 30 < touched.any(axis=(1, 2, 3, 4)).sum() < 70
    noise, areas, aspects = [], [], []
    for clip, changed in zip(result, touched, strict=True):
        if not changed.any():
            continue
        box = changed[0, :, :, 0]
        assert np.array_equal(changed, np.broadcast_to(box[None, :, :, None], changed.shape))
        height, width = box.any(axis=1).sum(), box.any(axis=0).sum()
        assert box.sum() == height * width
        areas.append(box.mean())
        aspects.append(height / width)
        noise.append(clip[changed])
        frames = clip[:, box]
        assert not np.allclose(frames[0], frames[1])  # of its own in every frame
    assert 0.01 < min(areas) < 0.08 and 0.28 < max(areas) < 0.36
    assert min(aspects) < 0.6 and max(aspects) > 1.7
    noise = np.concatenate(noise)
    assert abs(noise.mean()) < 0.01 and abs(noise.std() - 1) < 0.01


def test_erased_boxes_have_the_areas_and_shapes_asked_for():
    keys = jax.random.split(jax.random.key(0), 4000)
    boxes = np.asarray(jax.jit(jax.vmap(lambda key: mixing._erased_box(key, 100, 100)))(keys))
    heights, widths = boxes.any(axis=2).sum(axis=1), boxes.any(axis=1).sum(axis=1)
    areas, shapes = heights * widths / 1e4, np.log(heights / widths)
    assert abs(areas.mean() - (0.02 + 1 / 3) / 2) < 0.005
    assert abs(shapes.mean()) < 0.04 and abs(np.abs(shapes).mean() - np.log(1 / 0.3) / 2) < 0.02
    assert abs(shapes).max() < np.log(1 / 0.3) + 0.1
    reached = boxes.mean(axis=0)
    assert (reached > 0).all()  # every place can be erased
    np.testing.assert_allclose(reached, reached[::-1, ::-1], atol=0.05)  # on either side alike


def test_erasing_mixing_and_blocks_each_fold_in_a_number_of_their_own():
    blocks = range(max(variant.depth for variant in VARIANTS.values()))
    assert len({mixing._ERASING, mixing._MIXING, *blocks}) == len(blocks) + 2


@pytest.fixture(scope="module")
def finetuning():
    config = get_config()
    config.model.variant = "mini"
    config.model.dtype = "float32"
    config.model.drop_path, config.finetune.label_smoothing = 0.5, 0.3
    config.data.num_frames, config.data.image_size = 4, 32
    rng = np.random.default_rng(0)
    batch = {
        "clips": jnp.array(rng.integers(0, 256, (4, 4, 32, 32, 3)).astype(np.uint8)),
        "label": jnp.array([0, 1, 2, 1]),
        "index": jnp.arange(4, 8),
    }
    model = build.classifier(config, 5, nnx.Rngs(0))
    model.head.kernel[...] = jax.random.normal(jax.random.key(1), model.head.kernel.shape)
    return config, model, batch, sample_keys(0, batch["index"])


@pytest.mark.parametrize(
    "options", [["mixup"], ["cutmix"], ["random_erasing"], ["mixup", "random_erasing"]]
)
def test_the_loss_is_that_of_the_mixed_clips_and_smoothed_labels(finetuning, options):
    config, model, batch, keys = finetuning
    config = config.copy_and_resolve_references()
    for option in options:
        config.finetune[option] = 0.9
    loss, metrics = classification_loss(config, model, batch, keys)

    clips = build.normalized(config, batch["clips"])
    labels = np.eye(5)[batch["label"]]
    if "random_erasing" in options:
        clips = mixing.erase(clips, keys, 0.9)
    if options != ["random_erasing"]:
        alphas = {"mixup": 0.0, "cutmix": 0.0} | {options[0]: 0.9}
        clips, labels = mix(clips, jnp.array(labels), batch["index"], keys, **alphas)
    logits = np.asarray(model(build.patches(config, clips), keys=keys), np.float64)
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    smoothed = 0.7 * np.asarray(labels) + 0.3 / 5
    np.testing.assert_allclose(loss, -(smoothed * log_probabilities).sum(axis=1).mean(), rtol=1e-5)
    hits = logits.argmax(axis=1) == np.asarray(batch["label"])
    np.testing.assert_allclose(metrics["accuracy"], hits.mean())

    for option in options:
        config.finetune[option] = 0.0
    plain, _ = classification_loss(config, model, batch, keys)
    assert abs(loss - plain) > 1e-4


def test_without_options_clips_and_labels_are_the_batchs(finetuning):
    config, model, batch, keys = finetuning
    loss, _ = classification_loss(config, model, batch, keys)
    logits = np.asarray(model(build.clip_patches(config, batch["clips"]), keys=keys), np.float64)
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    smoothed = 0.7 * np.eye(5)[batch["label"]] + 0.3 / 5
    np.testing.assert_allclose(loss, -(smoothed * log_probabilities).sum(axis=1).mean(), rtol=1e-5)
