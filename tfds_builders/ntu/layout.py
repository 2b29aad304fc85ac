"""NTU's file names: SsssCcccPpppRrrrAaaa_rgb.avi, anywhere below the raw directory.

The three cameras of one activity (same setup, performer, replication and action) are its views.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mv2mae_jax.errors import InputError
from tfds_builders.manifest import Manifest, Row, Unused
from tfds_builders.video import SUFFIXES

NAME = re.compile(
    r"S(?P<setup>\d{3})C(?P<camera>\d{3})P(?P<subject>\d{3})R(?P<replication>\d{3})"
    r"A(?P<action>\d{3})_rgb\.avi",
    re.ASCII,
)
CLASSES: tuple[str, ...] = tuple(
    Path(__file__).with_name("classes.txt").read_text(encoding="utf-8").splitlines()
)


def read(raw_dir: Path, classes: Sequence[str], paths: Iterable[str] | None = None) -> Manifest:
    """Finds all videos with NTU's names.

    Args:
        raw_dir: Any directory above the videos; folders (nturgb+d_rgb/, one per setup) do not
            matter.
        classes: Class names; action A001 is the first.
        paths: Files to read, relative to `raw_dir`; None: all that look like videos.

    Returns:
        The manifest: activities sorted by name, views "1", "2", "3" by camera.

    Raises:
        InputError: There is no such video, or the same view of an activity twice.
    """
    rows: dict[tuple[str, str], Row] = {}
    unused = []
    for path in _videos(raw_dir) if paths is None else paths:
        match = NAME.fullmatch(Path(path).name)
        if match is None:
            unused.append(Unused(path, "its name is not of the form SsssCcccPpppRrrrAaaa_rgb.avi"))
            continue
        setup, camera, subject, _, action = map(int, match.groups())
        if not 1 <= action <= len(classes):
            unused.append(Unused(path, f"there is no action {action}, only 1 to {len(classes)}"))
            continue
        row = Row(
            activity=re.sub(r"C\d{3}|_rgb\.avi", "", match.group()),
            view=str(camera),
            path=path,
            label=classes[action - 1],
            subject=str(subject),
            setup=str(setup),
        )
        key = row.activity, row.view
        if key in rows:
            raise InputError(
                f"{raw_dir}: camera {camera} of activity {row.activity} is there twice, as "
                f"{rows[key].path} and {path}; remove one"
            )
        rows[key] = row
    if not rows:
        raise InputError(
            f"{raw_dir}: no video named like S001C001P001R001A001_rgb.avi in or below it"
        )
    ordered = sorted(rows.values(), key=lambda row: (row.activity, int(row.view)))
    return Manifest(tuple(ordered), tuple(classes), tuple(unused))


def _videos(raw_dir: Path) -> Iterator[str]:
    """Paths of all files that look like videos, relative to `raw_dir`, in a fixed order."""
    if not raw_dir.is_dir():
        raise InputError(f"no directory {raw_dir}")
    for folder, folders, names in os.walk(raw_dir, followlinks=True):
        folders.sort()
        for name in sorted(names):
            if name.lower().endswith(SUFFIXES):
                yield os.path.relpath(os.path.join(folder, name), raw_dir)
