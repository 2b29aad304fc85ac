"""AdamW with VideoMAE's schedule and rules (Tables 15 and 16)."""

import re

import optax
from ml_collections import ConfigDict

from mv2mae_jax.training.parameters import Parameters

REFERENCE_BATCH = 256  # learning rates are given for this many clips a step


def learning_rate(config: ConfigDict, steps_per_epoch: int) -> optax.Schedule:
    """Linear warm-up from 0, then half a cosine down to the minimum, per step.

    Both rates grow with the batch: base x batch_size / 256. Repeats of one decoded clip do not
    count.
    """
    scale = config.batch_size / REFERENCE_BATCH
    warmup_steps = round(config.optimizer.warmup_epochs * steps_per_epoch)
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=config.optimizer.base_learning_rate * scale,
        warmup_steps=warmup_steps,
        # A run that is shorter than its warm-up ends within it.
        decay_steps=max(config.epochs * steps_per_epoch, warmup_steps + 1),
        end_value=config.optimizer.min_learning_rate * scale,
    )


def adamw(
    config: ConfigDict, schedule: optax.Schedule, parameters: Parameters
) -> optax.GradientTransformation:
    """AdamW in PyTorch's semantics: rates and layer scales multiply the decoupled decay too."""
    optimizer = config.optimizer
    scales = layer_scales(parameters, optimizer.layer_decay)
    return optax.chain(
        optax.scale_by_adam(b1=optimizer.b1, b2=optimizer.b2, eps=1e-8),
        optax.add_decayed_weights(optimizer.weight_decay, mask=decays),
        optax.stateless(lambda updates, _: {k: scales[k] * u for k, u in updates.items()}),
        optax.scale_by_learning_rate(schedule),
    )


def decays(parameters: Parameters) -> dict[str, bool]:
    """Whether weight decay applies: not to biases, norms and the mask token (all 1-D)."""
    return {name: value.ndim > 1 for name, value in parameters.items()}


def layer_scales(parameters: Parameters, decay: float) -> dict[str, float]:
    """Factor on each parameter's learning rate: decay^(layers above it).

    With L encoder blocks the embedding has decay^(L+1), block k decay^(L-k), all the rest 1.
    """
    blocks = {
        name: int(m[1]) for name in parameters if (m := re.match(r"encoder\.blocks\.(\d+)\.", name))
    }
    depth = 1 + max(blocks.values())
    return {
        name: decay ** (depth + 1)
        if name.startswith("encoder.embed.")
        else decay ** (depth - blocks.get(name, depth))
        for name in parameters
    }
