"""Writing files of weights, whole or not at all."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath

from mv2mae_jax.errors import InputError
from mv2mae_jax.interop.names import Tensors
from mv2mae_jax.storage import to_local_path


@contextmanager
def new_folder(out: epath.PathLike) -> Iterator[Path]:
    """A folder to write into, which is called `out` when all is written, and else disappears.

    Raises:
      InputError: there is something of that name, which nothing here overwrites; or it cannot be
        written.
    """
    path = to_local_path(out, "choose a local --out, and copy it there")
    try:
        if path.is_symlink() or (path.exists() and (not path.is_dir() or any(path.iterdir()))):
            raise InputError(f"{path} is there already; choose another --out")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".convert-", dir=path.parent) as folder:
            partial = Path(folder) / "partial"  # a directory with the usual permissions
            partial.mkdir()
            yield partial
            partial.replace(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error})") from error


def write_safetensors(file: Path, tensors: Tensors, metadata: Mapping[str, str]) -> None:
    """Writes tensors as transformers reads them.

    Raises:
      OSError: there is no room.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    whole = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    try:
        save_file(whole, file, metadata={"format": "pt", **metadata})
    except SafetensorError as error:
        raise OSError(error) from error


def write_torch(file: Path, content: Mapping[str, Any]) -> None:
    """Writes a pickle of PyTorch's, of plain values and dicts of arrays, which become tensors.

    Raises:
      OSError: there is no room.
    """
    import torch

    def as_torch(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: as_torch(x) for key, x in value.items()}
        return torch.tensor(value) if isinstance(value, np.ndarray) else value

    try:
        torch.save(as_torch(content), file)
    except RuntimeError as error:
        raise OSError(error) from error
