"""The training loop, the same for every task: batches through a step, logs, checkpoints, stops."""

import logging
import time
from collections.abc import Callable
from functools import partial

import jax
import numpy as np
from etils import epath
from flax import nnx
from jax.experimental.multihost_utils import broadcast_one_to_all
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mv2mae_jax.data.loader import Batches, batch_ids
from mv2mae_jax.errors import InputError
from mv2mae_jax.training import health
from mv2mae_jax.training.checkpoints import Checkpoints
from mv2mae_jax.training.metrics import MetricsWriter, Progress
from mv2mae_jax.training.optimizer import adamw, describe, learning_rate
from mv2mae_jax.training.parameters import Parameters
from mv2mae_jax.training.sharding import to_devices
from mv2mae_jax.training.step import Loss, Metrics, TrainState, create_state, make_train_step
from mv2mae_jax.training.stopping import Sigterm
from mv2mae_jax.training.workdir import write_parameter_overview

log = logging.getLogger(__name__)

STOPPED_BY_SIGTERM = 143  # 128 + 15


def train(
    config: ConfigDict,
    workdir: epath.Path,
    *,
    make_model: Callable[[nnx.Rngs], nnx.Module],
    loss: Loss,
    batches: Callable[[ConfigDict, int, int, int], Batches],
    steps_per_epoch: int,
    unit: str,
    mesh: Mesh,
    initial: Parameters | None = None,
    trainable: Callable[[Parameters], Parameters] = dict,
    probe: Callable[[Parameters], dict[str, float]] | None = None,
    probe_every: int = 1,
) -> Parameters:
    """Trains to the last step, from the newest checkpoint of `workdir` if there is one.

    Args:
      config: of the experiment.
      workdir: takes checkpoints, metrics.jsonl and TensorBoard events.
      make_model: makes the model with random initial values.
      loss: of the model on a batch.
      batches: (config, start step, process index, process count) -> endless batches.
      steps_per_epoch: steps of a pass over the data.
      unit: what a sample is, for the progress: pairs, videos.
      mesh: the devices.
      initial: parameters that replace the random ones of the same names, when training starts.
      trainable: picks the parameters that train; the others keep their values.
      probe: measures parameters; its numbers are logged with those of the step.
      probe_every: steps between two probes; the last step has one too.

    Returns:
      The trained parameters, averaged if the config asks for it.

    Raises:
      SystemExit: with 143 after SIGTERM to this or another process, when the state is saved and
        training can go on.
      InputError: a number of a step is not finite.
    """
    log.info(describe(config, steps_per_epoch, unit))
    total_steps = config.epochs * steps_per_epoch
    schedule = learning_rate(config, steps_per_epoch)
    make_optimizer = partial(adamw, config, schedule)
    definition, state = create_state(
        make_model,
        make_optimizer,
        config.seed,
        mesh,
        trainable=trainable,
        averaged=config.ema_decay > 0,
    )
    write_parameter_overview(workdir, state.parameters)
    with Checkpoints(workdir, config.keep_checkpoints) as checkpoints:
        state = _begin(state, checkpoints, initial)
        step = int(state.step)
        if step >= total_steps:
            log.info("%s is trained to its last step, %d", workdir, step)
            return state.result
        if step:
            log.info("continuing %s from step %d of %d", workdir, step, total_steps)
        train_step = make_train_step(
            definition,
            loss,
            make_optimizer(state.parameters),
            seed=config.seed,
            accumulation=config.accumulation,
            state=state,
            mesh=mesh,
            trainable=trainable,
            ema_decay=config.ema_decay,
        )

        def batches_from(step: int) -> Batches:
            return batches(config, step, jax.process_index(), jax.process_count())

        def means(fetched: list[Metrics], step: int) -> dict[str, float]:
            """Over the steps since the last report, of which `step` is the last."""
            mean = {name: float(np.mean([x[name] for x in fetched])) for name in fetched[0]}
            rate = float(schedule(step - 1))
            return mean | {"learning_rate": rate, "epoch": step / steps_per_epoch}

        def failure(good: TrainState, metrics: Metrics) -> InputError:
            """What the step after the last good state met; makes its batch again to find out."""
            step = int(good.step)
            checkpoints.save_besides(step, good, config)
            with batches_from(step) as loader:
                batch = to_devices(next(loader), mesh)
            tensor = health.first_nonfinite(
                definition,
                loss,
                good.parameters,
                batch,
                seed=config.seed,
                accumulation=config.accumulation,
                mesh=mesh,
            )
            return health.failure(workdir, step + 1, tensor, batch_ids(config, step), metrics)

        progress = Progress(config.task, step, total_steps, config.batch_size * config.data.repeats)
        with (
            Sigterm(mesh) as sigterm,
            MetricsWriter(workdir, step) as writer,
            batches_from(step) as loader,
        ):
            recent: list[Metrics] = []
            stopping = False  # read once a step: what it stops, it also saves
            while step < total_steps and not stopping:
                started = time.perf_counter()
                batch = to_devices(next(loader), mesh)
                progress.waited(time.perf_counter() - started)
                state, metrics = train_step(state, batch)
                if recent:  # one step runs while the next batch is fetched, never more
                    jax.block_until_ready(recent[-1])
                recent.append(metrics)
                step += 1
                progress.step()
                stopping = sigterm.received()
                saves = stopping or step == total_steps or step % config.checkpoint_every == 0
                due = probe if step == total_steps or step % probe_every == 0 else None
                if saves or due or step % config.log_every == 0:
                    fetched, recent = jax.device_get(recent), []
                    if state.halted:  # since some step: those before it are good
                        good = len(fetched) - (step - int(state.step))
                        if good:
                            writer.write(int(state.step), means(fetched[:good], int(state.step)))
                        raise failure(state._replace(halted=~state.halted), fetched[good])
                    logged = means(fetched, step)
                    logged |= progress.report(step, logged["loss"], unit)
                    if due:
                        logged |= due(state.result)
                        progress.resume()
                    writer.write(step, logged)
                if saves:
                    writer.publish()
                    checkpoints.save(step, state, config)
                    health.forget(workdir)
            progress.close()
    if stopping and step < total_steps:
        log.info("stopped by SIGTERM; saved at step %d, the same command continues", step)
        raise SystemExit(STOPPED_BY_SIGTERM)
    return state.result


def _begin(state: TrainState, checkpoints: Checkpoints, initial: Parameters | None) -> TrainState:
    """The newest checkpoint, or else the initial parameters, or else the random ones."""
    if checkpoints.latest_step is not None:
        return checkpoints.restore(jax.tree.map(_shape_and_place, state))
    if initial:
        return _start_from(state, initial)
    log.info("starting from random values")
    return state


def _shape_and_place(x: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)


def _start_from(state: TrainState, initial: Parameters) -> TrainState:
    """Replaces parameters by those of the same names, in the places of the old ones.

    They are the first process's: what others computed may differ by rounding.
    """
    placed = {
        name: jax.device_put(value, state.parameters[name].sharding)
        for name, value in broadcast_one_to_all(initial).items()
    }
    state = state._replace(parameters=state.parameters | placed)
    if state.average is None:
        return state
    return state._replace(average={name: state.parameters[name].copy() for name in state.average})
