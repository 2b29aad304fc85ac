"""VideoMAE's weights in all their files: the same numbers as in PyTorch, and clear refusals."""

import argparse
import json
import pickle
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
import torch
from flax import nnx
from ml_collections import ConfigDict
from transformers import VideoMAEConfig, VideoMAEForPreTraining, VideoMAEForVideoClassification

from configs.mannequin import get_config
from mv2mae_jax import objective
from mv2mae_jax.errors import InputError
from mv2mae_jax.interop.initial import load_initial
from mv2mae_jax.interop.videomae import NAMINGS, name_table, read_weights
from mv2mae_jax.model import build
from mv2mae_jax.model.masking import Mask, sample_masks
from mv2mae_jax.training.checkpoints import Checkpoints
from mv2mae_jax.training.parameters import Parameters, split

FRAMES, SIZE = 4, 32
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIPS = np.random.default_rng(0).integers(0, 256, (2, FRAMES, SIZE, SIZE, 3), dtype=np.uint8)
SIZES = dict(  # of the variant `mini`
    image_size=SIZE,
    num_frames=FRAMES,
    hidden_size=128,
    num_hidden_layers=4,
    num_attention_heads=4,
    intermediate_size=512,
    decoder_hidden_size=64,
    decoder_num_hidden_layers=1,
    decoder_num_attention_heads=2,
    decoder_intermediate_size=256,
    layer_norm_eps=1e-6,
)


def encoder_of(config: ConfigDict) -> Parameters:
    """What fine-tuning starts from."""
    return load_initial(config, config.finetune.init_from, encoder_only=True)


def huggingface(model_class: type, **options) -> torch.nn.Module:
    """With random values everywhere, and MCG-NJU's eps in all norms."""
    torch.manual_seed(0)
    model = model_class(VideoMAEConfig(**(SIZES | options))).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-6  # decoder.norm and fc_norm ignore the config
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return model


