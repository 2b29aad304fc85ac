"""Parameters by the names that PyTorch programs give them, and in their layout, both ways.

A VideoMAE has the same tensors in MCG-NJU's programs and in Hugging Face's; the first keep query,
key and value in one. A linear map is stored as [out, in], ours as [in, out]; the tubelets' map as
a 3-D convolution's. The cross-view decoder, which only this package has, is named in MCG-NJU's way.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from einops import rearrange

from mv2mae_jax.errors import InputError
from mv2mae_jax.model.grid import PatchSize

Tensors = dict[str, np.ndarray]


class Naming(NamedTuple):
    """What a program calls the parts of a model, from ours to theirs.

    Attributes:
      modules: those that occur once; each has a weight and maybe a bias.
      tokens: single vectors, theirs of shape [1, 1, D].
      blocks: where the numbered blocks stand.
      block: modules of a block.
      tensors: of a block, beside those of its modules: our parameters, side by side in one tensor.
    """

    modules: Mapping[str, str]
    tokens: Mapping[str, str]
    blocks: Mapping[str, str]
    block: Mapping[str, str]
    tensors: Mapping[tuple[str, ...], str]


def _joint_attention(ours: str, theirs: str) -> dict[tuple[str, ...], str]:
    """MCG-NJU's attention: one map without bias, and the biases of query and value."""
    return {
        (f"{ours}.query.bias",): f"{theirs}.q_bias",
        (f"{ours}.value.bias",): f"{theirs}.v_bias",
        tuple(
            f"{ours}.{part}.kernel" for part in ("query", "key", "value")
        ): f"{theirs}.qkv.weight",
    }


CROSS_VIEW = Naming(
    modules={
        "cross_view_projector": "cross_view_encoder_to_decoder",
        "cross_view_decoder.norm": "cross_view_decoder.norm",
        "cross_view_decoder.head": "cross_view_decoder.head",
    },
    tokens={"cross_view_mask_token": "cross_view_mask_token"},
    blocks={"cross_view_decoder.blocks": "cross_view_decoder.blocks"},
    block={
        "norm_query": "norm_query",
        "norm_memory": "norm_memory",
        "cross_attention.out": "cross_attn.proj",
        "block.norm1": "norm1",
        "block.attention.out": "attn.proj",
        "block.norm2": "norm2",
        "block.mlp.up": "mlp.fc1",
        "block.mlp.down": "mlp.fc2",
    },
    tensors=_joint_attention("cross_attention", "cross_attn")
    | _joint_attention("block.attention", "attn"),
)

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
        tokens={"mask_token": "mask_token"},
        blocks={"encoder.blocks": "encoder.blocks", "self_view_decoder.blocks": "decoder.blocks"},
        block={
            "norm1": "norm1",
            "attention.out": "attn.proj",
            "norm2": "norm2",
            "mlp.up": "mlp.fc1",
            "mlp.down": "mlp.fc2",
        },
        tensors=_joint_attention("attention", "attn"),
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
        tokens={"mask_token": "mask_token"},
        blocks={
            "encoder.blocks": "videomae.encoder.layer",
            "self_view_decoder.blocks": "decoder.decoder_layers",
        },
        block={
            "norm1": "layernorm_before",
            "attention.out": "attention.output.dense",
            "norm2": "layernorm_after",
            "mlp.up": "intermediate.dense",
            "mlp.down": "output.dense",
        },
        tensors={
            ("attention.query.bias",): "attention.attention.q_bias",
            ("attention.value.bias",): "attention.attention.v_bias",
            ("attention.query.kernel",): "attention.attention.query.weight",
            ("attention.key.kernel",): "attention.attention.key.weight",
            ("attention.value.kernel",): "attention.attention.value.weight",
        },
    ),
}

# Other names of the same tensors: what wrappers put in front, MCG-NJU's classifiers, Hugging Face's
# encoder alone, and what transformers 5 has in memory (but not in its files).
SYNONYMS = (
    (r"^((_orig_mod|module|model|backbone)\.)+", ""),
    (r"^(patch_embed|blocks|norm)\.", r"encoder.\1."),
    (r"^(embeddings|encoder\.layer|layernorm)\.", r"videomae.\1."),
    (r"(\.attention\.attention)\.query\.bias$", r"\1.q_bias"),
    (r"(\.attention\.attention)\.value\.bias$", r"\1.v_bias"),
)


