"""What training starts from instead of random values: another run, or VideoMAE's weights."""

from collections import Counter
from collections.abc import Collection
from pathlib import Path

import jax
import jax.numpy as jnp
from etils import epath
from flax import nnx
from ml_collections import ConfigDict

from mv2mae_jax.errors import InputError
from mv2mae_jax.interop.videomae import Weights, read_weights
from mv2mae_jax.model import build
from mv2mae_jax.model.variants import VARIANTS
from mv2mae_jax.training.checkpoints import load_parameters
from mv2mae_jax.training.parameters import Parameters, split


def load_initial(config: ConfigDict, path: str | Path, *, encoder_only: bool = False) -> Parameters:
    """Parameters of the pre-training model that `path` has; says in one line which.

    Frames and image size may differ from those at `path`: positions are not parameters.

    Args:
      config: of the run that starts.
      path: a work directory, or VideoMAE's weights (see `read_weights`).
      encoder_only: leaves decoders and all else that stands before them.

    Raises:
      InputError: nothing can be read there, or it is of another architecture than the config's.
    """
    if (epath.Path(path) / "checkpoints").exists():
        parameters, trained = load_parameters(path)
        unknown: tuple[str, ...] = ()
        _check_trained(config, path, trained)
    else:
        weights = read_weights(path)
        _check_weights(config, path, weights, encoder_only)
        parameters = {name: jnp.asarray(x) for name, x in weights.parameters.items()}
        unknown = weights.unknown
    model = jax.eval_shape(lambda: split(build.pretraining_model(config, nnx.Rngs(0)))[1])
    wanted = {k: x for k, x in model.items() if k.startswith("encoder.") or not encoder_only}
    taken = {name: parameters[name] for name in wanted if name in parameters}
    for name, value in taken.items():
        if value.shape != wanted[name].shape:
            raise InputError(
                f"{path} has {name} of shape {value.shape}, but this config {wanted[name].shape}"
            )
    left, random = parameters.keys() - taken.keys(), wanted.keys() - taken.keys()
    if odd := sorted(name for name in left | random if name.startswith("encoder.")):
        where = "only there" if odd[0] in left else "not there"
        raise InputError(f"{path} has another encoder than this package: {odd[0]} is {where}")
    report = f"{len(taken)} of {len(parameters) + len(unknown)} tensors taken from {path}"
    report += f"; left, as nothing here reads them: {_counts(left)}" if left else ""
    report += f"; left, as of unknown names: {', '.join(unknown)}" if unknown else ""
    report += f"; random, as not there: {_counts(random)}" if random else ""
    print(report, flush=True)
    return taken


def _counts(names: Collection[str]) -> str:
    counts = Counter(name.split(".")[0] for name in names)
    return ", ".join(f"{part} ({count})" for part, count in sorted(counts.items()))


def _check_trained(config: ConfigDict, path: str | Path, trained: ConfigDict) -> None:
    for field in ("variant", "patch_size", "positions"):
        theirs, ours = trained.model[field], config.model[field]
        if list(theirs) != list(ours):
            raise InputError(
                f"{path} was trained with model.{field}={theirs}, but this config has {ours}; set "
                f"config.model.{field} to the run's"
            )


def _check_weights(
    config: ConfigDict, path: str | Path, weights: Weights, encoder_only: bool
) -> None:
    sizes = {
        field: size
        for field, size in weights.sizes.items()
        if not (encoder_only and field.startswith("decoder"))
    }

    def differing(variant: str) -> list[str]:
        return [field for field, size in sizes.items() if size != getattr(VARIANTS[variant], field)]

    if wrong := differing(config.model.variant):
        theirs = ", ".join(f"{field} {sizes[field]}" for field in wrong)
        fitting = [variant for variant in VARIANTS if not differing(variant)]
        raise InputError(
            f"{path} has {theirs}, but this config has model.variant={config.model.variant}; "
            + (
                f"set config.model.variant={fitting[0]}"
                if fitting
                else "no variant of mv2mae_jax/model/variants.py is like that"
            )
        )
    if weights.patch_size != tuple(config.model.patch_size):
        raise InputError(
            f"{path} has tubelets of {weights.patch_size}, but this config of "
            f"{tuple(config.model.patch_size)}; set config.model.patch_size={weights.patch_size}"
        )
    if config.model.positions != "flattened":
        raise InputError(
            f"{path} was trained with flattened positions, but this config has "
            f"model.positions={config.model.positions}; set config.model.positions=flattened"
        )