def as_mcg_nju(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The state_dict that MCG-NJU's program would have of the same model, written out by hand."""
    theirs = {}

    def layer(name: str, module: torch.nn.Module) -> None:
        inner = module.attention.attention
        parts = (inner.query.weight, inner.key.weight, inner.value.weight)
        theirs[f"{name}.attn.qkv.weight"] = torch.cat(parts)
        theirs[f"{name}.attn.q_bias"] = inner.query.bias
        theirs[f"{name}.attn.v_bias"] = inner.value.bias
        both(f"{name}.norm1", module.layernorm_before)
        both(f"{name}.norm2", module.layernorm_after)
        both(f"{name}.attn.proj", module.attention.output.dense)
        both(f"{name}.mlp.fc1", module.intermediate.dense)
        both(f"{name}.mlp.fc2", module.output.dense)

    def both(name: str, module: torch.nn.Module) -> None:
        theirs[f"{name}.weight"], theirs[f"{name}.bias"] = module.weight, module.bias

    pretrains = isinstance(model, VideoMAEForPreTraining)
    start = "encoder." if pretrains else ""
    both(f"{start}patch_embed.proj", model.videomae.embeddings.patch_embeddings.projection)
    for n, module in enumerate(model.videomae.encoder.layer):
        layer(f"{start}blocks.{n}", module)
    if pretrains:
        both("encoder.norm", model.videomae.layernorm)
        theirs["encoder_to_decoder.weight"] = model.encoder_to_decoder.weight
        theirs["mask_token"] = model.mask_token
        for n, module in enumerate(model.decoder.decoder_layers):
            layer(f"decoder.blocks.{n}", module)
        both("decoder.norm", model.decoder.norm)
        both("decoder.head", model.decoder.head)
    else:
        both("fc_norm", model.fc_norm)
        both("head", model.classifier)
    return {name: value.detach().clone() for name, value in theirs.items()}


@pytest.fixture(scope="module")
def pretrained() -> VideoMAEForPreTraining:
    return huggingface(VideoMAEForPreTraining, use_mean_pooling=False)


@pytest.fixture(scope="module")
def classifier() -> VideoMAEForVideoClassification:
    return huggingface(VideoMAEForVideoClassification, num_labels=5)


@pytest.fixture(scope="module")
def files(pretrained, classifier, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same two models in every form."""
    folder = tmp_path_factory.mktemp("videomae")
    pretrained.save_pretrained(folder / "huggingface")
    classifier.save_pretrained(folder / "classifier")
    classifier.videomae.save_pretrained(folder / "encoder")
    state = {name: value.clone() for name, value in pretrained.state_dict().items()}
    torch.save(state, folder / "model.bin")
    released = {  # as transformers wrote them before version 5
        name.replace("query.bias", "q_bias").replace("value.bias", "v_bias"): value.numpy()
        for name, value in state.items()
    }
    safetensors.numpy.save_file(released, folder / "released.safetensors")
    options = argparse.Namespace(model="pretrain_videomae_mini", lr=0.1)
    ours = as_mcg_nju(pretrained)
    torch.save({"model": ours, "epoch": 3, "args": options}, folder / "mcg.pth")
    torch.save({"module": as_mcg_nju(classifier)}, folder / "finetuned.pth")
    return {path.name: path for path in folder.iterdir()}


def config_like(task: str, path: Path | str) -> ConfigDict:
    config = get_config(task)
    config.data.num_frames, config.data.image_size = FRAMES, SIZE
    config.model.patch_size, config.model.positions = (2, 16, 16), "flattened"
    config[task].init_from = str(path)
    return config


def patches() -> jax.Array:
    return objective.patchify(objective.normalize_pixels(jnp.array(CLIPS), *IMAGENET), (2, 16, 16))


def pixel_values() -> torch.Tensor:
    mean, std = (torch.tensor(values) for values in IMAGENET)
    return ((torch.from_numpy(CLIPS) / 255 - mean) / std).permute(0, 1, 4, 2, 3).contiguous()


@pytest.mark.parametrize("name", ["huggingface", "mcg.pth", "model.bin", "released.safetensors"])
def test_features_and_reconstruction_are_those_of_pytorch(files, pretrained, name):
    config = config_like("pretrain", files[name])
    initial = load_initial(config, config.pretrain.init_from)
    definition, random = split(build.pretraining_model(config, nnx.Rngs(0)))
    assert {x for x in random if not x.startswith("cross_view_decoder.")} == initial.keys()
    mask = sample_masks(jax.random.split(jax.random.key(0), 2), "random", 0.7, (2, 2, 2))
    ascending = Mask(*(jnp.sort(index) for index in mask))  # as boolean indexing gives them

    @jax.jit
    def run(parameters):
        model = definition.bind(parameters)
        one_view = jax.tree.map(lambda x: x[:, None], (patches(), ascending))
        features = model.encoder_norm(model.encoder(patches()))
        return features, model(*one_view).self_view[:, 0]

    hidden = np.zeros((2, 8), bool)
    np.put_along_axis(hidden, np.asarray(ascending.masked), True, axis=1)
    with torch.no_grad():
        features = pretrained.videomae(pixel_values()).last_hidden_state
        pixels = pretrained(pixel_values(), torch.from_numpy(hidden)).logits
    for ours, theirs in zip(run(random | initial), (features, pixels), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * float(theirs.abs().max()), rtol=0)


@pytest.mark.parametrize("name", ["classifier", "finetuned.pth", "encoder"])
def test_the_encoder_of_a_classifier(files, classifier, name):
    config = config_like("finetune", files[name])
    initial = encoder_of(config)
    definition, random = split(build.encoder(config, nnx.Rngs(0)))
    parameters = {name: initial[f"encoder.{name}"] for name in random}
    assert len(parameters) == len(initial)
    ours = jax.jit(lambda parameters: definition.bind(parameters)(patches()))(parameters)
    with torch.no_grad():
        theirs = classifier.videomae(pixel_values()).last_hidden_state
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * float(theirs.abs().max()), rtol=0)


def test_one_line_tells_what_was_taken(files, capsys):
    config = config_like("finetune", files["finetuned.pth"])
    encoder_of(config)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("62 of 66 tensors taken from")  # 4 blocks of 15, and the embedding
    assert line.endswith("nothing here reads them: head (2), norm (2)")
    load_initial(config_like("pretrain", files["mcg.pth"]), files["mcg.pth"])
    (line,) = capsys.readouterr().out.splitlines()
    assert "random, as not there: cross_view_decoder (" in line
    assert "left" not in line


def test_another_run(tmp_path, capsys):
    """All of a pre-training run, the encoder of a fine-tuned one; the rest is random."""
    config = config_like("pretrain", tmp_path)
    _, parameters = split(build.pretraining_model(config, nnx.Rngs(1)))
    with Checkpoints(tmp_path / "pretrain") as checkpoints:
        checkpoints.save(1, {"parameters": parameters}, config)
    assert load_initial(config, tmp_path / "pretrain").keys() == parameters.keys()
    _, classifier = split(build.classifier(config, 5, nnx.Rngs(1)))
    with Checkpoints(tmp_path / "finetune") as checkpoints:
        checkpoints.save(1, {"parameters": classifier}, config)
    capsys.readouterr()
    taken = load_initial(config, tmp_path / "finetune")
    assert taken.keys() == {name for name in classifier if name.startswith("encoder.")}
    assert "left, as nothing here reads them: head (2), norm (2)" in capsys.readouterr().out
    for name, value in taken.items():
        np.testing.assert_array_equal(value, classifier[name])


def test_it_starts_a_run_and_is_not_needed_to_continue_it(files, mannequin_dir, tmp_path):
    """Steps of pre-training from Hugging Face's folder, on real records."""
    source = files["huggingface"].rename(files["huggingface"].with_name("moved"))
    words = [
        *(sys.executable, "-m", "mv2mae_jax.main", "--config=configs/mannequin.py"),
        *(f"--workdir={tmp_path}", f"--config.data.data_dir={mannequin_dir}"),
        *("--config.data.image_size=32", "--config.data.num_frames=4", "--config.batch_size=4"),
        *("--config.model.patch_size=(2,16,16)", "--config.model.positions=flattened"),
        *("--config.epochs=1", "--config.optimizer.warmup_epochs=0.0"),
        *("--config.log_every=1", "--config.optimizer.base_learning_rate=1e-9"),
        f"--config.pretrain.init_from={source}",
    ]
    try:
        done = subprocess.run(words, capture_output=True, text=True)
    finally:
        source.rename(files["huggingface"])
    assert done.returncode == 0, done.stderr
    assert f"tensors taken from {source}" in done.stdout
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 7))
    assert all(np.isfinite(line["loss"]) for line in lines)
    trained = load_initial(config_like("pretrain", tmp_path), tmp_path)
    for name, value in read_weights(files["huggingface"]).parameters.items():
        np.testing.assert_allclose(trained[name], value, atol=1e-5)  # hardly moved at such a rate
    again = subprocess.run(words, capture_output=True, text=True)  # the source is gone
    assert again.returncode == 0, again.stderr
    assert "tensors taken" not in again.stdout


