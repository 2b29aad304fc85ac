"""Which runs a picture is of, and what they are called in it."""

import argparse
import os
from collections.abc import Sequence

from etils import epath

from mv2mae_jax.command_line import picture
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


def add_out(parser: argparse.ArgumentParser) -> None:
    """The option that names the picture."""
    parser.add_argument(
        "--out", type=picture, required=True, help="picture to write: .png, .pdf or .svg"
    )


def named(workdirs: Sequence[str]) -> dict[str, epath.Path]:
    """The work directories by the names of their runs: their last folders, if these all differ.

    Raises:
      InputError: one is named twice, or its bucket cannot be reached.
    """
    texts = [x.rstrip("/") if "://" in x else os.path.normpath(x) for x in workdirs]
    places = [x if "://" in x else os.path.abspath(x) for x in texts]
    for text, place in zip(texts, places, strict=True):
        if places.count(place) > 1:
            raise InputError(f"{text} is named twice; name each work directory once")
    names = [os.path.basename(place) for place in places]
    unlike = names if len(set(names)) == len(names) else texts
    return dict(zip(unlike, map(to_path, texts), strict=True))


def shortened(name: str) -> str:
    """A name that has room in a picture: without its beginning, where folders differ least."""
    return name if len(name) <= LETTERS else f"…{name[1 - LETTERS :]}"
