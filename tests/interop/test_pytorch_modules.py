"""The PyTorch modules against the JAX model with the same random values, and against VideoMAE."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from ml_collections import ConfigDict
from model.comparison import as_booleans, assert_same, from_huggingface, random_videomae
from transformers import VideoMAEForPreTraining, VideoMAEForVideoClassification

from configs.base import get_config
from mv2mae_jax.errors import InputError
from mv2mae_jax.evaluation.features import FrozenEncoder
from mv2mae_jax.interop import pytorch
from mv2mae_jax.interop.files import ORIGIN_KEY, Origin, read_stored
from mv2mae_jax.interop.names import to_tensors
from mv2mae_jax.interop.writing import write_safetensors
from mv2mae_jax.losses import draw_masks
from mv2mae_jax.model import build
from mv2mae_jax.model.masking import Mask
from mv2mae_jax.model.variants import VARIANTS
from mv2mae_jax.training.parameters import Definition, Parameters, split

CLASSES = 5


def config_of(positions: str = "flattened", frames: int = 6, **fields) -> ConfigDict:
    """Of a grid whose sides differ in time and space."""
    config = get_config()
    config.data.num_frames, config.data.image_size = frames, 32
    config.model.variant, config.model.dtype = "mini", "float32"
    config.model.positions = positions
    config.update_from_flattened_dict(fields)
    return config


def randomized(module: nnx.Module):
    """Definition, and parameters random everywhere, also where they start at 0 or 1."""
    definition, parameters = split(module)
    random = np.random.default_rng(0)
    return definition, {
        name: value + jnp.float32(0.1 * random.normal(size=value.shape))
        for name, value in parameters.items()
    }


def tensors_of(config: ConfigDict, parameters: Parameters) -> dict[str, np.ndarray]:
    return to_tensors(parameters, "videomae", tuple(config.model.patch_size))


def random_clips(config: ConfigDict, *leading: int) -> np.ndarray:
    size = config.data.image_size
    shape = (*leading, config.data.num_frames, size, size, 3)
    return np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)


def pixels(config: ConfigDict, clips: np.ndarray) -> torch.Tensor:
    """[... T H W C] bytes to [... C T H W], ImageNet-normalised."""
    mean, std = (torch.tensor(values) for values in (config.data.mean, config.data.std))
    return ((torch.from_numpy(clips) / 255 - mean) / std).movedim(-1, -4)


def masks(config: ConfigDict, views: int) -> Mask:
    """Of two samples, in the order of places."""
    mask = draw_masks(config, jax.random.split(jax.random.key(0), 2), views)
    return Mask(*(jnp.sort(index) for index in mask))


@pytest.mark.parametrize(
    ("views", "config"),
    [
        (2, config_of("flattened")),
        (3, config_of("separable", frames=4, **{"model.projector": "separate"})),
        (1, config_of("separable", **{"data.num_views": 1})),
    ],
)
def test_reconstructions(views, config):
    """Of every view from itself and from all others."""
    definition, parameters = randomized(build.pretraining_model(config, nnx.Rngs(0)))
    clips = random_clips(config, 2, views)
    mask = masks(config, views)

    @jax.jit
    def reconstruct(parameters):
        patches = build.clip_patches(config, jnp.array(clips).reshape(-1, *clips.shape[2:]))
        patches = patches.reshape(2, views, *patches.shape[1:])
        return definition.bind(parameters)(patches, mask)

    module = pytorch.build(config, tensors_of(config, parameters))
    assert isinstance(module, pytorch.MV2MAE)
    with torch.no_grad():
        theirs = module(pixels(config, clips), as_booleans(mask))
    ours = reconstruct(parameters)
    assert_same(ours.self_view, theirs.self_view)
    if views == 1:
        assert ours.cross_view is None and theirs.cross_view is None
    else:
        assert_same(ours.cross_view, theirs.cross_view)


@pytest.mark.parametrize("positions", ["flattened", "separable"])
def test_classifier(positions):
    config = config_of(positions)
    definition, parameters = randomized(build.classifier(config, CLASSES, nnx.Rngs(0)))
    clips = random_clips(config, 2)
    module = pytorch.build(config, tensors_of(config, parameters))
    assert isinstance(module, pytorch.Classifier)
    encoder = FrozenEncoder(config, parameters)
    logits = jax.jit(lambda p: definition.bind(p)(build.clip_patches(config, jnp.array(clips))))
    with torch.no_grad():
        assert_same(logits(parameters), module(pixels(config, clips)))
        assert_same(encoder.tokens(clips), module.tokens(pixels(config, clips)))
        assert_same(encoder.encode(clips), module.features(pixels(config, clips)))


def test_encoder_of_pretraining():
    """In the whole model and alone."""
    config = config_of("separable", **{"data.num_views": 1})
    _, parameters = randomized(build.pretraining_model(config, nnx.Rngs(0)))
    clips = random_clips(config, 2)
    tensors = tensors_of(config, parameters)
    alone = {name: x for name, x in tensors.items() if name.startswith("encoder.")}
    encoder = FrozenEncoder(config, parameters)
    for module in (pytorch.build(config, tensors), pytorch.build(config, alone)):
        with torch.no_grad():
            assert_same(encoder.tokens(clips), module.tokens(pixels(config, clips)))
            assert_same(encoder.encode(clips), module.features(pixels(config, clips)))
    assert isinstance(module, pytorch.VisionTransformer)


@pytest.mark.parametrize("classifies", [False, True])
def test_with_flattened_positions_it_is_videomae(classifies):
    config = config_of("flattened")
    model_class = VideoMAEForVideoClassification if classifies else VideoMAEForPreTraining
    data, variant = config.data, VARIANTS[config.model.variant]
    theirs = random_videomae(
        model_class, variant, data.num_frames, data.image_size, use_mean_pooling=classifies
    )
    parameters = from_huggingface(dict(theirs.named_parameters()))
    module = pytorch.build(config, tensors_of(config, parameters))
    clips = pixels(config, random_clips(config, 2))
    for_them = clips.transpose(1, 2)  # [B T C H W]
    with torch.no_grad():
        if classifies:
            assert_same(module(clips), theirs(for_them).logits)
            tokens = module.encode(clips)  # theirs come before the norm
        else:
            hidden = as_booleans(masks(config, 1))
            reconstruction = module(clips[:, None], hidden)
            assert_same(reconstruction.self_view[:, 0], theirs(for_them, hidden[:, 0]).logits)
            tokens = module.tokens(clips)
        assert_same(tokens, theirs.videomae(for_them).last_hidden_state)


Written = tuple[ConfigDict, Definition, Parameters]


@pytest.fixture(scope="module")
def written() -> Written:
    """A classifier whose positions and pixels are not the usual ones."""
    config = config_of("separable", **{"data.std": (0.5, 0.4, 0.3)})
    return config, *randomized(build.classifier(config, CLASSES, nnx.Rngs(0)))


@pytest.fixture(scope="module")
def exported(written: Written, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder."""
    config, _, parameters = written
    folder = tmp_path_factory.mktemp("exported")
    tensors = {
        name.removeprefix("encoder."): value
        for name, value in tensors_of(config, parameters).items()
    }
    metadata = {ORIGIN_KEY: Origin(config, tuple("abcde")).to_json()}
    write_safetensors(folder / "model.safetensors", tensors, metadata)
    return folder


