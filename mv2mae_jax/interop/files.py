"""Reading files of weights.

MCG-NJU's programs and this package's exports to them are pickles of PyTorch's; Hugging Face's are a
folder with `config.json` and safetensors. What they cannot say, an export says besides: the
cross-view decoder, the config of the run and the names of the classes.
"""

import argparse
import importlib.util
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from mv2mae_jax.check import stored_config, to_store
from mv2mae_jax.errors import InputError, is_name
from mv2mae_jax.interop.names import Tensors
from mv2mae_jax.storage import to_local_path

WEIGHTS_FILE = "model.safetensors"
CHECKPOINT_FILE = "checkpoint.pth"  # of an export to MCG-NJU's programs
FOLDER_FILES = (WEIGHTS_FILE, "pytorch_model.bin", CHECKPOINT_FILE)
OPTIONS_FILE = "config.json"  # Hugging Face's
CROSS_VIEW_FILE = "cross_view_decoder.safetensors"
CROSS_VIEW_KEY = "cross_view_decoder"
ORIGIN_KEY = "mv2mae"  # in a .pth, and in the metadata of safetensors
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
FLOATS = ("F64", "F32", "F16", "BF16")


class Origin(NamedTuple):
    """What an export says of the run that it comes from."""

    config: ConfigDict
    classes: tuple[str, ...]

    def to_json(self) -> str:
        """As it stands in the exports."""
        return json.dumps({"config": to_store(self.config), "classes": self.classes})


class Stored(NamedTuple):
    """What a file or folder of weights holds.

    Attributes:
      tensors: by their names there, floating point as float32.
      options: the model's `config.json` of Hugging Face's; empty without one.
      origin: of an export of this package.
    """

    tensors: Tensors
    options: dict[str, Any]
    origin: Origin | None


def read_stored(path: epath.PathLike) -> Stored:
    """Reads a file of weights, whose suffix is in `READERS`, or a folder with one.

    Nothing but plain weights is ever unpickled. PyTorch is imported for its own files only.

    Raises:
      InputError: there is no such file; what reads it is not installed; it is damaged, or holds
        more than plain weights.
    """
    path = to_local_path(path, "it has no checkpoints, and weights in files are to be downloaded")
    try:
        file = _weights_file(path)
        package, read = READERS[file.suffix]
        require(package, file)
        tensors, said = read(file)
        if (path / CROSS_VIEW_FILE).exists():
            tensors |= _read_safetensors(path / CROSS_VIEW_FILE)[0]
        options = path / OPTIONS_FILE
        text = options.read_text(encoding="utf-8") if path.is_dir() and options.exists() else "{}"
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error})") from error
    origin = _origin(said, file) if said is not None else None
    return Stored(dict(sorted(tensors.items())), _json(text, options), origin)


def require(package: str, what: str | Path, extras: str = "torch") -> None:
    """Says what is not installed before anything needs it; `extras` of this package bring it.

    Raises:
      InputError: the package is not there.
    """
    if importlib.util.find_spec(package) is None:
        raise InputError(f"{what} needs {package}, not installed: pip install -e '.[{extras}]'")


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
    if path.suffix not in READERS:
        raise InputError(
            f"{path} is none of {', '.join(READERS)}, a folder of Hugging Face's, or a work "
            "directory"
        )
    return path


def _read_torch(file: Path) -> tuple[Tensors, str | None]:
    """The tensors, and what the file says of its origin."""
    import torch

    try:
        # MCG-NJU's programs save their command line too: a plain object of numbers and strings.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # what is no pickle fails in any way
        raise InputError(
            f"{file} is damaged or holds more than plain weights, which is never unpickled; save "
            "its state_dict alone"
        ) from error
    content = content if isinstance(content, Mapping) else {}
    weights = content
    for key in ("model", "module", "state_dict"):
        weights = weights[key] if isinstance(weights.get(key), Mapping) else weights
    tensors: Tensors = {}
    beside = content.get(CROSS_VIEW_KEY)
    for name, value in (*weights.items(), *(beside.items() if isinstance(beside, Mapping) else ())):
        if isinstance(value, torch.Tensor):
            tensors[str(name)] = _from_torch(str(name), value, file)
    return tensors, content.get(ORIGIN_KEY)


def _from_torch(name: str, value: Any, file: Path) -> np.ndarray:
    try:
        value = value.detach()
        return (value.float() if value.is_floating_point() else value).numpy()
    except (TypeError, RuntimeError, NotImplementedError) as error:  # sparse, or without values
        raise InputError(f"{file} has {name} in a form that is not read ({error})") from error


def _read_safetensors(file: Path) -> tuple[Tensors, str | None]:
    """The tensors, and what the file says of its origin."""
    # The package's readers for NumPy know no bfloat16; PyTorch's and jax's bring these along.
    from safetensors import SafetensorError, deserialize, safe_open

    try:
        with safe_open(file, framework="np") as opened:
            said = (opened.metadata() or {}).get(ORIGIN_KEY)
        stored = deserialize(file.read_bytes())
    except SafetensorError as error:
        raise InputError(f"{file} is damaged ({error})") from error
    tensors = {}
    for name, tensor in stored:
        if tensor["dtype"] not in DTYPES:
            raise InputError(f"{file} has {name} in {tensor['dtype']}; save it in float32")
        dtype = DTYPES[tensor["dtype"]]
        value = np.frombuffer(tensor["data"], dtype).reshape(tensor["shape"])
        tensors[name] = value.astype(np.float32) if tensor["dtype"] in FLOATS else value
    return tensors, said


# By the suffix of a file of weights: the package that reads it, and how.
READERS: Mapping[str, tuple[str, Callable[[Path], tuple[Tensors, str | None]]]] = {
    ".pth": ("torch", _read_torch),
    ".pt": ("torch", _read_torch),
    ".bin": ("torch", _read_torch),
    ".safetensors": ("safetensors", _read_safetensors),
}


def _origin(text: Any, where: Path) -> Origin:
    stored = _json(str(text), where)
    classes = stored.get("classes")
    if not isinstance(classes, list) or not all(map(is_name, classes)):
        raise InputError(f"{where} says of its origin what no export does: classes are {classes!r}")
    try:
        return Origin(stored_config(stored.get("config")), tuple(classes))
    except InputError as error:
        raise InputError(f"{where} says of its origin what no export does: {error}") from error


def _json(text: str, where: Path) -> dict[str, Any]:
    try:
        stored = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON ({error})") from error
    if not isinstance(stored, dict):
        raise InputError(f"{where} is not a JSON object")
    return stored
