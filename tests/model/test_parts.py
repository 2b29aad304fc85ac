"""What a set of parameters has is told by names, and every parameter of ours has its part."""

from functools import partial

import numpy as np
import pytest

from configs.base import get_config
from mv2mae_jax.model import build
from mv2mae_jax.model.parts import ENCODER, PARTS, has, num_classes, only
from mv2mae_jax.training.parameters import definition_of


def pretraining(**fields: object) -> dict[str, np.ndarray]:
    """Parameters of a pre-training, all zero."""
    config = get_config()
    config.model.variant = "mini"
    config.update_from_flattened_dict(fields)
    shapes = definition_of(partial(build.pretraining_model, config)).shape_of
    return {name: np.zeros(shape) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def classifier() -> dict[str, np.ndarray]:
    config = get_config()
    config.model.variant = "mini"
    shapes = definition_of(partial(build.classifier, config, 5)).shape_of
    return {name: np.zeros(shape) for name, shape in shapes.items()}


def test_every_parameter_belongs_to_one_part(classifier):
    names = pretraining(**{"model.projector": "separate"}) | classifier
    for name in names:
        assert sum(name.startswith(starts) for starts in PARTS.values()) == 1, name
    assert all(has(names, part) for part in PARTS)


def test_what_a_run_has(classifier):
    """A decoder of the other kind, a head or a final norm is not seen where there is none."""
    both, alone = pretraining(), pretraining(**{"objective.cross_view": 0.0})
    have = [{part for part in PARTS if has(x, part)} for x in (both, alone, classifier)]
    assert have[0] == {*ENCODER, "self-view decoder", "cross-view decoder"}
    assert have[1] == {*ENCODER, "self-view decoder"}
    assert have[2] == {"encoder", "classifier"}
    assert [num_classes(x) for x in (both, alone, classifier)] == [0, 0, 5]


def test_only_some_parts(classifier):
    parts = [only(pretraining(), [part]) for part in (*ENCODER, "self-view decoder")]
    assert parts[0].keys() == only(classifier, ENCODER).keys()
    assert parts[1].keys() == {"encoder_norm.scale", "encoder_norm.bias"}
    assert {name.partition(".")[0] for name in parts[2]} == {
        *("projector", "mask_token", "self_view_decoder")
    }
