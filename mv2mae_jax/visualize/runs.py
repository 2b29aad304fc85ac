"""Which runs a picture is of, and what they are called in it."""

import argparse
import os
from collections.abc import Sequence

from etils import epath

from mv2mae_jax.errors import InputError
from mv2mae_jax.storage import to_path

LETTERS = 48  # of a run's name in a picture, at most
PALETTE = "tab10", 10  # colours that are told apart, and how many there are


def add_workdirs(parser: argparse.ArgumentParser, help: str) -> None:
    """The option of pictures that are drawn from several work directories."""
    parser.add_argument(
        "--workdir",
        "--workdirs",
        dest="workdirs",
        metavar="DIR",
        nargs="+",
        action="extend",
        required=True,
        help=help,
    )


def named(workdirs: Sequence[str]) -> dict[str, epath.Path]:
    """The work directories by the names of their runs: their last folders, if these all differ.

    Raises:
      InputError: one is named twice, or its bucket cannot be reached.
    """
    paths = [to_path(os.path.normpath(x) if "://" not in x else x.rstrip("/")) for x in workdirs]
    texts = [os.fspath(path) for path in paths]
    if twice := next((text for text in texts if texts.count(text) > 1), ""):
        raise InputError(f"{twice} is named twice; name each work directory once")
    names = [path.name for path in paths]
    return dict(zip(names if len(set(names)) == len(names) else texts, paths, strict=True))


def shortened(name: str) -> str:
    """A name that has room in a picture: without its beginning, where folders differ least."""
    return name if len(name) <= LETTERS else f"…{name[1 - LETTERS :]}"
