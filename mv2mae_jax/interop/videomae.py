"""VideoMAE's weights by our names: files of MCG-NJU's programs, and of Hugging Face's.

Both hold the same tensors under other names; MCG-NJU keeps query, key and value in one. A linear
map is stored as [out, in], ours as [in, out]; the tubelets' map as a 3-D convolution's.
"""

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from einops import rearrange

from mv2mae_jax.errors import InputError

Tensors = dict[str, np.ndarray]

TORCH_FILES = (".pth", ".pt", ".bin")
HUGGINGFACE_FILES = ("model.safetensors", "pytorch_model.bin")


class Naming(NamedTuple):
    """What a program calls the parts of a VideoMAE, from ours to theirs.

    Attributes:
      modules: those that occur once; each has a weight and maybe a bias.
      blocks: where the numbered blocks stand, of the encoder first.
      block: modules of a block.
      tensors: of a block, beside those of its modules: our parameters, side by side in one tensor.
    """

    modules: Mapping[str, str]
    blocks: Mapping[str, str]
    block: Mapping[str, str]
    tensors: Mapping[tuple[str, ...], str]


NAMINGS = {
    "videomae": Naming(
        modules={
            "encoder.embed": "encoder.patch_embed.proj",
            "encoder_norm": "encoder.norm",
            "projector": "encoder_to_decoder",
            "self_view_decoder.norm": "decoder.norm",
            "self_view_decoder.head": "decoder.head",
            "norm": "fc_norm",
            "head": "head",
        },
        blocks={"encoder.blocks": "encoder.blocks", "self_view_decoder.blocks": "decoder.blocks"},
        block={
            "norm1": "norm1",
            "attention.out": "attn.proj",
            "norm2": "norm2",
            "mlp.up": "mlp.fc1",
            "mlp.down": "mlp.fc2",
        },
        tensors={
            ("attention.query.bias",): "attn.q_bias",
            ("attention.value.bias",): "attn.v_bias",
            (
                "attention.query.kernel",
                "attention.key.kernel",
                "attention.value.kernel",
            ): "attn.qkv.weight",
        },
    ),
    "huggingface": Naming(
        modules={
            "encoder.embed": "videomae.embeddings.patch_embeddings.projection",
            "encoder_norm": "videomae.layernorm",
            "projector": "encoder_to_decoder",
            "self_view_decoder.norm": "decoder.norm",
            "self_view_decoder.head": "decoder.head",
            "norm": "fc_norm",
            "head": "classifier",
        },
        blocks={
            "encoder.blocks": "videomae.encoder.layer",
            "self_view_decoder.blocks": "decoder.decoder_layers",
        },
        block={
            "norm1": "layernorm_before",
            "attention.query": "attention.attention.query",
            "attention.key": "attention.attention.key",
            "attention.value": "attention.attention.value",
            "attention.out": "attention.output.dense",
            "norm2": "layernorm_after",
            "mlp.up": "intermediate.dense",
            "mlp.down": "output.dense",
        },
        tensors={},
    ),
}

# Other names of the same tensors: MCG-NJU's classifiers, Hugging Face's encoder alone, and what
# transformers wrote before version 5, as in all weights that were released with it.
SYNONYMS = (
    (r"^(patch_embed|blocks|norm)\.", r"encoder.\1."),
    (r"^(embeddings|encoder\.layer|layernorm)\.", r"videomae.\1."),
    (r"(\.attention\.attention)\.q_bias$", r"\1.query.bias"),
    (r"(\.attention\.attention)\.v_bias$", r"\1.value.bias"),
)


class Weights(NamedTuple):
    """A VideoMAE, or a part of one, read from a file.

    Attributes:
      parameters: by our names and in our layout, float32.
      unknown: names of what else is in the file.
      patch_size: frames, height and width of a tubelet.
      sizes: of encoder and decoder as far as they can be told, by the names of `Variant`'s fields.
    """

    parameters: Tensors
    unknown: tuple[str, ...]
    patch_size: tuple[int, int, int]
    sizes: dict[str, int]


def name_table(naming: str, depth: int, decoder_depth: int) -> dict[str, tuple[str, ...]]:
    """Every tensor of a VideoMAE by its name there, and the parameters of ours that it holds.

    Args:
      naming: videomae (MCG-NJU's programs) or huggingface.
      depth: blocks of the encoder.
      decoder_depth: blocks of the decoder.
    """
    modules, blocks, block, tensors = NAMINGS[naming]
    everywhere = dict(modules)
    table: dict[str, tuple[str, ...]] = {"mask_token": ("mask_token",)}
    for (ours, theirs), count in zip(blocks.items(), (depth, decoder_depth), strict=True):
        for n in range(count):
            everywhere |= {f"{ours}.{n}.{a}": f"{theirs}.{n}.{b}" for a, b in block.items()}
            table |= {
                f"{theirs}.{n}.{tensor}": tuple(f"{ours}.{n}.{name}" for name in names)
                for names, tensor in tensors.items()
            }
    for ours, theirs in everywhere.items():
        weight = "scale" if "norm" in ours.rpartition(".")[2] else "kernel"
        table |= {f"{theirs}.weight": (f"{ours}.{weight}",), f"{theirs}.bias": (f"{ours}.bias",)}
    return table