def test_a_folder_is_loaded_without_jax(written: Written, exported: Path, tmp_path: Path):
    """With the names, positions and pixels that it was written with."""
    config, definition, parameters = written
    clips = random_clips(config, 2)
    torch.save(pixels(config, clips), tmp_path / "clips.pth")
    program = (
        "import sys, torch; from mv2mae_jax.interop.pytorch import load; "
        "folder, clips, logits = sys.argv[1:]; "
        "torch.save(load(folder)(torch.load(clips)).detach(), logits); "
        "assert not {'jax', 'flax'} & sys.modules.keys()"
    )
    files = tmp_path / "clips.pth", tmp_path / "logits.pth"
    subprocess.run([sys.executable, "-c", program, exported, *files], check=True)
    ours = definition.bind(parameters)(build.clip_patches(config, jnp.array(clips)))
    assert_same(ours, torch.load(tmp_path / "logits.pth"))
    module = pytorch.load(exported)
    assert isinstance(module, pytorch.Classifier) and not module.training
    assert module.head.weight.shape == (CLASSES, 128)
    assert_same(pixels(config, clips), module.normalize(torch.from_numpy(clips)))


@pytest.mark.parametrize(
    ("left", "added", "fields", "message"),
    [
        ("fc_norm.bias", {}, {}, "fc_norm.bias is missing among the weights"),
        ("", {"norm.bias": np.zeros(128)}, {}, "norm.bias is unknown among the weights"),
        ("", {"fc_norm.bias": np.zeros(64)}, {}, r"fc_norm.bias has shape \(64,\).* \(128,\)"),
        (
            "",
            {},
            {"variant": "mighty"},
            "of its origin what no export does.*variant=mighty",
        ),
        ("", {}, {"patch_size": 7}, "says of its origin what no export does.*patch_size"),
        ("", {}, None, "is not what `convert export --format pytorch` writes"),
    ],
)
def test_what_is_no_export_is_one_line(exported, tmp_path, left, added, fields, message):
    tensors = {name: x.numpy() for name, x in pytorch.load(exported).state_dict().items()}
    tensors = {name: x for name, x in (tensors | added).items() if name != left}
    metadata = {}
    if fields is not None:
        origin = json.loads(read_stored(exported).origin.to_json())
        origin["config"]["model"].update(fields)
        metadata[ORIGIN_KEY] = json.dumps(origin)
    write_safetensors(tmp_path / "model.safetensors", tensors, metadata)
    with pytest.raises(InputError, match=message) as error:
        pytorch.load(tmp_path)
    assert str(error.value).startswith(str(tmp_path)) and "\n" not in str(error.value)