def in_full(name: str) -> str:
    """The name in `NAMINGS` of a tensor that may have one of `SYNONYMS`."""
    for pattern, full in SYNONYMS:
        name = re.sub(pattern, full, name)
    return name


def name_table(naming: str, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Every tensor by its name there, and the parameters of ours that it holds.

    Args:
      naming: videomae (MCG-NJU's programs) or huggingface; the cross-view decoder is in both.
      names: of parameters or of tensors, by which the blocks are counted.
    """
    names = tuple(names)
    return _table(NAMINGS[naming], names) | _table(CROSS_VIEW, names)


def to_tensors(parameters: Mapping[str, np.ndarray], naming: str, patch_size: PatchSize) -> Tensors:
    """Our parameters as a program names and stores them.

    Args:
      parameters: all of them are in the result.
      naming: as of `name_table`.
      patch_size: frames, height and width of a tubelet.
    """
    return {
        theirs: np.concatenate([_in_their_layout(x, parameters[x], patch_size) for x in ours])
        for theirs, ours in name_table(naming, parameters).items()
        if parameters.keys() >= set(ours)
    }


def from_tensors(tensors: Tensors, table: Mapping[str, tuple[str, ...]]) -> Tensors:
    """The parameters, by our names and in our layout, in those tensors that are in the table.

    Raises:
      InputError: a tensor cannot be what its name says.
    """
    parameters: Tensors = {}
    for theirs, names in table.items():
        if theirs not in tensors:
            continue
        value = tensors[theirs]
        if value.ndim == 0 or value.shape[0] % len(names):
            raise InputError(f"{theirs} of shape {value.shape} is not a VideoMAE's")
        if value.dtype != np.float32:
            raise InputError(f"{theirs} is {value.dtype}; save it in float32")
        if not np.isfinite(value).all():
            raise InputError(f"{theirs} has numbers that are not finite")
        parts = np.split(value, len(names))
        parameters |= {ours: _in_our_layout(ours, x) for ours, x in zip(names, parts, strict=True)}
    return parameters


def _table(naming: Naming, names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    modules, tokens, blocks, block, tensors = naming
    everywhere = dict(modules)
    table: dict[str, tuple[str, ...]] = {theirs: (ours,) for ours, theirs in tokens.items()}
    for ours, theirs in blocks.items():
        for n in range(max(depth(names, ours), depth(names, theirs))):
            everywhere |= {f"{ours}.{n}.{a}": f"{theirs}.{n}.{b}" for a, b in block.items()}
            table |= {
                f"{theirs}.{n}.{tensor}": tuple(f"{ours}.{n}.{part}" for part in parts)
                for parts, tensor in tensors.items()
            }
    for ours, theirs in everywhere.items():
        weight = "scale" if "norm" in ours.rpartition(".")[2] else "kernel"
        table |= {f"{theirs}.weight": (f"{ours}.{weight}",), f"{theirs}.bias": (f"{ours}.bias",)}
    return table


def depth(names: Iterable[str], blocks: str) -> int:
    """Number of blocks whose names begin like this."""
    place = len(blocks.split("."))
    return len({name.split(".")[place] for name in names if name.startswith(f"{blocks}.")})


def _in_our_layout(name: str, value: np.ndarray) -> np.ndarray:
    if name == "encoder.embed.kernel":
        return rearrange(value, "d c p0 p1 p2 -> (p0 p1 p2 c) d")
    return value.reshape(-1) if name.endswith("mask_token") else value.T


def _in_their_layout(name: str, value: np.ndarray, patch_size: PatchSize) -> np.ndarray:
    value = np.asarray(value)
    if name == "encoder.embed.kernel":
        p0, p1, p2 = patch_size
        return rearrange(value, "(p0 p1 p2 c) d -> d c p0 p1 p2", p0=p0, p1=p1, p2=p2)
    return value.reshape(1, 1, -1) if name.endswith("mask_token") else value.T
