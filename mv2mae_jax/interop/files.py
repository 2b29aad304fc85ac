"""Files of weights: what is in them, and writing them.

MCG-NJU's programs and this package's exports to them are pickles of PyTorch's; Hugging Face's are a
folder with `config.json` and safetensors. What they cannot say, an export says besides: the
cross-view decoder, the config of the run and the names of the classes.
"""

import argparse
import importlib.util
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from ml_collections import ConfigDict

from configs.base import get_config
from mv2mae_jax.errors import InputError
from mv2mae_jax.interop.names import Tensors

TORCH_FILES = (".pth", ".pt", ".bin")
CHECKPOINT = "checkpoint.pth"  # of an export to MCG-NJU's programs
ONNX_FILE = "encoder.onnx"
FOLDER_FILES = ("model.safetensors", "pytorch_model.bin", CHECKPOINT)
OPTIONS_FILE = "config.json"  # Hugging Face's
CROSS_VIEW_FILE = "cross_view_decoder.safetensors"
CROSS_VIEW_KEY = "cross_view_decoder"
DTYPES = {  # of safetensors
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
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

    Nothing but plain weights is ever unpickled. PyTorch is imported for its own files only.

    Raises:
      InputError: there is no such file; what reads it is not installed; it is damaged, or holds
        more than plain weights.
    """
    path = Path(path)
    file = _weights_file(path)
    require("torch" if file.suffix in TORCH_FILES else "safetensors", file)
    options: dict[str, Any] = {}
    origin = None
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
            origin = _origin(_text(path / ORIGIN_FILE), path / ORIGIN_FILE)
        if (path / OPTIONS_FILE).exists():
            options = _json(_text(path / OPTIONS_FILE), path / OPTIONS_FILE)
    return Stored(tensors, options, origin)


@contextmanager
def new_folder(out: str | Path) -> Iterator[Path]:
    """A folder to write into, which is called `out` when all is written, and else disappears.

    Raises:
      InputError: there is something of that name, which nothing here overwrites.
    """
    path = Path(out)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path} is there already; choose another --out")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        partial = Path(folder) / "partial"  # a directory with the usual permissions
        partial.mkdir()
        yield partial
        partial.replace(path)


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


def require(package: str, what: str | Path) -> None:
    """Says what is not installed before anything needs it.

    Raises:
      InputError: the package is not there.
    """
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
    # The package's readers for NumPy know no bfloat16; PyTorch's and jax's bring these along.
    from safetensors import SafetensorError, deserialize

    try:
        stored = deserialize(file.read_bytes())
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file} is damaged ({error})") from error
    tensors = {}
    for name, tensor in stored:
        if tensor["dtype"] not in DTYPES:
            raise InputError(f"{file} has {name} in {tensor['dtype']}; save it in float32")
        flat = np.frombuffer(tensor["data"], DTYPES[tensor["dtype"]])
        tensors[name] = flat.reshape(tensor["shape"]).astype(np.float32)
    return tensors


def _nested(content: dict[str, Any], key: str) -> dict[str, Any]:
    """What is below the key, or the content itself if nothing is."""
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


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")


def _origin(text: str, where: Path) -> Origin:
    stored = _json(text, where)
    config = get_config()
    try:
        config.update(ConfigDict(stored["config"]))
        return Origin(config, tuple(map(str, stored["classes"])))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{where} does not say its origin as exports do ({type(error).__name__}: {error})"
        ) from error


def _json(text: str, where: Path) -> dict[str, Any]:
    try:
        stored = json.loads(text)
    except ValueError as error:
        raise InputError(f"{where} is not JSON ({error})") from error
    if not isinstance(stored, dict):
        raise InputError(f"{where} is not a JSON object")
    return stored
