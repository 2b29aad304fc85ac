"""A module as a pure function of its parameters, which are a dict of arrays by name.

Names are the path in the module (`encoder.blocks.0.attention.query.kernel`); rules on learning
rate, decay and sharding, checkpoints and conversions all speak of them.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from flax import nnx
from jaxtyping import Array

from mv2mae_jax.errors import InputError

Path = tuple[Hashable, ...]
Parameters = dict[str, Array]
Module = TypeVar("Module", bound=nnx.Module)


@dataclass(frozen=True)
class Definition(Generic[Module]):
    """The static part of a module."""

    graph: nnx.GraphDef[Module]
    paths: tuple[Path, ...]
    shapes: tuple[tuple[int, ...], ...]  # of the parameters at `paths`

    def check(self, parameters: Parameters) -> None:
        """Parameters are those of this module, and maybe others.

        Raises:
          InputError: one is not there, or of another shape: the module is of another architecture.
        """
        for name, wanted in zip(map(_name, self.paths), self.shapes, strict=True):
            found = parameters[name].shape if name in parameters else "missing"
            if found != wanted:
                raise InputError(
                    f"parameters of another architecture than their config's: the shape of {name} "
                    f"is {found}, by the config {wanted}"
                )

    def bind(self, parameters: Parameters) -> Module:
        """The module with these parameters.

        Raises:
          InputError: as `check`.
        """
        self.check(parameters)
        state: dict[Any, Any] = {path: nnx.Param(parameters[_name(path)]) for path in self.paths}
        return nnx.merge(self.graph, nnx.from_flat_state(state))


def split(module: Module) -> tuple[Definition[Module], Parameters]:
    """Separates a module into what is static and its parameters."""
    graph, state = nnx.split(module, nnx.Param)
    flat = dict(nnx.to_flat_state(state))
    parameters = {_name(path): parameter[...] for path, parameter in flat.items()}
    shapes = tuple(tuple(value.shape) for value in parameters.values())
    return Definition(graph, tuple(flat), shapes), parameters


def _name(path: Path) -> str:
    return ".".join(map(str, path))
