"""The optimisation step: gradients of a task's loss, accumulated, applied, all in one program."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int, Key

from mv2mae_jax.training.parameters import Definition, Parameters, split
from mv2mae_jax.training.sharding import batch_sharding, state_sharding

Module = TypeVar("Module", bound=nnx.Module)
Metrics = dict[str, Float[Array, ""]]
DeviceBatch = dict[str, Array]
# (model, batch, one random key a sample) -> (loss, what to log)
Loss = Callable[[Module, DeviceBatch, Key[Array, " B"]], tuple[Float[Array, ""], Metrics]]


class TrainState(NamedTuple):
    """All that training changes."""

    step: Int[Array, ""]
    parameters: Parameters
    optimizer: optax.OptState


def sample_keys(seed: int, index: Int[Array, " B"]) -> Key[Array, " B"]:
    """One key a sample, a function of (seed, running number of the sample) alone."""
    root = jax.random.key(seed)
    return jax.vmap(lambda number: jax.random.fold_in(root, number))(index)


def create_state(
    make_model: Callable[[nnx.Rngs], Module],
    make_optimizer: Callable[[Parameters], optax.GradientTransformation],
    seed: int,
    mesh: Mesh,
) -> tuple[Definition[Module], TrainState]:
    """Initial values, made where they will live; no device ever holds more than its part."""
    definitions = []  # static, so tracing hands it out by this way

    def create(key: Key[Array, ""]) -> TrainState:
        definition, parameters = split(make_model(nnx.Rngs(key)))
        definitions.append(definition)
        optimizer_state = make_optimizer(parameters).init(parameters)
        return TrainState(jnp.zeros((), jnp.int32), parameters, optimizer_state)

    key = jax.random.key(seed)
    shardings = state_sharding(mesh, jax.eval_shape(create, key))
    state = jax.jit(create, out_shardings=shardings)(key)
    return definitions[0], state


def make_train_step(
    definition: Definition[Module],
    loss: Loss,
    optimizer: optax.GradientTransformation,
    *,
    seed: int,
    accumulation: int,
    state: TrainState,
    mesh: Mesh,
) -> Callable[[TrainState, DeviceBatch], tuple[TrainState, Metrics]]:
    """Compiles (state, batch) -> (state, metrics); the old state's memory is reused.

    Args:
      definition: of the model whose parameters the state holds.
      loss: of a model on a batch, a mean over its samples.
      optimizer: turns gradients into updates.
      seed: of everything random in the loss.
      accumulation: parts a batch is split into, whose gradients are averaged.
      state: of the shapes to compile for.
      mesh: the devices.
    """

    def gradients(parameters: Parameters, batch: DeviceBatch) -> tuple[Parameters, Metrics]:
        def loss_of(parameters: Parameters) -> tuple[Float[Array, ""], Metrics]:
            keys = sample_keys(seed, batch["index"])
            value, metrics = loss(definition.bind(parameters), batch, keys)
            return value, {"loss": value, **metrics}

        return jax.grad(loss_of, has_aux=True)(parameters)

    def step(state: TrainState, batch: DeviceBatch) -> tuple[TrainState, Metrics]:
        if accumulation == 1:
            grads, metrics = gradients(state.parameters, batch)
        else:
            # Interleaved parts: each keeps its samples on the devices that hold them.
            parts = jax.tree.map(
                lambda x: x.reshape(-1, accumulation, *x.shape[1:]).swapaxes(0, 1), batch
            )
            _, all_parts = jax.eval_shape(
                lambda: (0, gradients(state.parameters, jax.tree.map(lambda x: x[0], parts)))
            )
            zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), all_parts)

            def add(total: Any, part: DeviceBatch) -> tuple[Any, None]:
                return jax.tree.map(jnp.add, total, gradients(state.parameters, part)), None

            total, _ = jax.lax.scan(add, zeros, parts)
            grads, metrics = jax.tree.map(lambda x: x / accumulation, total)
        updates, optimizer_state = optimizer.update(grads, state.optimizer, state.parameters)
        metrics["gradient_norm"] = optax.tree.norm(grads)
        parameters = optax.apply_updates(state.parameters, updates)
        return TrainState(state.step + 1, parameters, optimizer_state), metrics

    shardings = state_sharding(mesh, state)
    return jax.jit(
        step,
        in_shardings=(shardings, batch_sharding(mesh)),
        out_shardings=(shardings, NamedSharding(mesh, P())),
        donate_argnums=0,
    )
