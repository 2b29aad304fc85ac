"""A module as a pure function of its parameters, which are a dict of arrays by name.

Names are the path in the module (`encoder.blocks.0.attention.query.kernel`); layer-wise rates,
checkpoints and conversions all speak of them.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import jax
from flax import nnx
from jaxtyping import Array, Key

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

    @property
    def shape_of(self) -> dict[str, tuple[int, ...]]:
        """The parameters' names and shapes."""
        return dict(zip(map(_name, self.paths), self.shapes, strict=True))

    def check(self, parameters: Parameters) -> None:
        """Parameters are those of this module, and maybe others.

        Raises:
          InputError: one is not there, or of another shape: the module is of another architecture.
        """
        for name, wanted in self.shape_of.items():
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


class Keys(nnx.Rngs):
    """The keys of `nnx.Rngs(key)`, counted by Python.

    Flax counts them in an array; when that is traced, every count looks through all that was traced
    before it, and a model of 358 parameters takes seven times as long.
    """

    def __init__(self, key: Key[Array, ""]):
        super().__init__()
        self.default = _Stream(key, tag="default")


class _Stream(nnx.RngStream):
    def __init__(self, key: Key[Array, ""], *, tag: str):
        super().__init__(key, tag=tag)
        self.drawn = 0

    def __call__(self) -> Key[Array, ""]:
        self.drawn += 1
        return jax.random.fold_in(self.key[...], self.drawn - 1)


def initial(
    make_model: Callable[[nnx.Rngs], Module], key: Key[Array, ""]
) -> tuple[Definition[Module], Parameters]:
    """A model's definition and its random initial values."""
    return split(make_model(Keys(key)))


def definition_of(make_model: Callable[[nnx.Rngs], Module]) -> Definition[Module]:
    """A model's definition; none of its values is computed."""
    definitions = []  # static, so tracing hands it out by this way
    jax.eval_shape(lambda: definitions.append(initial(make_model, jax.random.key(0))[0]))
    return definitions[0]


def split(module: Module) -> tuple[Definition[Module], Parameters]:
    """Separates a module into what is static and its parameters."""
    graph, state = nnx.split(module, nnx.Param)
    flat = dict(nnx.to_flat_state(state))
    parameters = {_name(path): parameter[...] for path, parameter in flat.items()}
    shapes = tuple(tuple(value.shape) for value in parameters.values())
    return Definition(graph, tuple(flat), shapes), parameters


def _name(path: Path) -> str:
    return ".".join(map(str, path))
