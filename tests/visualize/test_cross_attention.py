"""The picture of the attention shows the tokens that it says, and only visible ones."""

import numpy as np
import pytest
from flax import nnx

from configs.mannequin import get_config
from mv2mae_jax.data.samples import PretrainingDraw
from mv2mae_jax.errors import InputError
from mv2mae_jax.model import build
from mv2mae_jax.training.parameters import split
from mv2mae_jax.visualize.attention import attention_sections
from mv2mae_jax.visualize.cross_attention import cross_attention_maps, mark_tubelet
from mv2mae_jax.visualize.pretrained import pretraining_definition
from mv2mae_jax.visualize.reconstruct import masked_inputs
from mv2mae_jax.visualize.training_clips import Clip


@pytest.fixture(scope="module")
def config():
    config = get_config()
    config.data.num_frames, config.data.image_size = 4, 16
    config.model.patch_size = (2, 4, 4)
    return config


@pytest.fixture(scope="module")
def parameters(config):
    return split(build.pretraining_model(config, nnx.Rngs(0)))[1]


def clips_of(config, views: int) -> np.ndarray:
    """Grey, but for one tubelet of the first view, masked in that sample, that moves."""
    clips = np.full((2, views, 4, 16, 16, 3), 99, np.uint8)
    _, mask = masked_inputs(config, clips)
    for sample, token in enumerate(np.asarray(mask.masked[:, 0, 2])):
        t, h, w = np.unravel_index(token, (2, 4, 4))
        clips[sample, 0, 2 * t + 1, 4 * h : 4 * h + 4, 4 * w : 4 * w + 4] = 255
    return clips


@pytest.mark.parametrize("views", [2, 3])
def test_maps_are_the_models_attention_of_the_tubelet_that_moves(config, parameters, views: int):
    clips = clips_of(config, views)
    maps = cross_attention_maps(config, parameters, clips)
    patches, mask = masked_inputs(config, clips)
    np.testing.assert_array_equal(maps.query, mask.masked[:, 0, 2])
    shown = np.zeros_like(maps.sources, bool)
    np.put_along_axis(shown, np.asarray(mask.visible[:, 1:]), True, axis=-1)
    assert (maps.sources[shown] > 0).all() and not maps.sources[~shown].any()
    np.testing.assert_allclose(maps.sources.sum(axis=(1, 2)), 1, rtol=1e-5)
    attention = pretraining_definition(config).bind(parameters).cross_attention(patches, mask)
    visible = mask.visible.shape[-1]
    of_query = np.asarray(attention[1, 0, ..., visible + 2, -visible:]).mean(axis=(0, 1))
    last = maps.sources[1, -1, np.asarray(mask.visible[1, -1])]
    np.testing.assert_allclose(last, of_query, rtol=1e-4)


def test_every_source_and_head_has_its_own_row(config, parameters):
    """Of three views: the bright tubelet of each row is where that map has most."""
    views = clips_of(config, 3)
    draw = PretrainingDraw(["left", "middle", "right"], np.arange(4), [])
    clips = [Clip(str(number), "walk", draw, clip) for number, clip in enumerate(views)]
    (section, _) = attention_sections(config, parameters, clips, by_head=True)
    maps = cross_attention_maps(config, parameters, views)
    blocks, heads = maps.heads.shape[2:4]
    assert len(section.rows) == 3 + 2 * (2 + blocks * heads)
    for s, source in enumerate(("source view 1", "source view 2")):
        of_heads = {
            f"block {block + 1}\nhead {head + 1}": maps.heads[0, s, block, head]
            for block, head in np.ndindex(blocks, heads)
        }
        for name, weights in {"mean of\nheads": maps.sources[0, s], **of_heads}.items():
            shown = section.rows[f"{source}\n{name}"]
            brightness = shown.reshape(2, 2, 4, 4, 4, 4, 3).mean(axis=(1, 3, 5, 6)).ravel()
            assert weights[brightness.argmax()] == weights.max()


def test_without_cross_view_decoder(config):
    config = config.copy_and_resolve_references()
    config.objective.cross_view = 0.0
    _, parameters = split(build.pretraining_model(config, nnx.Rngs(0)))
    with pytest.raises(InputError, match="without cross-view decoder"):
        cross_attention_maps(config, parameters, clips_of(config, 2))


def test_mark_tubelet():
    frames = np.zeros((4, 8, 8, 3))
    marked = mark_tubelet(frames, 3, (2, 4, 4), (2, 2, 2))  # first in time, lower right
    red = (marked != 0).any(axis=-1)
    assert red.sum() == 2 * 12 and red[:2, 4:, 4:].sum() == 2 * 12
    assert not frames.any()


def test_a_tubelet_that_was_asked_for(config, parameters):
    clips = clips_of(config, 2)
    _, mask = masked_inputs(config, clips)
    (shared, *_) = np.intersect1d(*np.asarray(mask.masked[:, 0]))
    place = tuple(map(int, np.unravel_index(shared, (2, 4, 4))))
    maps = cross_attention_maps(config, parameters, clips, place)
    assert maps.query.tolist() == [shared, shared]
    np.testing.assert_allclose(maps.heads.sum(axis=(1, 4)), 1, rtol=1e-5)
    np.testing.assert_allclose(maps.heads.mean(axis=(2, 3)), maps.sources, rtol=1e-5)
    assert np.ptp(maps.heads, axis=3).max() > 1e-4  # heads differ
    seen = np.unravel_index(np.asarray(mask.visible)[0, 0, 0], (2, 4, 4))
    with pytest.raises(InputError, match=r"is visible in sample 1; name one that is masked"):
        cross_attention_maps(config, parameters, clips, tuple(map(int, seen)))
    with pytest.raises(InputError, match=r"tubelet 0 4 0 .* it has 2 x 4 x 4 tubelets"):
        cross_attention_maps(config, parameters, clips, (0, 4, 0))
