"""Small files of a work directory: there whole or as before, whenever the process ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mv2mae_jax.errors import InputError


def write_whole(file: Path, text: str) -> None:
    """Writes a text file, replacing what was there in one go.

    Raises:
      InputError: it cannot be written.
    """
    with written(file):
        partial = file.with_name(f"{file.name}.partial")
        partial.write_text(text, encoding="utf-8")
        partial.replace(file)


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Says in one line that `path` could not be written.

    Raises:
      InputError: instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}); make room there or give the "
            "right to write: what is complete there is kept, and the same command continues"
        ) from error
