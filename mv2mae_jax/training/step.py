"""The optimisation step: gradients of a task's loss, accumulated, applied, all in one program."""

from collections.abc import Callable
from functools import partial
from typing import Any, Generic, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int, Key
from ml_collections import ConfigDict

from mv2mae_jax.model.layers import compiled_for
from mv2mae_jax.training.optimizer import learning_rate, update_rule
from mv2mae_jax.training.parameters import Definition, Module, Parameters, initial
from mv2mae_jax.training.sharding import batch_sharding, state_sharding

NORMS = ("gradient_norm", "update_norm", "parameter_norm")  # as they are computed, after the loss

Metrics = dict[str, Float[Array, ""]]
DeviceBatch = dict[str, Array]
# (model, batch, one random key a sample) -> (loss, what to log)
Loss = Callable[[Module, DeviceBatch, Key[Array, " B"]], tuple[Float[Array, ""], Metrics]]


class Learner(NamedTuple, Generic[Module]):
    """What is trained, and by what.

    Attributes:
      make_model: makes the model with random initial values.
      loss: of the model on a batch, a mean over its samples.
      trainable: picks the parameters that train; the others are constants of the loss.
    """

    make_model: Callable[[nnx.Rngs], Module]
    loss: Loss[Module]
    trainable: Callable[[Parameters], Parameters] = dict


class TrainState(NamedTuple):
    """All that training changes.

    Attributes:
      step: steps done.
      parameters: all of the model's.
      optimizer: state of the optimiser, for the parameters that train.
      halted: a step met a number that is not finite; the rest is from before that step, and no
        further step changes it.
      average: moving average of the parameters that train; None if none is kept.
    """

    step: Int[Array, ""]
    parameters: Parameters
    optimizer: optax.OptState
    halted: Bool[Array, ""]
    average: Parameters | None

    @property
    def result(self) -> Parameters:
        """What everything after training uses: the averaged parameters, where they are kept."""
        return self.parameters | (self.average or {})


TrainStep = Callable[[TrainState, DeviceBatch], tuple[TrainState, Metrics]]


def sample_keys(seed: int, index: Int[Array, " B"]) -> Key[Array, " B"]:
    """One key a sample, a function of (seed, running number of the sample) alone."""
    root = jax.random.key(seed)
    return jax.vmap(lambda number: jax.random.fold_in(root, number))(index)


def assemble(
    config: ConfigDict, learner: Learner[Module], steps_per_epoch: int, mesh: Mesh
) -> tuple[Definition[Module], TrainState, TrainStep]:
    """The model, the state that training begins with, and the step, as a config has them.

    Raises:
      InputError: the devices cannot share the parameters as configured.
    """
    make_optimizer = partial(update_rule, config, learning_rate(config, steps_per_epoch))
    definition, state = create_state(
        learner, make_optimizer, config.seed, mesh, averaged=config.ema_decay > 0
    )
    step = make_train_step(
        definition,
        learner,
        make_optimizer(state.parameters),
        seed=config.seed,
        accumulation=config.accumulation,
        state=state,
        mesh=mesh,
        ema_decay=config.ema_decay,
    )
    return definition, state, step


def create_state(
    learner: Learner[Module],
    make_optimizer: Callable[[Parameters], optax.GradientTransformation],
    seed: int,
    mesh: Mesh,
    *,
    averaged: bool = False,
) -> tuple[Definition[Module], TrainState]:
    """Initial values, made where they will live; no device ever holds more than its part.

    Args:
      learner: of the model.
      make_optimizer: from the parameters of the model.
      seed: of the initial values.
      mesh: the devices.
      averaged: whether the moving average of the parameters that train is kept.

    Raises:
      InputError: the devices cannot share the parameters as configured.
    """
    definitions = []  # static, so tracing hands it out by this way

    def create(key: Key[Array, ""]) -> TrainState:
        definition, parameters = initial(learner.make_model, key)
        definitions.append(definition)
        training = learner.trainable(parameters)
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            parameters=parameters,
            optimizer=make_optimizer(parameters).init(training),
            halted=jnp.zeros((), bool),
            average=jax.tree.map(jnp.copy, training) if averaged else None,
        )

    key = jax.random.key(seed)
    shapes = jax.eval_shape(jax.jit(create), key)  # jitted, so that it is traced once
    shardings = state_sharding(mesh, shapes)
    state = jax.jit(create, out_shardings=shardings)(key)
    return definitions[0], state


