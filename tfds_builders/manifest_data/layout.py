"""A manifest of one's own: a CSV with one row per video."""

import csv
import io
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

from mv2mae_jax.errors import InputError, is_name
from tfds_builders import video
from tfds_builders.files import exists
from tfds_builders.manifest import Manifest, Row, natural

log = logging.getLogger(__name__)

REQUIRED = ("activity", "view", "path", "label")
OPTIONAL = ("subject", "setup", "first", "last")
LONGEST = 100  # characters of a name: it stands in pictures and tables


def read_csv(path: Path, raw_dir: Path) -> Manifest:
    """Reads and checks a manifest of one's own: a CSV of the columns of `Row`.

    Args:
      path: CSV file with a header line naming the columns, in any order.
      raw_dir: directory that the column `path` is relative to.

    Returns:
      The manifest; its classes are the distinct labels, sorted, numbers by their value.

    Raises:
      InputError: a column, a row or a file is missing, wrong or there twice; the line is named.
    """
    rows: dict[tuple[str, str], tuple[int, Row]] = {}
    leaders: dict[str, tuple[int, Row]] = {}
    sources: dict[tuple[str, str, int], int] = {}
    twins: list[str] = []
    for number, fields in _read_lines(path):
        row = _parse(fields, f"{path}:{number}")
        _check_file(raw_dir / row.path, f"{path}:{number}")
        if (row.activity, row.view) in rows:
            earlier = rows[row.activity, row.view][0]
            raise InputError(
                f"{path}:{number}: view {row.view!r} of activity {row.activity!r} is already in "
                f"line {earlier}; an activity has one row per view"
            )
        shown = (row.activity, os.path.normpath(raw_dir / row.path), row.first)
        if (earlier := sources.setdefault(shown, number)) != number:
            twins.append(f"{earlier} and {number}")
        line, leader = leaders.setdefault(row.activity, (number, row))
        for column in ("label", "subject", "setup"):
            if getattr(row, column) != getattr(leader, column):
                raise InputError(
                    f"{path}:{number}: activity {row.activity!r} has {column} "
                    f"{getattr(row, column)!r} here and {getattr(leader, column)!r} in line {line}"
                )
        rows[row.activity, row.view] = number, row
    if twins:
        log.warning(
            "%s: %d views are the same video as another view of their activity; lines %s",
            path,
            len(twins),
            ", ".join(twins[:5]) + " ..." * (len(twins) > 5),
        )
    _check_ranges(path, raw_dir, list(rows.values()))
    classes = sorted({row.label for _, row in rows.values()}, key=natural)
    return Manifest(tuple(row for _, row in rows.values()), tuple(classes))


def _read_lines(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Line number and columns of each row."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # spreadsheets put a byte-order mark in front
    except FileNotFoundError:
        raise InputError(f"no manifest {path}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 ({error}); save it as a CSV in UTF-8") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        lines = [(reader.line_num, values) for values in reader]
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: not a CSV: {error}") from None
    header = [column.strip() for column in lines[0][1]] if lines else []
    missing = [column for column in REQUIRED if column not in header]
    unknown = [column for column in header if column not in REQUIRED + OPTIONAL]
    if len(header) == 1 and (other := re.search("[;\t|]", header[0])):
        raise InputError(
            f"{path}:1: its columns are divided by {other[0]!r}; save it as a CSV with commas"
        )
    if "" in header:
        raise InputError(f"{path}:1: column {header.index('') + 1} has no name; remove it")
    if missing:
        raise InputError(f"{path}:1: the header lacks {_list(missing)}; it has {_list(header)}")
    if unknown:
        raise InputError(
            f"{path}:1: unknown column {_list(unknown)}; known: {_list(REQUIRED + OPTIONAL)}"
        )
    if len(set(header)) < len(header):
        raise InputError(f"{path}:1: a column stands twice in the header: {_list(header)}")
    rows = []
    for number, values in lines[1:]:
        if not any(value.strip() for value in values):
            continue
        if len(values) != len(header):
            raise InputError(
                f"{path}:{number}: {len(values)} fields where the header has {len(header)}"
            )
        stripped = (value.strip() for value in values)
        rows.append((number, dict(zip(header, stripped, strict=True))))
    if not rows:
        raise InputError(f"{path}: no rows below the header")
    return rows


def _parse(fields: dict[str, str], where: str) -> Row:
    for column in REQUIRED:
        if not fields[column]:
            raise InputError(f"{where}: empty {column}")
    for column, value in fields.items():
        if not is_name(value):
            raise InputError(
                f"{where}: {column} {value!r} holds a character that is not shown; remove it"
            )
        if column != "path" and len(value) > LONGEST:
            raise InputError(
                f"{where}: {column} {value[:20]!r}... has {len(value)} characters of {LONGEST}"
            )
    numbers: dict[str, int] = {}
    for column in ("first", "last"):
        value = fields.get(column, "")
        if value:
            if not re.fullmatch("[0-9]{1,9}", value):
                raise InputError(
                    f"{where}: {column} is {value!r}, not a frame number (0, 1, 2 ...)"
                )
            numbers[column] = int(value)
    row = Row(
        **{c: fields[c] for c in REQUIRED},
        **{c: fields.get(c, "") for c in ("subject", "setup")},
        first=numbers.get("first", 0),
        last=numbers.get("last"),
    )
    if row.last is not None and row.last < row.first:
        raise InputError(f"{where}: last frame {row.last} is before first frame {row.first}")
    return row


def _check_file(file: Path, where: str) -> None:
    try:
        found = exists(file)
    except OSError as error:
        raise InputError(f"{where}: {file} cannot be read: {error}") from None
    if not found:
        raise InputError(f"{where}: no file {file}")


def _check_ranges(path: Path, raw_dir: Path, rows: Sequence[tuple[int, Row]]) -> None:
    lengths: dict[str, int | None] = {}
    for number, row in rows:
        end = row.first if row.last is None else row.last
        if end == 0:
            continue
        if row.path not in lengths:
            try:
                lengths[row.path] = video.count_frames(raw_dir / row.path)
            except video.VideoError:
                lengths[row.path] = None  # a broken file: the build names it and leaves it out
        length = lengths[row.path]
        if length is not None and end >= length:
            raise InputError(
                f"{path}:{number}: frame {end} is past the end of {row.path}, "
                f"which has frames 0 to {length - 1}"
            )


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "nothing"
