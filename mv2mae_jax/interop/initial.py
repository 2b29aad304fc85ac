"""What training starts from instead of random values: another run, or VideoMAE's weights."""

from collections import Counter
from collections.abc import Collection
from functools import partial

from etils import epath
from ml_collections import ConfigDict

from mv2mae_jax.errors import InputError
from mv2mae_jax.interop.models import left_because, load_model
from mv2mae_jax.model import build
from mv2mae_jax.training.parameters import Parameters, definition_of


def load_initial(
    config: ConfigDict, path: epath.PathLike, *, encoder_only: bool = False
) -> Parameters:
    """Parameters of the pre-training model that `path` has; says in one line which.

    Frames and image size may differ from those at `path`: positions are not parameters.

    Args:
      config: of the run that starts.
      path: a work directory, or weights in a file or folder (see `load_model`).
      encoder_only: leaves decoders and all else that stands before them.

    Raises:
      InputError: nothing can be read there, or it is of another architecture than the config's.
    """
    parameters, trained, _, rows = load_model(path)
    for field in ("variant", "patch_size", "positions"):
        theirs, ours = trained.model[field], config.model[field]
        if list(theirs) != list(ours):
            raise InputError(
                f"{path} has model.{field}={theirs}, but this config has {ours}; set "
                f"config.model.{field}={theirs}"
            )
    model = definition_of(partial(build.pretraining_model, config)).shape_of
    wanted = {name for name in model if name.startswith("encoder.") or not encoder_only}
    taken = {name: parameters[name] for name in wanted & parameters.keys()}
    for name, value in taken.items():
        if value.shape != model[name]:
            raise InputError(
                f"{path} is of another architecture than its config says: {name} is of shape "
                f"{value.shape}, here {model[name]}"
            )
    count = sum(not row.left and taken.keys() >= set(row.parameters) for row in rows)
    unread, random = parameters.keys() - taken.keys(), wanted - taken.keys()
    report = f"{count} of {len(rows)} tensors taken from {path}"
    report += f"; left, as nothing here reads them: {_counts(unread)}" if unread else ""
    for why, names in left_because(rows).items():
        report += f"; left, as {why}: {_counts(names)}"
    report += f"; random, as not there: {_counts(random)}" if random else ""
    for name in ("mean", "std"):
        theirs, ours = (list(x.data[name]) for x in (trained, config))
        report += f"; it was trained on pixels of {name} {theirs}, here {ours}" * (theirs != ours)
    print(report, flush=True)
    return taken


def _counts(names: Collection[str]) -> str:
    counts = Counter(name.split(".")[0] for name in names)
    return ", ".join(f"{part} ({count})" for part, count in sorted(counts.items()))
