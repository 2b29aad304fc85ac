"""Files of weights: what is in them, and writing them.

MCG-NJU's programs and this package's exports to them are pickles of PyTorch's; Hugging Face's are a
folder with `config.json` and safetensors. What they cannot say, an export says besides: the
cross-view decoder, the config of the run and the names of the classes.
"""

import argparse
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from mv2mae_jax.errors import InputError
from mv2mae_jax.interop.names import Tensors

TORCH_FILES = (".pth", ".pt", ".bin")
CHECKPOINT = "checkpoint.pth"  # of an export to MCG-NJU's programs
FOLDER_FILES = ("model.safetensors", "pytorch_model.bin", CHECKPOINT)
CROSS_VIEW_FILE = "cross_view_decoder.safetensors"
CROSS_VIEW_KEY = "cross_view_decoder"
ORIGIN_FILE = "mv2mae.json"
ORIGIN_KEY = "mv2mae"


class Origin(NamedTuple):
    """What an export says of the run that it comes from."""

    config: ConfigDict
    classes: tuple[str, ...]

    def to_json(self) -> str:
        """As it stands in the exports."""
        return json.dumps({"config": json.loads(self.config.to_json()), "classes": self.classes})


class Stored(NamedTuple):
    """What a file or folder of weights holds.

    Attributes:
      tensors: by their names there, float32.
      options: the model's `config.json` of Hugging Face's; empty without one.
      origin: of an export of this package.
    """

    tensors: Tensors
    options: dict[str, Any]
    origin: Origin | None


def read_stored(path: str | Path) -> Stored:
    """Reads a `.pth`, `.pt`, `.bin` or `.safetensors` file, or a folder with one.

    Nothing but plain weights is ever unpickled.

    Raises:
      InputError: there is no such file; what reads it is not installed; it is damaged, or holds
        more than plain weights.
    """
    path = Path(path)
    file = _weights_file(path)
    require_torch(file)
    origin: Origin | None = None
    options: dict[str, Any] = {}
    if file.suffix in TORCH_FILES:
        content = _read_torch(file)
        tensors = _arrays(_nested(_nested(content, "model"), "module"))
        tensors |= _arrays(content.get(CROSS_VIEW_KEY))
        if isinstance(content.get(ORIGIN_KEY), str):
            origin = _origin(content[ORIGIN_KEY], path)
    else:
        tensors = _read_safetensors(file)
    if path.is_dir():
        if (path / CROSS_VIEW_FILE).exists():
            tensors |= _read_safetensors(path / CROSS_VIEW_FILE)
        if (path / ORIGIN_FILE).exists():
            origin = _origin((path / ORIGIN_FILE).read_text(errors="replace"), path)
        if (path / "config.json").exists():
            options = _json((path / "config.json").read_text(errors="replace"), path / "config.json")
    return Stored(tensors, options, origin)


def write_safetensors(file: Path, tensors: Tensors) -> None:
    """Writes tensors as transformers reads them."""
    from safetensors.numpy import save_file

    whole = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    save_file(whole, file, metadata={"format": "pt"})


def write_torch(file: Path, content: Mapping[str, Any]) -> None:
    """Writes a pickle of PyTorch's, of plain values and dicts of arrays, which become tensors."""
    import torch

    def as_torch(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: as_torch(x) for key, x in value.items()}
        return torch.tensor(value) if isinstance(value, np.ndarray) else value

    torch.save(as_torch(content), file)


def require_torch(what: str | Path) -> None:
    """Raises:
    InputError: PyTorch, transformers or safetensors, which `what` needs, are not installed.
    """
    for package in ("torch", "transformers", "safetensors"):
        if importlib.util.find_spec(package) is None:
            raise InputError(f"{what} needs {package}, not installed: pip install -e '.[torch]'")


def _weights_file(path: Path) -> Path:
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if path.is_dir():
        files = [path / name for name in FOLDER_FILES if (path / name).exists()]
        if not files:
            raise InputError(
                f"{path} has neither checkpoints, as a work directory, nor "
                f"{', '.join(FOLDER_FILES[:-1])} or {FOLDER_FILES[-1]}, as a folder of weights"
            )
        return files[0]
    if path.suffix not in (*TORCH_FILES, ".safetensors"):
        raise InputError(
            f"{path} is none of {', '.join(TORCH_FILES)}, .safetensors, a folder of Hugging "
            "Face's, or a work directory"
        )
    return path


def _read_torch(file: Path) -> dict[str, Any]:
    import torch

    try:
        # MCG-NJU's programs save their command line too: a plain object of numbers and strings.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # what is no pickle fails in any way
        raise InputError(
            f"{file} is damaged or holds more than plain weights, which is never unpickled; save "
            "its state_dict alone"
        ) from error
    return content if isinstance(content, dict) else {}


def _read_safetensors(file: Path) -> Tensors:
    from safetensors import SafetensorError
    from safetensors.torch import load_file  # NumPy has no bfloat16

    try:
        return _arrays(load_file(file))
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file} is damaged ({error})") from error


def _nested(content: dict[str, Any], key: str) -> dict[str, Any]:
    """What is below the key; the content itself if there is nothing."""
    return content[key] if isinstance(content.get(key), dict) else content


def _arrays(content: Any) -> Tensors:
    """The tensors among what a file holds, as float32."""
    import torch

    tensors = content.items() if isinstance(content, dict) else ()
    return {
        str(name): value.detach().float().numpy()
        for name, value in tensors
        if isinstance(value, torch.Tensor)
    }


def _origin(text: str, path: Path) -> Origin:
    stored = _json(text, path / ORIGIN_FILE)
    try:
        return Origin(ConfigDict(stored["config"]), tuple(map(str, stored["classes"])))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} says of its origin what is not an export's ({type(error).__name__}: {error})"
        ) from error


def _json(text: str, where: Path) -> dict[str, Any]:
    try:
        stored = json.loads(text)
    except ValueError as error:
        raise InputError(f"{where} is not JSON ({error})") from error
    if not isinstance(stored, dict):
        raise InputError(f"{where} is not a JSON object")
    return stored
