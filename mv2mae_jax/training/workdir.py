"""A run's work directory: its config, the names of its classes, and what its parameters are."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import jax
from clu import parameter_overview
from etils import epath
from jax.experimental.multihost_utils import sync_global_devices
from ml_collections import ConfigDict

from mv2mae_jax.check import fields, to_store
from mv2mae_jax.errors import InputError
from mv2mae_jax.processes import take_lock
from mv2mae_jax.run_files import CHECKPOINTS, CLASSES, CONFIG, IMPORT_REPORT, read_config
from mv2mae_jax.storage import is_local, to_path, write_whole, written
from mv2mae_jax.training.health import REPORT
from mv2mae_jax.training.parameters import Parameters

# Fields that may differ when a run is continued: where it runs, not what it computes.
FREE_FIELDS = (
    "data.data_dir",
    "data.workers",
    "data.threads",
    "data.bad_records",
    "log_every",
    "checkpoint_every",
    "keep_checkpoints",
    "mesh.fsdp",
    "accumulation",
    "evaluation.clips",
    "evaluation.crops",
    "evaluation.batch_size",
    "data.evaluate_on",
    "model.remat",
    "finetune.validate_every_epochs",
    "probe.every_epochs",
    "probe.train_videos",
    "probe.test_videos",
    "pictures_every_epochs",
)
# Further fields that may differ after a step that was not finite: the cure.
CURES = ("optimizer.", "model.dtype")

LOCK = "run.lock"


@contextmanager
def opened(workdir: epath.PathLike, config: ConfigDict) -> Iterator[epath.Path]:
    """The work directory of a run, which no other run enters meanwhile.

    Makes the directory and writes `config.json`, or checks the config against the one there. After
    a step that was not finite (`nonfinite.json` is there), the optimiser and the type of the
    activities may be changed. The first process does it, and all others wait until it is done.

    Raises:
      InputError: a run with another config is in this directory, or imported weights are; another
        run uses it now; it cannot be written; or a process does not see it.
    """
    path = to_path(workdir)
    with _locked(path) if jax.process_index() == 0 else nullcontext():
        if jax.process_index() == 0:
            _claim(path, config)
        sync_global_devices("config.json is written")
        if not (path / CONFIG).exists():
            raise InputError(
                f"{path} is another directory for process {jax.process_index()} than for the "
                "first; choose a --workdir on a file system that all share"
            )
        yield path


@contextmanager
def _locked(path: epath.Path) -> Iterator[None]:
    """Makes the directory and holds its lock, which ends with the process, however that ends."""
    with written(path):
        path.mkdir(parents=True, exist_ok=True)
    if not is_local(path):  # which has no locks
        yield
        return
    with written(path):
        lock = open(path / LOCK, "a+", encoding="utf-8")  # noqa: SIM115
    with lock:
        if not take_lock(lock):
            lock.seek(0)
            raise InputError(
                f"another run uses {path} ({lock.read().strip()}); stop it, wait for it, or choose "
                "another --workdir"
            )
        with written(path):
            lock.truncate(0)
            lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            lock.flush()
        yield


def _claim(path: epath.Path, config: ConfigDict) -> None:
    if (path / IMPORT_REPORT).exists():
        raise InputError(
            f"{path} holds imported weights; start from them in a --workdir of its own, with "
            f"--config.{config.task}.init_from={path}"
        )
    if (path / CONFIG).exists() and _has_saved(path):
        before = dict(fields(read_config(path)))
        free = FREE_FIELDS + (CURES if (path / REPORT).exists() else ())
        if config.finetune.mixup or config.finetune.cutmix:  # partners are of the same part
            free = tuple(name for name in free if name != "accumulation")
        changed = {
            f"{name}: {before[name]!r} there, {value!r} now"
            for name, value in fields(config)
            if not name.startswith(free) and before[name] != value
        }
        if changed:
            raise InputError(
                f"{path} holds a run with another config ({'; '.join(sorted(changed))}); choose "
                "another --workdir, or the same config to continue it"
            )
    write_config(path, config)


def _has_saved(path: epath.Path) -> bool:
    """Whether a run has come to a checkpoint there; until then it has nothing to lose."""
    checkpoints = path / CHECKPOINTS
    return checkpoints.exists() and any(step.name.isdigit() for step in checkpoints.iterdir())


def write_config(workdir: epath.PathLike, config: ConfigDict) -> None:
    """Writes `config.json`.

    Raises:
      InputError: it cannot be written.
    """
    text = json.dumps(to_store(config), indent=2)
    write_whole(to_path(workdir) / CONFIG, text + "\n")


def write_classes(workdir: epath.PathLike, names: tuple[str, ...]) -> None:
    """Names the classes that labels count, so that they go where the classifier goes.

    Raises:
      InputError: they cannot be written.
    """
    if jax.process_index() > 0:
        return
    write_whole(to_path(workdir) / CLASSES, json.dumps(names, indent=2) + "\n")


def write_parameter_overview(workdir: epath.Path, parameters: Parameters) -> None:
    """Every parameter with its shape to `parameters.txt`; their number by module on the screen."""
    if jax.process_index() > 0:
        return
    overview = parameter_overview.get_parameter_overview(parameters, include_stats=False)
    write_whole(workdir / "parameters.txt", overview + "\n")
    sizes: dict[str, int] = {}
    for name, value in parameters.items():
        module = name.split(".")[0]
        sizes[module] = sizes.get(module, 0) + value.size
    parts = ", ".join(f"{module} {size / 1e6:.2f}" for module, size in sizes.items())
    total = sum(sizes.values()) / 1e6
    print(f"{total:.2f} M parameters ({parts}); all of them in {workdir / 'parameters.txt'}")
