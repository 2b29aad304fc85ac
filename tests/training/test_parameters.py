"""A model's initial values and its definition."""

from functools import partial

import jax
import numpy as np
from flax import nnx

from configs.mannequin import get_config
from mv2mae_jax.model import build
from mv2mae_jax.training.parameters import definition_of, initial, split


def test_initial_values_are_those_of_flaxs_own_keys():
    make_model = partial(build.pretraining_model, get_config())
    key = jax.random.key(5)
    definition, values = initial(make_model, key)
    _, wanted = split(make_model(nnx.Rngs(key)))
    assert values.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(values[name], value, err_msg=name)
    assert definition_of(make_model).shape_of == {name: x.shape for name, x in wanted.items()}
    assert definition.shape_of == definition_of(make_model).shape_of


def test_initial_values_are_traced_in_time():
    """Counted by an array, as Flax does it, tracing them looks back at all that was traced."""
    program = jax.make_jaxpr(lambda key: initial(one_layer, key)[1])(jax.random.key(0))
    names = {equation.primitive.name for equation in program.eqns}
    assert "add" not in names and "scatter" not in names  # nothing counts in the program


def one_layer(rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(3, 4, kernel_init=nnx.initializers.zeros_init(), rngs=rngs)