def make_train_step(
    definition: Definition[Module],
    learner: Learner[Module],
    optimizer: optax.GradientTransformation,
    *,
    seed: int,
    accumulation: int,
    state: TrainState,
    mesh: Mesh,
    ema_decay: float = 0.0,
) -> TrainStep:
    """Compiles (state, batch) -> (state, metrics); the old state's memory is reused.

    Metrics are the loss, what it reports, and the norms of the gradient (before it is clipped), of
    the update as applied, and of the parameters after it. If one of them is not finite, and so if
    any gradient or new parameter is not, the state stays as it was and is `halted`.

    Args:
      definition: of the model whose parameters the state holds.
      learner: of that model.
      optimizer: turns gradients into updates.
      seed: of everything random in the loss.
      accumulation: parts a batch is split into, whose gradients are averaged.
      state: of the shapes to compile for.
      mesh: the devices.
      ema_decay: of the state's average, if it has one.

    Raises:
      InputError: the devices cannot share the parameters as configured.
    """

    def gradients(parameters: Parameters, batch: DeviceBatch) -> tuple[Parameters, Metrics]:
        def loss_of(training: Parameters) -> tuple[Float[Array, ""], Metrics]:
            keys = sample_keys(seed, batch["index"])
            with compiled_for(mesh.devices.flat[0].platform):
                value, metrics = learner.loss(definition.bind(parameters | training), batch, keys)
            return value, {"loss": value, **metrics}

        return jax.grad(loss_of, has_aux=True)(learner.trainable(parameters))

    def step(state: TrainState, batch: DeviceBatch) -> tuple[TrainState, Metrics]:
        if accumulation == 1:
            grads, metrics = gradients(state.parameters, batch)
        else:
            parts = micro_batches(batch, accumulation)
            first = jax.tree.map(lambda x: x[0], parts)
            sums = jax.eval_shape(gradients, state.parameters, first)
            zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), sums)

            def add(total: Any, part: DeviceBatch) -> tuple[Any, None]:
                return jax.tree.map(jnp.add, total, gradients(state.parameters, part)), None

            total, _ = jax.lax.scan(add, zeros, parts)
            grads, metrics = jax.tree.map(lambda x: x / accumulation, total)
        training = learner.trainable(state.parameters)
        updates, optimizer_state = optimizer.update(grads, state.optimizer, training)
        training = optax.apply_updates(training, updates)
        new = state._replace(
            step=state.step + 1,
            parameters=state.parameters | training,
            optimizer=optimizer_state,
            average=moving_average(state.average, training, ema_decay, state.step),
        )
        norms = map(optax.tree.norm, (grads, updates, new.parameters))
        metrics |= zip(NORMS, norms, strict=True)
        finite = jnp.isfinite(jnp.stack(list(metrics.values()))).all()
        halted = state.halted | ~finite
        return optax.tree.where(halted, state, new)._replace(halted=halted), metrics

    shardings = state_sharding(mesh, state)
    return jax.jit(
        step,
        in_shardings=(shardings, batch_sharding(mesh)),
        out_shardings=(shardings, NamedSharding(mesh, P())),
        donate_argnums=0,
    )


def micro_batches(batch: DeviceBatch, parts: int) -> DeviceBatch:
    """[B ...] to [parts B/parts ...], interleaved: samples stay on the devices that hold them."""
    return jax.tree.map(lambda x: x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1), batch)


def moving_average(
    average: Parameters | None, parameters: Parameters, decay: float, step: Int[Array, ""]
) -> Parameters | None:
    """decay x average + (1 - decay) x parameters.

    After t steps the decay is at most (1 + t) / (10 + t), so that the initial values, from which
    the average starts, are soon forgotten (as in TensorFlow's ExponentialMovingAverage).
    """
    if average is None:
        return None
    kept = jnp.minimum(decay, (1 + step) / (10 + step))
    return jax.tree.map(lambda old, new: kept * old + (1 - kept) * new, average, parameters)
