"""What the comparisons with PyTorch share: parameters by our names, and what "the same" means."""

import re

import numpy as np
import torch
from einops import rearrange
from transformers import VideoMAEConfig

from mv2mae_jax.model.masking import Mask
from mv2mae_jax.model.variants import Variant

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and standard deviation
RENAMED = (
    (r"^videomae\.embeddings\.patch_embeddings\.projection", "encoder.embed"),
    (r"^videomae\.encoder\.layer", "encoder.blocks"),
    (r"^videomae\.layernorm", "encoder_norm"),
    (r"^encoder_to_decoder", "projector"),
    (r"^decoder\.decoder_layers", "self_view_decoder.blocks"),
    (r"^decoder", "self_view_decoder"),
    (r"attention\.attention", "attention"),
    (r"attention\.output\.dense", "attention.out"),
    (r"intermediate\.dense", "mlp.up"),
    (r"output\.dense", "mlp.down"),
    (r"layernorm_before", "norm1"),
    (r"layernorm_after", "norm2"),
    (r"^fc_norm", "norm"),
    (r"^classifier", "head"),
)


def from_huggingface(tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Parameters (or gradients) of a Hugging Face VideoMAE by our names and in our layout."""
    return dict(_convert(name, tensor.detach().numpy()) for name, tensor in tensors.items())


def _convert(name: str, value: np.ndarray) -> tuple[str, np.ndarray]:
    for pattern, ours in RENAMED:
        name = re.sub(pattern, ours, name)
    if value.ndim == 5:  # Conv3d
        value = rearrange(value, "d c p0 p1 p2 -> d (p0 p1 p2 c)")
    if name == "mask_token":
        value = value.reshape(-1)
    if name.endswith(".weight"):
        kind = "kernel" if value.ndim == 2 else "scale"
        name, value = name.removesuffix("weight") + kind, value.T
    return name, value


def as_pixel_values(clips: np.ndarray) -> torch.Tensor:
    """Clips [B T H W C] of uint8, normalised as PyTorch's programs do it: [B T C H W]."""
    mean, std = (torch.tensor(values) for values in IMAGENET)
    return ((torch.from_numpy(clips) / 255 - mean) / std).permute(0, 1, 4, 2, 3).contiguous()


def as_booleans(mask: Mask) -> torch.Tensor:
    """Which tokens are masked, [... N], as PyTorch's modules take it."""
    hidden = np.zeros((*mask.masked.shape[:-1], sum(index.shape[-1] for index in mask)), bool)
    np.put_along_axis(hidden, np.asarray(mask.masked), True, axis=-1)
    return torch.from_numpy(hidden)


def gradients(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The gradients of a module by its own names."""
    return {name: parameter.grad for name, parameter in module.named_parameters()}


def random_videomae(
    model_class: type, variant: Variant, num_frames: int, image_size: int, **options
) -> torch.nn.Module:
    """A VideoMAE of Hugging Face's: random values everywhere, MCG-NJU's eps in all norms."""
    torch.manual_seed(0)
    config = VideoMAEConfig(
        image_size=image_size,
        num_frames=num_frames,
        hidden_size=variant.width,
        num_hidden_layers=variant.depth,
        num_attention_heads=variant.heads,
        intermediate_size=4 * variant.width,
        decoder_hidden_size=variant.decoder_width,
        decoder_num_hidden_layers=variant.decoder_depth,
        decoder_num_attention_heads=variant.decoder_heads,
        decoder_intermediate_size=4 * variant.decoder_width,
        layer_norm_eps=1e-6,
        **options,
    )
    model = model_class(config).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-6  # two norms ignore the config: decoder.norm and fc_norm
    randomize(model)
    return model


def randomize(module: torch.nn.Module, seed: int = 0) -> None:
    """Random values everywhere, also where an initial value is 0 or 1 and would hide an error."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


def assert_same(ours, theirs, tolerance: float = 1e-5) -> None:
    """Equal to `tolerance` of the largest value."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= tolerance * np.abs(theirs).max()


def assert_same_parameters(ours: dict, theirs: dict, tolerance: float = 1e-5) -> None:
    """Every parameter of `theirs` has its equal in `ours`."""
    for name, value in theirs.items():
        expected = np.asarray(value)
        error = np.abs(np.asarray(ours[name]) - expected).max()
        assert error <= tolerance * np.abs(expected).max(), name
