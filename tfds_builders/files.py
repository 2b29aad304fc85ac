"""Files below the raw directory, those inside its zip archives too: nothing has to be unpacked.

A member of an archive has a path like a file's, `nturgbd_rgb_s001.zip/nturgb+d_rgb/S001...avi`;
whoever opens, sizes or lists files does it here and need not know the difference.
"""

import functools
import io
import os
import zipfile
import zlib
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from mv2mae_jax.errors import InputError
from tfds_builders.manifest import Unused


class Listing(NamedTuple):
    """What a directory holds.

    Attributes:
      paths: of all files, relative to the directory, in a fixed order.
      unused: archives and members that cannot or must not be read.
    """

    paths: list[str]
    unused: list[Unused]


class _Archive(NamedTuple):
    """An open zip archive.

    Attributes:
      file: itself.
      members: by their names, as paths have them: `./a//b` is `a/b`.
    """

    file: zipfile.ZipFile
    members: dict[str, zipfile.ZipInfo]


def find_files(raw_dir: Path) -> Listing:
    """All files in or below a directory, and all members of the zip archives among them.

    Raises:
      InputError: there is no such directory, or a folder in it cannot be read.
    """
    if not raw_dir.is_dir():
        raise InputError(f"no directory {raw_dir}; name the one of the videos by --raw-dir")
    found = Listing([], [])
    for folder, folders, names in os.walk(raw_dir, followlinks=True, onerror=_refuse):
        folders.sort()
        for name in sorted(names):
            path = os.path.relpath(os.path.join(folder, name), raw_dir)
            if name.lower().endswith(".zip"):
                _list_archive(raw_dir, path, found)
            else:
                found.paths.append(path)
    return found


def open_file(path: Path) -> str | io.BytesIO:
    """What a decoder can open: the path of a file, or the whole content of an archive's member.

    Raises:
      OSError: there is no such file or member, or it is damaged.
    """
    if (place := _in_archive(path)) is None:
        return str(path)
    return io.BytesIO(_content(*place))


def read_text(path: Path) -> str:
    """The content of a text file; what is not UTF-8 becomes "\ufffd".

    Raises:
      InputError: the file cannot be opened.
    """
    try:
        place = _in_archive(path)
        content = path.read_bytes() if place is None else _content(*place)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    return content.decode("utf-8-sig", errors="replace")


def exists(path: Path) -> bool:
    """Whether there is such a file or member of an archive."""
    place = _in_archive(path)
    return path.is_file() if place is None else place[1] in _open_archive(place[0]).members


def fingerprint(path: Path) -> list[int]:
    """Numbers that change when a file does: its size and time, or a member's size and checksum."""
    if (place := _in_archive(path)) is not None:
        member = _open_archive(place[0]).members[place[1]]
        return [member.file_size, member.CRC]
    stat = path.stat() if path.exists() else path.lstat()  # a link to nothing is found when opened
    return [stat.st_size, stat.st_mtime_ns]


def _list_archive(raw_dir: Path, path: str, found: Listing) -> None:
    try:
        members = _open_archive(raw_dir / path).members
    except OSError as error:
        found.unused.append(Unused(path, f"not a readable zip archive: {error}"))
        return
    for name, member in sorted(members.items()):
        whole = f"{path}/{name}"
        if name.startswith("/") or ".." in PurePosixPath(name).parts or "\\" in name:
            found.unused.append(Unused(whole, "refused: its name leads out of the archive"))
        elif not member.is_dir():
            found.paths.append(whole)


def _in_archive(path: Path) -> tuple[Path, str] | None:
    """The archive and the name of the member within; None for a file like any other."""
    for position, part in enumerate(path.parts[:-1]):
        archive = Path(*path.parts[: position + 1])
        if part.lower().endswith(".zip") and archive.is_file():
            return archive, "/".join(path.parts[position + 1 :])
    return None


@functools.lru_cache(maxsize=64)
def _open_archive(path: Path) -> _Archive:
    """Raises OSError where it cannot be read."""
    try:
        file = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise OSError(str(error)) from None
    return _Archive(file, {str(PurePosixPath(x.filename)): x for x in file.infolist()})


@functools.lru_cache(maxsize=1)  # frames are counted and decoded one after the other
def _content(archive: Path, member: str) -> bytes:
    file, members = _open_archive(archive)
    if member not in members:
        raise FileNotFoundError(f"no {member} in {archive}")
    try:
        return file.read(members[member])
    except (zipfile.BadZipFile, zlib.error, LZMAError, RuntimeError, EOFError, ValueError) as error:
        raise OSError(f"damaged or encrypted in its archive: {error}") from None


def _refuse(error: OSError) -> None:
    raise InputError(f"{error.filename} cannot be listed: {error.strerror}")
