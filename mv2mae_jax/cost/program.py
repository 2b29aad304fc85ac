"""The training step of a config as a run makes it, from shapes alone: nothing is computed."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mv2mae_jax.losses import classification_loss, pretraining_loss
from mv2mae_jax.model import build
from mv2mae_jax.training.optimizer import learning_rate, trainable_parameters, update_rule
from mv2mae_jax.training.parameters import Parameters, initial
from mv2mae_jax.training.step import (
    DeviceBatch,
    Loss,
    TrainState,
    create_state,
    make_train_step,
)

Parts = tuple[Loss[Any], Callable[[nnx.Rngs], nnx.Module], Callable[[Parameters], Parameters]]
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
    loss, make_model, trainable = parts_of(config, classes)
    make_optimizer = partial(update_rule, config, learning_rate(config, steps_per_epoch=1))
    definitions = []

    def create() -> TrainState:
        averaged = config.ema_decay > 0
        definition, state = create_state(
            make_model, make_optimizer, config.seed, mesh, trainable=trainable, averaged=averaged
        )
        definitions.append(definition)
        return state

    state = jax.eval_shape(create)
    step: Any = make_train_step(
        definitions[0],
        loss,
        make_optimizer(state.parameters),
        seed=config.seed,
        accumulation=config.accumulation,
        state=state,
        mesh=mesh,
        trainable=trainable,
        ema_decay=config.ema_decay,
    )
    batch = batch_shapes(config, classes, config.batch_size * config.data.repeats)
    return step.trace(state, batch), state


def parts_of(config: ConfigDict, classes: int) -> Parts:
    """Loss, model, and what of it trains; of fine-tuning, if there are classes to tell apart."""
    loss: Loss[Any] = partial(pretraining_loss, config)
    make_model: Callable[[nnx.Rngs], nnx.Module] = partial(build.pretraining_model, config)
    blocks = -1
    if classes:
        loss = partial(classification_loss, config)
        make_model = partial(build.classifier, config, classes)
        blocks = config.finetune.trainable_blocks
    return loss, make_model, partial(trainable_parameters, last_blocks=blocks)


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
    loss, make_model, trainable = parts_of(config, classes)

    def backward(key: jax.Array, batch: DeviceBatch) -> Any:
        definition, parameters = initial(make_model, key)
        keys = jax.random.split(key, len(batch["index"]))

        def loss_of(training: Parameters) -> jax.Array:
            return loss(definition.bind(parameters | training), batch, keys)[0]

        return jax.vjp(loss_of, trainable(parameters))[1]

    few, many = (
        tree_bytes(jax.eval_shape(backward, jax.random.key(0), batch_shapes(config, classes, n)))
        for n in (8, 16)
    )
    return (many - few) // 8  # so that what is kept of the parameters does not count


def tree_bytes(tree: Any) -> int:
    """Of all arrays, or their shapes."""
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))
