"""What is said about a run that met numbers that are not finite: where they arose, what is kept.

The step itself (training/step.py) only notices them and changes nothing. Here its batch is made
again, and gone through tensor by tensor.
"""

import json
import logging
import math
from typing import Any

import jax
import jax.numpy as jnp
from etils import epath
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int

from mv2mae_jax.errors import InputError, lacking_memory
from mv2mae_jax.storage import write_whole
from mv2mae_jax.training.parameters import Definition, Module, Parameters
from mv2mae_jax.training.step import (
    NORMS,
    DeviceBatch,
    Learner,
    Metrics,
    micro_batches,
    sample_keys,
)

log = logging.getLogger(__name__)

REPORT = "nonfinite.json"
IDS_SHOWN = 4

Tensors = list[tuple[str, Any]]  # by name, in order; also trees of tensors


def first_nonfinite(
    definition: Definition[Module],
    learner: Learner[Module],
    parameters: Parameters,
    batch: DeviceBatch,
    *,
    seed: int,
    accumulation: int,
    mesh: Mesh,
) -> str | None:
    """Name of the first tensor of a step that is not finite.

    None if all are, and if a device lacks the memory to look at them: all that a module returns is
    kept, also where the step keeps less (`remat`).

    They are looked at in this order: parameters, batch, outputs of the model's modules as each
    returns, terms of the loss, gradients; micro-batch after micro-batch.

    Args:
      definition: of the model.
      learner: of the run.
      parameters: of the whole model, before the step.
      batch: of the step.
      seed: of everything random in the loss.
      accumulation: micro-batches of the step.
      mesh: the devices.
    """
    names: list[str] = []  # static, so tracing hands them out by this way

    def inspect(
        parameters: Parameters, batch: DeviceBatch, part: Int[Array, ""]
    ) -> list[Bool[Array, ""]]:
        batch = jax.tree.map(lambda x: x[part], micro_batches(batch, accumulation))
        forward: list[str] = []

        def loss_of(training: Parameters) -> tuple[Float[Array, ""], list[Any]]:
            tensors: Tensors = []
            model = watched(definition.bind(parameters | training), tensors)
            value, metrics = learner.loss(model, batch, sample_keys(seed, batch["index"]))
            tensors += [*metrics.items(), ("loss", value)]
            forward.extend(name for name, _ in tensors)
            return value, [tensor for _, tensor in tensors]

        gradients, tensors = jax.grad(loss_of, has_aux=True)(learner.trainable(parameters))
        everything: Tensors = [
            *((f"{name} (parameter)", value) for name, value in parameters.items()),
            *((f"{name} (batch)", value) for name, value in batch.items()),
            *zip(forward, tensors, strict=True),
            *((f"{name} (gradient)", value) for name, value in gradients.items()),
        ]
        names[:] = [name for name, _ in everything]
        return [all_finite(tensor) for _, tensor in everything]

    compiled = jax.jit(inspect, out_shardings=NamedSharding(mesh, P()))
    for part in range(accumulation):
        try:
            finite = jax.device_get(compiled(parameters, batch, jnp.asarray(part)))
        except jax.errors.JaxRuntimeError as error:
            if lacking := lacking_memory(error):
                log.warning("which tensor it was cannot be found out: %s", lacking)
                return None
            raise
        for name, is_finite in zip(names, finite, strict=True):
            if not is_finite:
                return name
    return None


def watched(model: Module, outputs: Tensors) -> Module:
    """The model, made to append what each of its modules returns to `outputs`."""
    # Functions of their own would hide what is inside.
    model.set_attributes(remat=False, inline=True, raise_if_not_found=False)
    for path, module in list(nnx.iter_modules(model)):
        if callable(module):
            name = ".".join(map(str, path)) or "model"
            object.__setattr__(module, "__class__", _watching(type(module), name, outputs))
    return model


def _watching(kind: type, name: str, outputs: Tensors) -> type:
    class Watching(kind):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            result = super().__call__(*args, **kwargs)
            outputs.append((f"{name} (output)", result))
            return result

    return Watching


def all_finite(tree: Any) -> Bool[Array, ""]:
    """Whether every number of a tree is finite."""
    return jax.tree.reduce(
        jnp.logical_and, jax.tree.map(lambda x: jnp.isfinite(x).all(), tree), jnp.asarray(True)
    )


def forget(workdir: epath.Path) -> None:
    """A run that has come past its failure is as any other."""
    if jax.process_index() == 0:
        (workdir / REPORT).unlink(missing_ok=True)


def failure(
    workdir: epath.Path, step: int, tensor: str | None, ids: list[str], metrics: Metrics
) -> InputError:
    """Writes `nonfinite.json` and returns the error that ends the run.

    Args:
      workdir: of the run.
      step: that met numbers that are not finite, as metrics.jsonl counts.
      tensor: the first that is not finite; None takes the first such metric, norms last.
      ids: what the step's batch is made of.
      metrics: of the step.
    """
    if tensor is None:  # a compiled step returns metrics by name, not in the order of computation
        order = [name for name in metrics if name not in NORMS] + list(NORMS)
        tensor = next(name for name in order if not math.isfinite(metrics[name]))
    numbers = {
        name: float(value) if math.isfinite(value) else str(value)
        for name, value in metrics.items()
    }
    report = {"step": step, "tensor": tensor, "batch": ids, "metrics": numbers}
    if jax.process_index() == 0:
        write_whole(workdir / REPORT, json.dumps(report, indent=2) + "\n")
    shown = ", ".join(ids[:IDS_SHOWN]) + (", ..." if len(ids) > IDS_SHOWN else "")
    return InputError(
        f"step {step} met numbers that are not finite, first in {tensor}; its batch: {shown} "
        f"({len(ids)} in all, in {workdir / REPORT}); the state before it is kept, as checkpoint "
        f"{step - 1}: continue with a lower config.optimizer.base_learning_rate, with "
        "config.optimizer.clip_norm=1 or with config.model.dtype=float32; if that stops here too, "
        "delete this checkpoint to go back to the one before"
    )