def read_weights(path: str | Path) -> Weights:
    """Reads a `.pth`, `.bin` or `.safetensors` file, or a folder of Hugging Face's.

    Nothing but plain weights is ever unpickled. PyTorch is imported for its own files only.

    Raises:
      InputError: there is no such file; what reads it is not installed; it holds no VideoMAE, or
        more than plain weights.
    """
    path = Path(path)
    file = _weights_file(path)
    tensors = _read_torch(file) if file.suffix in TORCH_FILES else _read_safetensors(file)
    tensors = {_in_full(name): value for name, value in tensors.items()}
    embeds = {f"{names.modules['encoder.embed']}.weight": key for key, names in NAMINGS.items()}
    embed = next((name for name in embeds if name in tensors and tensors[name].ndim == 5), None)
    if embed is None:
        raise InputError(f"{path} holds no VideoMAE encoder, neither MCG-NJU's nor Hugging Face's")
    naming, (width, _, *patch_size) = embeds[embed], tensors[embed].shape
    depths = [_depth(tensors, blocks) for blocks in NAMINGS[naming].blocks.values()]
    table = name_table(naming, *depths)
    parameters: Tensors = {}
    for name in tensors.keys() & table.keys():
        thirds = np.split(tensors[name], len(table[name]))
        parameters |= {
            ours: _in_our_layout(ours, x) for ours, x in zip(table[name], thirds, strict=True)
        }
    sizes = {"width": width, "depth": depths[0]}
    if "mask_token" in parameters:
        sizes |= {"decoder_width": parameters["mask_token"].size, "decoder_depth": depths[1]}
    if path.is_dir():
        sizes |= _heads(path / "config.json", "mask_token" in parameters)
    unknown = tuple(sorted(tensors.keys() - table.keys()))
    return Weights(parameters, unknown, tuple(patch_size), sizes)


def _in_full(name: str) -> str:
    for pattern, full in SYNONYMS:
        name = re.sub(pattern, full, name)
    return name


def _depth(tensors: Tensors, blocks: str) -> int:
    """Number of blocks whose names begin like this."""
    place = len(blocks.split("."))
    return len({name.split(".")[place] for name in tensors if name.startswith(f"{blocks}.")})


def _in_our_layout(name: str, value: np.ndarray) -> np.ndarray:
    if name == "encoder.embed.kernel":
        return rearrange(value, "d c p0 p1 p2 -> (p0 p1 p2 c) d")
    if name == "mask_token":
        return value.reshape(-1)
    return value.T


def _weights_file(path: Path) -> Path:
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if path.is_dir():
        files = [path / name for name in HUGGINGFACE_FILES if (path / name).exists()]
        if not files:
            raise InputError(
                f"{path} has neither checkpoints, as a work directory, nor "
                f"{' or '.join(HUGGINGFACE_FILES)}, as a folder of Hugging Face's"
            )
        return files[0]
    if path.suffix not in (*TORCH_FILES, ".safetensors"):
        raise InputError(
            f"{path} is none of {', '.join(TORCH_FILES)}, .safetensors, a folder of Hugging "
            "Face's, or a work directory"
        )
    return path


def _read_torch(file: Path) -> Tensors:
    try:
        import torch
    except ImportError as error:
        raise _not_installed(file) from error
    try:
        # MCG-NJU's programs save their command line too: a plain object of numbers and strings.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # what is no pickle fails in any way
        raise InputError(
            f"{file} is damaged or holds more than plain weights, which is never unpickled; save "
            "its state_dict alone"
        ) from error
    content = content if isinstance(content, dict) else {}
    for key in ("model", "module"):
        content = content[key] if isinstance(content.get(key), dict) else content
    return {
        name: value.detach().float().numpy()
        for name, value in content.items()
        if isinstance(value, torch.Tensor)
    }


def _read_safetensors(file: Path) -> Tensors:
    try:
        import safetensors
        from safetensors.numpy import load_file
    except ImportError as error:
        raise _not_installed(file) from error
    try:
        return {name: np.asarray(x, np.float32) for name, x in load_file(file).items()}
    except safetensors.SafetensorError as error:
        raise InputError(f"{file} is damaged ({error})") from error


def _not_installed(file: Path) -> InputError:
    return InputError(f"what reads {file} is not installed: pip install -e '.[torch]'")


def _heads(file: Path, decoder: bool) -> dict[str, int]:
    """What the shapes of tensors do not tell."""
    try:
        stored: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        heads = {"heads": stored["num_attention_heads"]}
        if decoder:
            heads["decoder_heads"] = stored["decoder_num_attention_heads"]
        activation = stored.get("hidden_act", "gelu")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{file} is missing or is not a VideoMAE's ({type(error).__name__}: {error})"
        ) from error
    if activation != "gelu":
        raise InputError(f"{file} has hidden_act={activation}; only gelu is known here")
    return heads
