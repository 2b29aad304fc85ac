"""Checkpoints in a work directory, by Orbax: the training state, and the config it belongs to.

The position in the data is the step itself (see data/loader.py), so nothing else is needed to
continue as if training had never stopped.
"""

from types import TracebackType
from typing import Any, Self

import jax
import orbax.checkpoint as ocp
from etils import epath
from ml_collections import ConfigDict

from mv2mae_jax.errors import InputError
from mv2mae_jax.storage import to_path
from mv2mae_jax.training.parameters import Parameters


class Checkpoints:
    """The checkpoints of one work directory; a context manager that waits for pending writes."""

    def __init__(self, workdir: epath.PathLike, keep: int | None = None):
        path = to_path(workdir)
        # `absolute` would take a bucket for a folder in this one.
        path = path if path.is_absolute() else path.absolute()
        self.directory = path / "checkpoints"
        self._manager = ocp.CheckpointManager(
            self.directory,
            options=ocp.CheckpointManagerOptions(max_to_keep=keep),
            item_handlers={
                "state": ocp.PyTreeCheckpointHandler(),
                "config": ocp.JsonCheckpointHandler(),
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
        self._manager.close()

    @property
    def latest_step(self) -> int | None:
        """Step of the newest complete checkpoint; None if there is none."""
        return self._manager.latest_step()

    def save(self, step: int, state: Any, config: ConfigDict) -> None:
        """Writes in the background; does nothing if this step is saved already."""
        if step != self.latest_step:
            items = ocp.args.Composite(
                state=ocp.args.PyTreeSave(state), config=ocp.args.JsonSave(config.to_dict())
            )
            self._manager.save(step, args=items)

    def save_besides(self, step: int, state: Any, config: ConfigDict) -> None:
        """Writes at once, and removes no older checkpoint for it."""
        self._manager.wait_until_finished()
        with Checkpoints(self.directory.parent) as unlimited:
            unlimited.save(step, state, config)

    def restore(self, like: Any, *, partial: bool = False) -> Any:
        """The newest state, with the shapes, types and shardings of `like`.

        `partial`: `like` names only some of what was saved.
        """
        args = ocp.args.PyTreeRestore(
            item=like,
            restore_args=ocp.checkpoint_utils.construct_restore_args(like),
            partial_restore=partial,
        )
        return self._manager.restore(self.latest_step, args=ocp.args.Composite(state=args))["state"]

    def restore_config(self) -> ConfigDict:
        """The config that the newest state was trained with."""
        args = ocp.args.Composite(config=ocp.args.JsonRestore())
        return ConfigDict(self._manager.restore(self.latest_step, args=args)["config"])

    def shapes(self, part: str) -> dict[str, tuple[int, ...]]:
        """Shapes by name in a part of the newest state: its parameters, or their average."""
        tree = self._manager.item_metadata(self.latest_step)["state"].tree
        return {name: tuple(leaf.shape) for name, leaf in (tree.get(part) or {}).items()}


def load_parameters(workdir: epath.PathLike) -> tuple[Parameters, ConfigDict]:
    """The newest parameters of a run and its config, for a use other than continuing it.

    Where the run keeps their moving average (`ema_decay`), they are the averaged ones.

    Raises:
      InputError: there is no checkpoint in `workdir`.
    """
    directory = to_path(workdir) / "checkpoints"
    if not directory.exists():
        raise InputError(f"{workdir} has no checkpoints; name the work directory of a training run")
    with Checkpoints(workdir) as checkpoints:
        if checkpoints.latest_step is None:
            raise InputError(f"{directory} holds no complete checkpoint; let the run save one")
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        like = {
            part: {
                name: jax.ShapeDtypeStruct(shape, "float32", sharding=device)
                for name, shape in checkpoints.shapes(part).items()
            }
            for part in ("parameters", "average")
        }
        state = checkpoints.restore({k: v for k, v in like.items() if v}, partial=True)
        return state["parameters"] | state.get("average", {}), checkpoints.restore_config()


def has_checkpoint(workdir: epath.PathLike) -> bool:
    """Whether a run in `workdir` would continue."""
    if not (to_path(workdir) / "checkpoints").exists():
        return False
    with Checkpoints(workdir) as checkpoints:
        return checkpoints.latest_step is not None
