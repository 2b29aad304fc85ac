"""Pictures show what training sees, and say what it is of."""

import numpy as np
from colours import LABELS, where_from

from mv2mae_jax.data import loader
from mv2mae_jax.visualize.training_clips import first_clips


def assert_named(clip):
    """Its colours are those of the activity and the views that it names."""
    assert len(clip.views) == len(clip.draw.views) == 2
    for view, frames in zip(clip.draw.views, clip.views, strict=True):
        activity, seen, _ = where_from(frames[0])
        assert (clip.activity, view) == (f"a{activity:02}", seen)
    assert clip.action == LABELS[int(clip.activity[1:]) % 3]
    target, source = clip.draw.views
    assert clip.title(views=1) == f"{clip.action} · {clip.activity} · target view: {target}"
    assert clip.title(views=2).endswith(f"target view: {target}, source view: {source}")


def test_they_are_the_first_of_training(config):
    config.data.repeats = 2
    with loader.pretraining_batches(config) as batches:
        expected = next(batches)["clips"][::2]
    clips = first_clips(config, config.batch_size)
    for clip, views in zip(clips, expected, strict=True):
        np.testing.assert_array_equal(clip.views, views)
        assert_named(clip)