def test_the_table_names_every_tensor_once(pretrained, classifier):
    """Both ways: their names are all in it, and each of our parameters is in one of them."""
    state = pretrained.state_dict() | classifier.state_dict()
    assert state.keys() <= name_table("huggingface", 4, 1).keys()
    head = {
        name: x for name, x in as_mcg_nju(classifier).items() if name.startswith(("fc_", "head"))
    }
    mcg_nju = as_mcg_nju(pretrained) | head
    assert mcg_nju.keys() <= name_table("videomae", 4, 1).keys()
    config = config_like("pretrain", "")
    ours = split(build.pretraining_model(config, nnx.Rngs(0)))[1]
    ours |= split(build.classifier(config, 5, nnx.Rngs(0)))[1]
    expected = sorted(name for name in ours if not name.startswith("cross_view_decoder."))
    for naming, tensors in (("huggingface", state), ("videomae", mcg_nju)):
        table = name_table(naming, 4, 1)
        assert sorted(name for theirs in tensors for name in table[theirs]) == expected
    assert set(NAMINGS) == {"huggingface", "videomae"}


class Malicious:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_what_is_not_plain_weights_is_refused_and_does_not_run(files, tmp_path):
    touched = tmp_path / "touched"
    weights = torch.load(files["mcg.pth"], weights_only=False)["model"]
    torch.save({"model": weights, "extra": Malicious(touched)}, tmp_path / "evil.pth")
    (tmp_path / "evil.bin").write_bytes(pickle.dumps({"model": Malicious(touched)}, protocol=2))
    for name in ("evil.pth", "evil.bin"):
        with pytest.raises(InputError, match="never unpickled"):
            read_weights(tmp_path / name)
        assert not touched.exists()
    torch.load(tmp_path / "evil.pth", weights_only=False)  # as the careless would
    assert touched.exists()


