"""Checkpoints in a work directory, by Orbax: all that a run needs to go on as if never stopped.

That is the training state, the config it belongs to, which data it was trained on, and metrics that
are not written yet. The position in the data is the step itself (see data/loader.py).
"""

import inspect
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, Self

import jax
import orbax.checkpoint as ocp
from etils import epath
from ml_collections import ConfigDict

from mv2mae_jax.check import stored_config
from mv2mae_jax.errors import InputError, one_line
from mv2mae_jax.run_files import CHECKPOINTS
from mv2mae_jax.storage import is_local, to_path
from mv2mae_jax.training.parameters import Parameters


class Rest(NamedTuple):
    """What a checkpoint holds besides the state and the config.

    Attributes:
      data: fingerprint of the data set (`data.records.fingerprint`); empty if there is none.
      recent: metrics of the last steps, those since the last line of metrics.jsonl.
    """

    data: str = ""
    recent: Sequence[dict[str, float]] = ()


NOTHING = Rest()


class Checkpoints:
    """The checkpoints of one work directory; a context manager that waits for pending writes."""

    def __init__(self, workdir: epath.PathLike, keep: int | None = None):
        """Opens them, to read or to write.

        Args:
          workdir: of the run.
          keep: the newest ones to keep; from the run itself, which also removes what it left
            incomplete when it was killed.
        """
        path = to_path(workdir)
        # `absolute` would take a bucket for a folder in this one.
        path = path if path.is_absolute() else path.absolute()
        self.directory = path / CHECKPOINTS
        self._manager = ocp.CheckpointManager(
            self.directory,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=keep, cleanup_tmp_directories=keep is not None
            ),
            item_handlers={
                "state": ocp.PyTreeCheckpointHandler(),
                "config": ocp.JsonCheckpointHandler(),
                "rest": ocp.JsonCheckpointHandler(),
            },
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._written():
            self._manager.close()

    @property
    def latest_step(self) -> int | None:
        """Step of the newest complete checkpoint; None if there is none."""
        return self._manager.latest_step()

    def save(self, step: int, state: Any, config: ConfigDict, rest: Rest = NOTHING) -> None:
        """Writes in the background; does nothing if this step is saved already.

        Raises:
          InputError: this or an earlier one could not be written.
        """
        if step != self.latest_step:
            items = ocp.args.Composite(
                state=ocp.args.PyTreeSave(state),
                config=ocp.args.JsonSave(config.to_dict()),
                rest=ocp.args.JsonSave(rest._asdict()),
            )
            with self._written():
                self._manager.wait_until_finished()
                self._need_room_for(state)
                self._manager.save(step, args=items)

    def save_besides(self, step: int, state: Any, config: ConfigDict, rest: Rest) -> None:
        """Writes at once, and removes no older checkpoint for it."""
        with self._written():
            self._manager.wait_until_finished()
        with Checkpoints(self.directory.parent) as unlimited:
            unlimited.save(step, state, config, rest)

    def _need_room_for(self, state: Any) -> None:
        """Found out before anything is written, where it can be."""
        if not is_local(self.directory):
            return
        free = shutil.disk_usage(self.directory).free
        if (needed := sum(x.nbytes for x in jax.tree.leaves(state))) > free:
            raise OSError(f"a state takes {needed / 1e6:.1f} MB, {free / 1e6:.1f} are free")

    @contextmanager
    def _written(self) -> Iterator[None]:
        """Says in one line that a checkpoint could not be written, and what there is."""
        _leave_late_failures_unsaid()
        try:
            yield
        except (OSError, ValueError) as error:  # the second from TensorStore
            steps = ", ".join(map(str, self._manager.all_steps(read=True))) or "none"
            raise InputError(
                f"{self.directory} cannot be written ({one_line(error)}); complete there: {steps}; "
                "make room or give the right to write, and the same command continues"
            ) from error

    def restore(self, like: Any, *, partial: bool = False) -> Any:
        """The newest state, with the shapes, types and shardings of `like`.

        `partial`: `like` names only some of what was saved.

        Raises:
          InputError: it cannot be read, or is not like `like`.
        """
        if not partial:
            self._check_same_model(like)
        args = ocp.args.PyTreeRestore(
            item=like,
            restore_args=ocp.checkpoint_utils.construct_restore_args(like),
            partial_restore=partial,
        )
        with self._reading():
            return self._item("state", args)

    def restore_config(self) -> ConfigDict:
        """The config that the newest state was trained with.

        Raises:
          InputError: it cannot be read.
        """
        with self._reading():
            return stored_config(self._item("config", ocp.args.JsonRestore()))

    def restore_rest(self) -> Rest:
        """What else was saved with the newest state.

        Raises:
          InputError: it cannot be read.
        """
        with self._reading():
            return Rest(**self._item("rest", ocp.args.JsonRestore()))

    def shapes(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """Shapes by name of the newest `parameters`, and of their `average` if there is one.

        Raises:
          InputError: they cannot be read.
        """
        with self._reading():
            tree = self._stored_tree()
            parts = {"parameters": tree["parameters"], "average": tree.get("average")}
            return {
                part: {name: tuple(leaf.shape) for name, leaf in leaves.items()}
                for part, leaves in parts.items()
                if leaves
            }

    def _item(self, name: str, args: ocp.args.CheckpointArgs) -> Any:
        """One of the things that the newest checkpoint holds."""
        return self._manager.restore(self.latest_step, args=ocp.args.Composite(**{name: args}))[
            name
        ]

    def _stored_tree(self) -> Any:
        """What the newest state is made of, without its values."""
        return self._manager.item_metadata(self.latest_step)["state"].tree

    def _check_same_model(self, like: Any) -> None:
        with self._reading():
            stored, ours = (
                {name: tuple(leaf.shape) for name, leaf in flat.items()}
                for flat in map(_flat, (self._stored_tree(), like))
            )
        for name in sorted(stored | ours):
            theirs, wanted = (shapes.get(name, "missing") for shapes in (stored, ours))
            if theirs != wanted:
                raise InputError(
                    f"{self._newest} is of another model than this config's: the shape of {name} "
                    f"is {theirs} there, {wanted} here; choose another --workdir, or the config "
                    "that it was trained with"
                )

    @property
    def _newest(self) -> epath.Path:
        return self.directory / str(self.latest_step)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Names the newest checkpoint if it cannot be read, and those before it.

        Nothing falls back to one of these by itself.
        """
        _leave_late_failures_unsaid()
        try:
            yield
        except (MemoryError, jax.errors.JaxRuntimeError):  # of this machine, not of the files
            raise
        except Exception as error:  # of damaged files: any type, bare `Exception` too
            if not self._newest.exists():
                raise InputError(
                    f"{self._newest} was deleted meanwhile, as a run does that saves a newer one; "
                    "start the same command again"
                ) from error
            kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
            reason = textwrap.shorten(f"{kind}{error}", 200)
            *older, _ = sorted(self._manager.all_steps())
            remedy = (
                f"delete this folder to go back to step {older[-1]} (there are {older})"
                if older
                else "no other is beside it: train anew in another --workdir"
            )
            raise InputError(
                f"checkpoint {self._newest} is damaged ({reason}); {remedy}"
            ) from error


def _leave_late_failures_unsaid() -> None:
    """From now on, of what was still being read or written when the first failure was raised.

    It is told later, by tracebacks to nobody, hundreds where a disk is full.
    """
    hook = sys.unraisablehook
    if not (isinstance(hook, partial) and hook.func is _unless_late):
        sys.unraisablehook = partial(_unless_late, hook)


def _unless_late(hook: Callable[[Any], object], unraisable: Any) -> None:
    error = unraisable.exc_value
    late = isinstance(error, RuntimeError) and "loop is closed" in str(error)
    if not late and not inspect.iscoroutine(unraisable.object):
        hook(unraisable)


def _flat(tree: Any) -> dict[str, Any]:
    """Leaves by the path to them; empty branches and None are not among them."""
    leaves = ocp.tree.to_flat_dict(tree, sep=".")
    return {name: leaf for name, leaf in leaves.items() if hasattr(leaf, "shape")}


def load_parameters(workdir: epath.PathLike) -> tuple[Parameters, ConfigDict]:
    """The newest parameters of a run and its config, for a use other than continuing it.

    Where the run keeps their moving average (`ema_decay`), they are the averaged ones.

    Raises:
      InputError: there is no checkpoint in `workdir`, or the newest cannot be read.
    """
    directory = to_path(workdir) / CHECKPOINTS
    if not directory.exists():
        raise InputError(f"{workdir} has no checkpoints; name the work directory of a training run")
    with Checkpoints(workdir) as checkpoints:
        if checkpoints.latest_step is None:
            raise InputError(f"{directory} holds no complete checkpoint; let the run save one")
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        like = {
            part: {
                name: jax.ShapeDtypeStruct(shape, "float32", sharding=device)
                for name, shape in shapes.items()
            }
            for part, shapes in checkpoints.shapes().items()
        }
        state = checkpoints.restore(like, partial=True)
        return state["parameters"] | state.get("average", {}), checkpoints.restore_config()


def has_checkpoint(workdir: epath.PathLike) -> bool:
    """Whether a run in `workdir` would continue."""
    if not (to_path(workdir) / CHECKPOINTS).exists():
        return False
    with Checkpoints(workdir) as checkpoints:
        return checkpoints.latest_step is not None
