"""The training loop, the same for every task: batches through a step, logs, checkpoints, stops."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.experimental.multihost_utils import broadcast_one_to_all
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mv2mae_jax.data.loader import Batches, batch_ids
from mv2mae_jax.errors import InputError
from mv2mae_jax.training import health
from mv2mae_jax.training.checkpoints import Checkpoints, Rest
from mv2mae_jax.training.metrics import MetricsWriter, Progress
from mv2mae_jax.training.optimizer import describe, learning_rate
from mv2mae_jax.training.parameters import Module, Parameters
from mv2mae_jax.training.sharding import to_devices
from mv2mae_jax.training.step import Learner, Metrics, TrainState, assemble
from mv2mae_jax.training.stopping import Stop
from mv2mae_jax.training.workdir import write_parameter_overview

log = logging.getLogger(__name__)

Scalars = dict[str, Any]  # metrics of a step, on the devices or fetched


def train(
    config: ConfigDict,
    workdir: epath.Path,
    *,
    learner: Learner[Module],
    batches: Callable[[ConfigDict, int, int, int], Batches],
    steps_per_epoch: int,
    unit: str,
    mesh: Mesh,
    data: str = "",
    initial: Parameters | None = None,
    measure: Callable[[Parameters], dict[str, float]] | None = None,
    measure_every: int = 1,
    pictures: Callable[[Parameters], dict[str, bytes]] | None = None,
    pictures_every: int = 1,
) -> Parameters:
    """Trains to the last step, from the newest checkpoint of `workdir` if there is one.

    Args:
      config: of the experiment.
      workdir: takes checkpoints, metrics.jsonl and TensorBoard events.
      learner: the model, its loss, and what of it trains.
      batches: (config, start step, process index, process count) -> endless batches.
      steps_per_epoch: steps of a pass over the data.
      unit: what a sample is, for the progress: pairs, clips.
      mesh: the devices.
      data: fingerprint of the data set.
      initial: parameters that replace the random ones of the same names, when training starts.
      measure: probes or validates parameters; its numbers are logged with those of the step.
      measure_every: steps between two of these; the last step has one too.
      pictures: draws parameters, image files by name, for TensorBoard.
      pictures_every: steps between two of them; the last step has some too.

    Returns:
      The trained parameters, averaged if the config asks for it.

    Raises:
      SystemExit: with 143 after SIGTERM or SIGINT to this or another process, when the state is
        saved and training can go on.
      InputError: a number of a step is not finite; the data are not those of the checkpoint; what
        is to be written cannot be.
    """
    log.info(describe(config, steps_per_epoch, unit))
    total_steps = config.epochs * steps_per_epoch
    schedule = learning_rate(config, steps_per_epoch)
    definition, state, train_step = assemble(config, learner, steps_per_epoch, mesh)
    with Stop(mesh) as stop, Checkpoints(workdir, config.keep_checkpoints) as checkpoints:
        state, recent = _begin(state, checkpoints, initial, data)
        write_parameter_overview(workdir, state.parameters)
        step = int(state.step)
        if step >= total_steps:
            log.info("%s is trained to its last step, %d", workdir, step)
            return state.result
        if step:
            log.info("continuing %s from step %d of %d", workdir, step, total_steps)

        def batches_from(step: int) -> Batches:
            return batches(config, step, jax.process_index(), jax.process_count())

        def means(recent: Sequence[Scalars], step: int) -> dict[str, float]:
            """Over the steps since the last line, of which `step` is the last."""
            mean = {name: float(np.mean([x[name] for x in recent])) for name in recent[0]}
            rate = float(schedule(step - 1))
            return mean | {"learning_rate": rate, "epoch": step / steps_per_epoch}

        def failure(good: TrainState, metrics: Metrics) -> InputError:
            """What the step after the last good state met; makes its batch again to find out."""
            step = int(good.step)
            checkpoints.save_besides(step, good, config, Rest(data))
            with batches_from(step) as loader:
                batch = to_devices(next(loader), mesh)
            tensor = health.first_nonfinite(
                definition,
                learner,
                good.parameters,
                batch,
                seed=config.seed,
                accumulation=config.accumulation,
                mesh=mesh,
            )
            return health.failure(workdir, step + 1, tensor, batch_ids(config, step), metrics)

        samples = config.batch_size * config.data.repeats
        with (
            closing(Progress(config.task, step, total_steps, samples)) as progress,
            MetricsWriter(workdir, step) as writer,
            batches_from(step) as loader,
        ):
            stopping = False  # read once a step: what it stops, it also saves
            while step < total_steps and not stopping:
                started = time.perf_counter()
                batch = to_devices(next(loader), mesh)
                progress.waited(started)
                state, metrics = train_step(state, batch)
                if recent:  # one step runs while the next batch is fetched, never more
                    jax.block_until_ready(recent[-1])
                recent.append(metrics)
                step += 1
                progress.step(metrics)
                stopping = stop.received()
                is_last = step == total_steps
                saves = stopping or is_last or step % config.checkpoint_every == 0
                due = measure if is_last or step % measure_every == 0 else None
                draw = pictures if is_last or step % pictures_every == 0 else None
                reports = due or draw or is_last or step % config.log_every == 0
                if saves or reports:
                    recent = _fetched(recent)
                    if state.halted:  # since some step: those before it are good
                        good = len(recent) - (step - int(state.step))
                        if good and int(state.step) != checkpoints.latest_step:  # which has them
                            writer.write(int(state.step), means(recent[:good], int(state.step)))
                            writer.publish()
                        raise failure(state._replace(halted=~state.halted), recent[good])
                if reports:
                    logged = means(recent, step) | loader.counts()
                    logged |= progress.report(step, logged["loss"], unit)
                    recent = []
                    if due:
                        logged |= due(state.result)
                    writer.write(step, logged)
                    if draw:
                        writer.write_pictures(step, draw(state.result))
                    if due or draw:
                        progress.resume()
                if saves:
                    writer.publish()
                    checkpoints.save(step, state, config, Rest(data, tuple(recent)))
                    health.forget(workdir)
        if stopping:
            log.info("saved at step %d of %d", step, total_steps)
    return state.result


def _begin(
    state: TrainState, checkpoints: Checkpoints, initial: Parameters | None, data: str
) -> tuple[TrainState, list[Scalars]]:
    """The newest checkpoint, or else the initial parameters, or else the random ones.

    With the metrics that are not written yet.
    """
    if checkpoints.latest_step is not None:
        rest = checkpoints.restore_rest()
        if rest.data != data:
            raise InputError(
                f"the data set has changed since step {checkpoints.latest_step} of "
                f"{checkpoints.directory.parent}; put back the one it was trained on, or start "
                "from this run by init_from in another --workdir"
            )
        return checkpoints.restore(jax.tree.map(_shape_and_place, state)), list(rest.recent)
    if initial:
        return _start_from(state, initial), []
    log.info("starting from random values")
    return state, []


def _fetched(recent: list[Scalars]) -> list[Scalars]:
    """From the devices; as Python's floats, which a checkpoint keeps exactly."""
    return [{name: float(x) for name, x in step.items()} for step in jax.device_get(recent)]


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