@pytest.mark.parametrize("content", [b"", b"hello world\n", bytes(range(256)), b"PK\x03\x04"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_files(tmp_path, content, suffix):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        read_weights(path)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("huggingface", {"variant": "tiny"}, "width 128, depth 4.*set config.model.variant=mini"),
        ("mcg.pth", {"variant": "small"}, "decoder_width 64.*set config.model.variant=mini"),
        ("mcg.pth", {"patch_size": (2, 8, 8)}, r"set config.model.patch_size=\(2, 16, 16\)"),
        ("mcg.pth", {"positions": "separable"}, "set config.model.positions=flattened"),
        ("nope.pth", {}, "no such file"),
        ("", {}, "neither checkpoints, as a work directory, nor model.safetensors"),
        ("heads", {}, "heads 8, decoder_heads 4.*no variant of"),
        ("gelu", {}, "hidden_act=relu"),
        ("image.pth", {}, "no VideoMAE encoder"),
        ("partial.pth", {}, "another encoder .* encoder.blocks.1.norm1.bias is not there"),
        ("wide.pth", {}, r"mlp.up.kernel of shape \(128, 256\), but this config \(128, 512\)"),
        ("weights.npz", {}, "none of .pth, .pt, .bin, .safetensors, a folder"),
    ],
)
def test_what_does_not_fit_is_one_line(files, pretrained, tmp_path, name, change, message):
    state = as_mcg_nju(pretrained)
    partial = {k: x for k, x in state.items() if k != "encoder.blocks.1.norm1.bias"}
    wide = state | {"encoder.blocks.2.mlp.fc1.weight": torch.zeros(256, 128)}
    image = state | {"encoder.patch_embed.proj.weight": torch.zeros(128, 3, 16, 16)}
    for file, tensors in (("partial", partial), ("wide", wide), ("image", image)):
        torch.save(tensors, tmp_path / f"{file}.pth")
    (tmp_path / "weights.npz").touch()
    stored = json.loads((files["huggingface"] / "config.json").read_text())
    other = {"num_attention_heads": 8, "decoder_num_attention_heads": 4}
    for folder, fields in (("heads", other), ("gelu", {"hidden_act": "relu"})):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "model.safetensors").symlink_to(
            files["huggingface"] / "model.safetensors"
        )
        (tmp_path / folder / "config.json").write_text(json.dumps(stored | fields))
    config = config_like("pretrain", files.get(name, tmp_path / name))
    config.model.update(change)
    with pytest.raises(InputError, match=message) as error:
        load_initial(config, config.pretrain.init_from)
    assert "\n" not in str(error.value)


def test_decoders_of_another_size_do_not_matter_to_fine_tuning(tmp_path):
    options = dict(decoder_hidden_size=32, decoder_intermediate_size=128, use_mean_pooling=False)
    huggingface(VideoMAEForPreTraining, **options).save_pretrained(tmp_path)
    assert encoder_of(config_like("finetune", tmp_path))
    with pytest.raises(InputError, match=r"decoder_width 32.*no variant"):
        load_initial(config_like("pretrain", tmp_path), tmp_path)


@pytest.mark.parametrize(("name", "module"), [("mcg.pth", "torch"), ("huggingface", "safetensors")])
def test_without_the_extra(files, monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=r"pip install -e '\.\[torch\]'"):
        read_weights(files[name])


def test_hugging_faces_files_are_read_without_torch(files):
    program = (
        "import sys; from mv2mae_jax.interop.videomae import read_weights; "
        "assert read_weights(sys.argv[1]).parameters; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, files["huggingface"]], check=True)
