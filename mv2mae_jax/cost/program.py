"""The training step of a config as a run makes it, from shapes alone: nothing is computed."""

import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mv2mae_jax.learner import learner_of
from mv2mae_jax.training.parameters import Parameters, initial
from mv2mae_jax.training.step import DeviceBatch, TrainState, assemble

Shapes = dict[str, jax.ShapeDtypeStruct]


def trace_step(
    config: ConfigDict, classes: int, mesh: Mesh
) -> tuple[jax.stages.Traced, TrainState]:
    """The step, to be lowered and compiled for the devices of `mesh`, and the shapes of its state.

    Args:
      config: of a task that trains.
      classes: that fine-tuning tells apart; 0 for pre-training.
      mesh: of devices, which need not be there.

    Raises:
      InputError: the devices cannot share the parameters as configured.
    """
    steps: list[Any] = []  # static, so tracing hands it out by this way

    def create() -> TrainState:
        _, state, step = assemble(config, learner_of(config, classes), 1, mesh)
        steps.append(step)
        return state

    state = jax.eval_shape(create)
    batch = batch_shapes(config, classes, config.batch_size * config.data.repeats)
    return steps[0].trace(state, batch), state


def batch_shapes(config: ConfigDict, classes: int, samples: int) -> Shapes:
    """Of a batch as the loader makes it."""
    data = config.data
    views = () if classes else (data.num_views,)
    clips = (samples, *views, data.num_frames, data.image_size, data.image_size, 3)
    numbers = jax.ShapeDtypeStruct((samples,), jnp.int32)
    batch = {"clips": jax.ShapeDtypeStruct(clips, jnp.uint8), "index": numbers}
    return batch | ({"label": numbers} if classes else {})


def products(program: Any, repeats: bool = True) -> int:
    """Floating-point operations of all matrix products of a program and of those it calls.

    Args:
      program: a jaxpr.
      repeats: whether the body of a loop counts as often as it runs, or once.
    """
    return sum(times * flops(product) for product, times in dot_generals(program, repeats))


def dot_generals(program: Any, repeats: bool = True) -> Iterator[tuple[Any, int]]:
    """The equations of those products, and how often each runs; arguments as of `products`."""
    for equation in program.eqns:
        if equation.primitive.name == "dot_general":
            yield equation, 1
        times = equation.params["length"] if equation.primitive.name == "scan" and repeats else 1
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            for product, count in dot_generals(inner, repeats):
                yield product, times * count


def flops(dot_general: Any) -> int:
    """Floating-point operations of one matrix product, given as an equation."""
    (contracted, _), _ = dot_general.params["dimension_numbers"]
    left = dot_general.invars[0].aval.shape
    inner = math.prod(left[axis] for axis in contracted)
    return 2 * inner * math.prod(dot_general.outvars[0].aval.shape)


def kept_bytes(config: ConfigDict, classes: int) -> int:
    """What differentiation keeps of one sample for the backward pass, before any compiler.

    A compiler keeps less: it computes again what is cheap.
    """
    learner = learner_of(config, classes)

    def backward(key: jax.Array, batch: DeviceBatch) -> Any:
        definition, parameters = initial(learner.make_model, key)
        keys = jax.random.split(key, len(batch["index"]))

        def loss_of(training: Parameters) -> jax.Array:
            return learner.loss(definition.bind(parameters | training), batch, keys)[0]

        return jax.vjp(loss_of, learner.trainable(parameters))[1]

    few, many = (
        tree_bytes(jax.eval_shape(backward, jax.random.key(0), batch_shapes(config, classes, n)))
        for n in (8, 16)
    )
    return (many - few) // 8  # so that what is kept of the parameters does not count


def tree_bytes(tree: Any) -> int:
    """Of all arrays, or their shapes."""
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))
