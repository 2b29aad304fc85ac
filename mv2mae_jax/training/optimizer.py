"""AdamW with VideoMAE's schedule and rules (Tables 15 and 16)."""

import re

import optax
from ml_collections import ConfigDict

from mv2mae_jax.training.parameters import Parameters


def learning_rate(config: ConfigDict, steps_per_epoch: int) -> optax.Schedule:
    """Linear warm-up from 0, then half a cosine down to the minimum, per step.

    Both rates grow with the batch: base x batch_size / reference_batch. Repeats of one decoded clip
    do not count. The minimum is at most the base rate: the cosine never rises.
    """
    base = config.optimizer.base_learning_rate
    minimum = min(config.optimizer.min_learning_rate, base)
    scale = config.batch_size / config.optimizer.reference_batch
    warmup_steps, total_steps = _steps(config, steps_per_epoch)
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=base * scale,
        warmup_steps=warmup_steps,
        # A run that is shorter than its warm-up ends within it.
        decay_steps=max(total_steps, warmup_steps + 1),
        end_value=minimum * scale,
    )


def describe(config: ConfigDict, steps_per_epoch: int, unit: str) -> str:
    """What the rules on learning rate and accumulation make of a config, in a line."""
    optimizer, size, parts = config.optimizer, config.batch_size, config.accumulation
    base, reference = optimizer.base_learning_rate, optimizer.reference_batch
    warmup, total = _steps(config, steps_per_epoch)
    samples = f"{size:,} {unit}"
    if config.data.repeats > 1:
        samples += f" x {config.data.repeats} repeats"
    if parts > 1:
        samples += f" in {parts} micro-batches of {size * config.data.repeats // parts:,}"
    return (
        f"learning rate {base * size / reference:.6g} = {base:g} x {size} / {reference}; "
        f"warm-up {min(warmup, total):,} of {total:,} steps; a step is {samples}"
    )


def _steps(config: ConfigDict, steps_per_epoch: int) -> tuple[int, int]:
    """Of the warm-up, and in all."""
    warmup = round(config.optimizer.warmup_epochs * steps_per_epoch)
    return warmup, config.epochs * steps_per_epoch


def update_rule(
    config: ConfigDict, schedule: optax.Schedule, parameters: Parameters
) -> optax.GradientTransformation:
    """What gradients become: AdamW in PyTorch's semantics.

    Rates and layer scales multiply the decoupled decay too.
    """
    optimizer = config.optimizer
    clip = optimizer.clip_norm
    scales = layer_scales(parameters, optimizer.layer_decay)
    return optax.chain(
        optax.clip_by_global_norm(clip) if clip else optax.identity(),
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
    blocks = _encoder_blocks(parameters)
    depth = 1 + max(blocks.values())
    return {
        name: decay ** (depth + 1)
        if name.startswith("encoder.embed.")
        else decay ** (depth - blocks.get(name, depth))
        for name in parameters
    }


def trainable_parameters(parameters: Parameters, last_blocks: int) -> Parameters:
    """The parameters of the last encoder blocks, and of all that is not the encoder's.

    Args:
      parameters: of a classifier.
      last_blocks: how many, at most all; 0 is a frozen encoder, -1 leaves nothing out, not even the
        embedding.
    """
    if last_blocks == -1:
        return parameters
    blocks = _encoder_blocks(parameters)
    depth = 1 + max(blocks.values())
    return {
        name: value
        for name, value in parameters.items()
        if not name.startswith("encoder.") or blocks.get(name, -1) >= depth - last_blocks
    }


def _encoder_blocks(parameters: Parameters) -> dict[str, int]:
    """The number of the block, for every parameter of the encoder's blocks."""
    matches = {name: re.match(r"encoder\.blocks\.(\d+)\.", name) for name in parameters}
    return {name: int(match[1]) for name, match in matches.items() if match}
