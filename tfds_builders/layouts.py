"""What the official raw layouts share: making rows of the names of files.

Files are paths relative to the raw directory, with slashes.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from mv2mae_jax.errors import InputError
from tfds_builders.files import Listing, find_files
from tfds_builders.manifest import Manifest, Row, Unused, natural
from tfds_builders.video import SUFFIXES


class Misfit(Exception):
    """A file is called as it should be, but no row can be made of it; the message is the reason."""


def list_files(raw_dir: Path, paths: Iterable[str] | None) -> Listing:
    """The given files, or all in or below a directory and in its zip archives.

    Raises:
      InputError: there is no such directory.
    """
    return find_files(raw_dir) if paths is None else Listing(list(paths), [])


def read_classes(package: str) -> tuple[str, ...]:
    """Class names of the data set in a folder beside this file, by number."""
    path = Path(__file__).parent / package / "classes.txt"
    return tuple(path.read_text(encoding="utf-8").splitlines())


def read_videos(
    raw_dir: Path,
    pattern: str,
    example: str,
    to_row: Callable[[str, re.Match[str]], Row],
    classes: Sequence[str],
    paths: Iterable[str] | None = None,
) -> Manifest:
    """The manifest of a data set whose file names say everything.

    Args:
      raw_dir: any directory above the videos.
      pattern: of their names, as for `match_names`.
      example: a name that matches, for messages.
      to_row: makes the row of a path and its match, or raises `Misfit`.
      classes: class names; a label is a position in this list.
      paths: files to read, relative to `raw_dir`; None: all.

    Returns:
      The manifest: activities sorted by name, views by name or number.

    Raises:
      InputError: there is no such video, or the same view of an activity twice.
    """
    files = list_files(raw_dir, paths)
    matches, unused = match_names(filter(is_video, files.paths), pattern, example)
    unused = files.unused + unused
    rows = []
    for path, match in matches:
        try:
            rows.append(to_row(path, match))
        except Misfit as error:
            unused.append(Unused(path, str(error)))
    unique_paths(raw_dir, ((f"view {r.view} of activity {r.activity}", r.path) for r in rows))
    return make_manifest(raw_dir, rows, classes, unused, example)


def is_video(path: str) -> bool:
    """Whether a file has the suffix of a video, in small letters or capitals."""
    return path.lower().endswith(SUFFIXES)


def match_names(
    paths: Iterable[str], pattern: str, example: str
) -> tuple[list[tuple[str, re.Match[str]]], list[Unused]]:
    """Divides files into those whose names match, with their matches, and the others.

    Args:
      paths: of files, whose suffixes do not matter.
      pattern: of the whole name without suffix, and of folders above it if it has slashes;
        whatever folders are above that do not matter.
      example: a name that matches, for the reason.
    """
    compiled = re.compile(f"(?:.*/)?{pattern}", re.ASCII | re.DOTALL)
    matches, unused = [], []
    for path in paths:
        if match := compiled.fullmatch(os.path.splitext(path)[0]):
            matches.append((path, match))
        else:
            unused.append(Unused(path, f"its name is not like {example}"))
    return matches, unused


def class_of(classes: Mapping[int, str], number: int) -> str:
    """The class name of an official number.

    Raises:
      Misfit: there is no such class.
    """
    if number not in classes:
        raise Misfit(f"there is no action {number}")
    return classes[number]


def unique_paths(raw_dir: Path, named: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Name to path.

    Raises:
      InputError: a name comes twice.
    """
    found: dict[str, str] = {}
    for name, path in named:
        if name in found:
            raise InputError(
                f"{raw_dir}: {name} is there twice, as {found[name]} and {path}; remove one"
            )
        found[name] = path
    return found


def make_manifest(
    raw_dir: Path,
    rows: Iterable[Row],
    classes: Sequence[str],
    unused: Sequence[Unused],
    example: str,
) -> Manifest:
    """The manifest of these rows: activities sorted by name, views by name or number.

    Raises:
      InputError: there are no rows.
    """
    ordered = sorted(rows, key=lambda row: (row.activity, natural(row.view)))
    if not ordered:
        found = "".join(f"; {item.path}: {item.reason}" for item in unused[:1])
        raise InputError(f"{raw_dir}: no video named like {example} in or below it{found}")
    return Manifest(tuple(ordered), tuple(classes), tuple(unused))
