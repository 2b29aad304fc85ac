"""Where files are: on this machine, or on object storage as `gs://bucket/folder`.

A path that a user gives becomes an `epath.Path` here, which reads and writes both, or a `Path` if
it has to be of this machine. An object cannot be appended to, only replaced; files that grow are
kept here and copied there.
"""

import csv
import functools
import importlib.util
import io
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import fsspec
from etils import epath

from mv2mae_jax.errors import InputError, one_line

SCHEME = "gs://"
CONTINUES = (
    "make room there or give the right to write: what is complete there is kept, and the same "
    "command continues"
)
LOG_IN = "name another, or log in: gcloud auth application-default login"


def to_path(path: epath.PathLike) -> epath.Path:
    """A path as the user gave it.

    Raises:
      InputError: it is on another storage, or its bucket cannot be reached.
    """
    text = os.fspath(path)
    if text.startswith(SCHEME):
        _reach(text.removeprefix(SCHEME).partition("/")[0])
    elif "://" in text:
        raise InputError(f"{text} is not on this machine; download it first, or name a gs:// path")
    return epath.Path(path)


def to_local_path(path: epath.PathLike, instead: str) -> Path:
    """A path to what can be on this machine only; `instead` says what to do if it is not.

    Raises:
      InputError: it is not.
    """
    if "://" in os.fspath(path):
        raise InputError(f"{os.fspath(path)} is not on this machine; {instead}")
    return Path(path)


def is_local(path: epath.PathLike) -> bool:
    """Whether files there can be appended to."""
    return not os.fspath(path).startswith(SCHEME)


def user_cache() -> Path:
    """What can be made again is kept here between runs: in ~/.cache, or in $XDG_CACHE_HOME."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mv2mae-jax"


def write_whole(file: Path | epath.Path, content: str | bytes) -> None:
    """Writes a file: it is there whole or as before, whenever the process ends.

    Raises:
      InputError: it cannot be written.
    """
    with written(file):
        _replace(file, content)


def write_csv(file: Path | epath.Path, rows: Sequence[Mapping[str, object]]) -> None:
    """A table in a work directory, whole or not at all; its columns are the first row's.

    Raises:
      InputError: it cannot be written.
    """
    text = io.StringIO()
    table = csv.DictWriter(text, rows[0])
    table.writeheader()
    table.writerows(rows)
    write_whole(file, text.getvalue())


def out_path(path: epath.PathLike) -> epath.Path:
    """Where a file that the user names is to be written; asked for before anything is computed.

    Raises:
      InputError: as far as can be told, it cannot be written.
    """
    file = to_path(path)
    if is_local(file):
        above = next(folder for folder in file.absolute().parents if folder.exists())
        if file.is_dir() or not (above.is_dir() and os.access(above, os.W_OK)):
            reason = "it is a folder" if file.is_dir() else f"{above} takes no files"
            raise InputError(f"{path} cannot be written ({reason}); name another file")
    return file


def write_out(file: epath.Path, content: str | bytes) -> None:
    """Writes a file that the user has named, whole, and makes the folders above it.

    Raises:
      InputError: it cannot be written.
    """
    with written(file, remedy="make room there or give the right to write"):
        file.parent.mkdir(parents=True, exist_ok=True)
        _replace(file, content)


def _replace(file: Path | epath.Path, content: str | bytes) -> None:
    data = content.encode() if isinstance(content, str) else content
    if not is_local(file):  # an object is replaced as a whole
        file.write_bytes(data)
        return
    partial = file.with_name(f"{file.name}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)  # of a full disk


@contextmanager
def written(path: Path | epath.Path, remedy: str = CONTINUES) -> Iterator[None]:
    """Says in one line that `path` could not be written, and what to do.

    Raises:
      InputError: instead of an OSError; on object storage also of gcsfs's, aiohttp's and Google's
        own errors, of many types.
    """
    try:
        yield
    except Exception as error:
        if is_local(path) and not isinstance(error, OSError):
            raise
        reason = getattr(error, "strerror", None) or one_line(error)
        raise InputError(f"{path} cannot be written ({reason}); {remedy}") from error


class GrowingFiles:
    """Files of a folder that are appended to.

    Attributes:
      path: the local folder to write them in: the folder itself, or one whose files are copied.
    """

    def __init__(self, folder: epath.Path):
        self._folder = folder
        self._copied = None if is_local(folder) else tempfile.TemporaryDirectory(prefix="mv2mae-")
        self.path = Path(self._copied.name if self._copied else folder)

    def publish(self) -> None:
        """What is written so far can then be read in the folder.

        Raises:
          InputError: it cannot be written there.
        """
        if not self._copied:
            return
        with written(self._folder):
            for file in self.path.iterdir():
                (self._folder / file.name).write_bytes(file.read_bytes())

    def close(self) -> None:
        """Publishes for the last time."""
        try:
            self.publish()
        finally:
            if self._copied:
                self._copied.cleanup()


@functools.cache
def _reach(bucket: str) -> None:
    """Asks for the bucket once, so that what is wrong with it is said in one line.

    Raises:
      InputError: it cannot be reached.
    """
    where = f"{SCHEME}{bucket}"
    if importlib.util.find_spec("gcsfs") is None:
        raise InputError(f"{where} needs gcsfs, not installed: pip install -e '.[gcs]'")
    # Others write there too, and listings are kept for ever otherwise.
    fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it logs what it raises too
    try:
        found = epath.Path(where).exists()
    except Exception as error:  # as above
        raise InputError(f"{where} cannot be reached ({one_line(error)}); {LOG_IN}") from error
    if not found:
        raise InputError(
            f"{where}: no such bucket, or one that may not be read from here; {LOG_IN}"
        )
