"""VideoMAE's weights in all their files: the same numbers as in PyTorch, and clear refusals."""

import argparse
import json
import pickle
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from flax import nnx
from ml_collections import ConfigDict
from model.comparison import IMAGENET, as_booleans
from runs import save_run
from transformers import VideoMAEForPreTraining, VideoMAEForVideoClassification
from videomae_models import CLIPS, FRAMES, MINI, PIXEL_VALUES, SIZE, as_mcg_nju, huggingface

import mv2mae_jax
from configs.mannequin import get_config
from mv2mae_jax import objective
from mv2mae_jax.errors import InputError
from mv2mae_jax.interop.files import read_stored
from mv2mae_jax.interop.initial import load_initial
from mv2mae_jax.interop.models import load_model
from mv2mae_jax.interop.names import NAMINGS, from_tensors, in_full, name_table, to_tensors
from mv2mae_jax.model import build
from mv2mae_jax.model.masking import Mask, sample_masks
from mv2mae_jax.training.parameters import Parameters, split


def encoder_of(config: ConfigDict) -> Parameters:
    """What fine-tuning starts from."""
    return load_initial(config, config.finetune.init_from, encoder_only=True)


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
    (folder / "older").mkdir()
    torch.save(state, folder / "older" / "pytorch_model.bin")
    shutil.copy(folder / "huggingface" / "config.json", folder / "older")
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


@pytest.mark.parametrize("name", ["mcg.pth", "model.bin", "older", "released.safetensors"])
def test_every_file_of_a_model_holds_the_same(files, name):
    expected, found = (load_model(files[x]).parameters for x in ("huggingface", name))
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)


def test_features_and_reconstruction_are_those_of_pytorch(files, pretrained):
    config = config_like("pretrain", files["huggingface"])
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

    with torch.no_grad():
        features = pretrained.videomae(PIXEL_VALUES).last_hidden_state
        pixels = pretrained(PIXEL_VALUES, as_booleans(mask)).logits
    for ours, theirs in zip(run(random | initial), (features, pixels), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * float(theirs.abs().max()), rtol=0)


def test_the_encoder_of_a_classifier(files, classifier):
    config = config_like("finetune", files["classifier"])
    initial = encoder_of(config)
    for name in ("finetuned.pth", "encoder"):
        other = encoder_of(config_like("finetune", files[name]))
        assert other.keys() == initial.keys()
        for key, value in initial.items():
            np.testing.assert_array_equal(other[key], value, err_msg=key)
    definition, random = split(build.encoder(config, nnx.Rngs(0)))
    parameters = {name: initial[f"encoder.{name}"] for name in random}
    assert len(parameters) == len(initial)
    ours = jax.jit(lambda parameters: definition.bind(parameters)(patches()))(parameters)
    with torch.no_grad():
        theirs = classifier.videomae(PIXEL_VALUES).last_hidden_state
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * float(theirs.abs().max()), rtol=0)


def test_one_line_tells_what_was_taken(files, capsys):
    config = config_like("finetune", files["finetuned.pth"])
    encoder_of(config)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("54 of 58 tensors taken from")  # 4 blocks of 13, and the embedding
    assert line.endswith("nothing here reads them: head (2), norm (2)")
    config.data.std = (0.5, 0.5, 0.5)
    encoder_of(config)
    assert "pixels of std [0.229, 0.224, 0.225], here [0.5, 0.5, 0.5]" in capsys.readouterr().out
    load_initial(config_like("pretrain", files["mcg.pth"]), files["mcg.pth"])
    (line,) = capsys.readouterr().out.splitlines()
    assert "random, as not there: cross_view_decoder (" in line
    assert "left" not in line


def test_another_run(tmp_path, capsys):
    """All of a pre-training run, the encoder of a fine-tuned one; the rest is random."""
    config = config_like("pretrain", tmp_path)
    _, parameters = split(build.pretraining_model(config, nnx.Rngs(1)))
    save_run(tmp_path / "pretrain", config, parameters)
    assert load_initial(config, tmp_path / "pretrain").keys() == parameters.keys()
    _, classifier = split(build.classifier(config, 5, nnx.Rngs(1)))
    save_run(tmp_path / "finetune", config, classifier)
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
        "--config.probe.every_epochs=0.0",
        "--config.pictures_every_epochs=0.0",
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
    for name, value in load_model(files["huggingface"]).parameters.items():
        np.testing.assert_allclose(trained[name], value, atol=1e-5)  # hardly moved at such a rate
    again = subprocess.run(words, capture_output=True, text=True)  # the source is gone
    assert again.returncode == 0, again.stderr
    assert "tensors taken" not in again.stdout


def test_the_tables_hold_every_tensor_both_ways(pretrained, classifier):
    """Their names are all in the table; ours come back bit for bit, the cross-view decoder too."""
    config = config_like("pretrain", "")
    config.model.projector = "separate"
    ours = split(build.pretraining_model(config, nnx.Rngs(0)))[1]
    ours |= split(build.classifier(config, 5, nnx.Rngs(0)))[1]
    heads = as_mcg_nju(classifier)
    mcg_nju = as_mcg_nju(pretrained) | {k: heads[k] for k in heads if k.startswith(("fc_", "head"))}
    huggingface = pretrained.state_dict() | classifier.state_dict()
    for naming, theirs in (("huggingface", huggingface), ("videomae", mcg_nju)):
        tensors = to_tensors(ours, naming, (2, 16, 16))
        own = {name: x.shape for name, x in tensors.items() if not name.startswith("cross_view_")}
        assert own == {in_full(name): tuple(x.shape) for name, x in theirs.items()}
        back = from_tensors(tensors, name_table(naming, tensors))
        assert back.keys() == ours.keys()
        for name, value in back.items():
            np.testing.assert_array_equal(value, ours[name], err_msg=name)
    assert set(NAMINGS) == {"huggingface", "videomae"}


@pytest.mark.parametrize("key", ["model", "module", "state_dict"])
@pytest.mark.parametrize("prefix", ["module.", "model.", "backbone.", "_orig_mod.module."])
def test_what_wrappers_put_in_front_of_the_names(files, tmp_path, prefix, key):
    """Data-parallel training, compilation, and VideoMAE v2's published classifiers."""
    plain = torch.load(files["finetuned.pth"], weights_only=True)["module"]
    wrapped = {prefix + name: value for name, value in plain.items()}
    torch.save({key: wrapped, "epoch": 3}, tmp_path / "wrapped.pth")
    expected, found = load_model(files["finetuned.pth"]), load_model(tmp_path / "wrapped.pth")
    assert found.parameters.keys() == expected.parameters.keys()
    assert [row.tensor for row in found.rows] == sorted(wrapped)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_half_precision_is_read_as_it_is(pretrained, tmp_path, dtype, suffix):
    half = {name: value.to(dtype) for name, value in pretrained.state_dict().items()}
    path = tmp_path / f"half{suffix}"
    save = safetensors.torch.save_file if suffix == ".safetensors" else torch.save
    save(half, path)
    norm = load_model(path).parameters["encoder_norm.scale"]
    np.testing.assert_array_equal(norm, half["videomae.layernorm.weight"].float())


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
            read_stored(tmp_path / name)
        assert not touched.exists()
    torch.load(tmp_path / "evil.pth", weights_only=False)  # as the careless would
    assert touched.exists()


@pytest.mark.parametrize("content", [b"", b"hello world\n", bytes(range(256)), b"PK\x03\x04"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_files(tmp_path, content, suffix):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        read_stored(path)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "huggingface",
            {"variant": "tiny"},
            "model.variant=mini, but .*set config.model.variant=mini",
        ),
        ("mcg.pth", {"variant": "small"}, "set config.model.variant=mini"),
        ("mcg.pth", {"patch_size": (2, 8, 8)}, r"set config.model.patch_size=\(2, 16, 16\)"),
        ("mcg.pth", {"positions": "separable"}, "set config.model.positions=flattened"),
        ("nope.pth", {}, "no such file"),
        ("", {}, "neither checkpoints, as a work directory, nor model.safetensors"),
        ("heads", {}, "width 128, depth 4, heads 8; none of"),
        ("words", {}, "num_attention_heads=many"),
        ("gelu", {}, "hidden_act=relu"),
        ("list", {}, "config.json is not a JSON object"),
        ("text", {}, "config.json is not JSON"),
        ("twice.pth", {}, "two tensors are encoder.norm.bias"),
        ("cosine.pth", {}, "it has encoder.blocks.0.attn.scale, which ours has not"),
        ("learned.pth", {}, "another encoder .* it has pos_embed, which ours has not"),
        ("token.pth", {}, "it has cls_token, which ours has not"),
        ("register.pth", {}, "it has register_tokens, which ours has not"),
        ("nan.pth", {}, "encoder.norm.bias has numbers that are not finite"),
        ("int.pth", {}, "encoder.norm.bias is int8; save it in float32"),
        ("sparse.pth", {}, "encoder.norm.bias in a form that is not read"),
        ("image_model.pth", {}, "among its tensors: conv1.weight, fc.bias"),
        ("tubelet", {}, "config.json has tubelet_size=4, its weights 2"),
        ("clip", {}, "config.json has model_type=clip, its weights videomae"),
        ("nested", {}, "config.json is not JSON"),
        ("https://example.org/weights.pth", {}, "is not on this machine; download it first"),
        ("scalar.pth", {}, r"encoder.norm.weight of shape \(\) is not a VideoMAE's"),
        ("image.pth", {}, "no VideoMAE encoder"),
        ("partial.pth", {}, "another encoder .* encoder.blocks.1.norm1.bias is not there"),
        ("wide.pth", {}, r"mlp.up.kernel is of shape \(128, 256\), here \(128, 512\)"),
        ("weights.unknown", {}, "none of .pth, .pt, .bin, .safetensors, a folder"),
    ],
)
def test_what_does_not_fit_is_one_line(files, pretrained, tmp_path, name, change, message):
    state = as_mcg_nju(pretrained)
    for file, tensors in {
        "partial": {k: x for k, x in state.items() if k != "encoder.blocks.1.norm1.bias"},
        "wide": state | {"encoder.blocks.2.mlp.fc1.weight": torch.zeros(256, 128)},
        "image": state | {"encoder.patch_embed.proj.weight": torch.zeros(128, 3, 16, 16)},
        "twice": state | {"module.encoder.norm.bias": torch.zeros(128)},
        "cosine": state | {"encoder.blocks.0.attn.scale": torch.zeros(4, 1, 1)},
        "learned": state | {"pos_embed": torch.zeros(1, 8, 128)},
        "token": state | {"cls_token": torch.zeros(1, 1, 128)},
        "register": state | {"register_tokens": torch.zeros(1, 4, 128)},
        "nan": state | {"encoder.norm.bias": torch.full((128,), torch.nan)},
        "int": state | {"encoder.norm.bias": torch.zeros(128, dtype=torch.int8)},
        "sparse": state | {"encoder.norm.bias": torch.zeros(128).to_sparse()},
        "image_model": {"conv1.weight": torch.zeros(8, 3, 7, 7), "fc.bias": torch.zeros(2)},
        "scalar": state | {"encoder.norm.weight": torch.tensor(1.0)},
    }.items():
        torch.save(tensors, tmp_path / f"{file}.pth")
    (tmp_path / "weights.unknown").touch()
    stored = json.loads((files["huggingface"] / "config.json").read_text())
    for folder, text in {
        "heads": json.dumps(stored | {"num_attention_heads": 8}),
        "words": json.dumps(stored | {"num_attention_heads": "many"}),
        "tubelet": json.dumps(stored | {"tubelet_size": 4}),
        "clip": json.dumps(stored | {"model_type": "clip"}),
        "nested": "[" * 100_000,
        "gelu": json.dumps(stored | {"hidden_act": "relu"}),
        "list": "[]",
        "text": "hello",
    }.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "model.safetensors").symlink_to(
            files["huggingface"] / "model.safetensors"
        )
        (tmp_path / folder / "config.json").write_text(text)
    source = name if "://" in name else files.get(name, tmp_path / name)
    config = config_like("pretrain", source)
    config.model.update(change)
    with pytest.raises(InputError, match=message) as error:
        load_initial(config, config.pretrain.init_from)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"0": "a", "1": "b"}, "2 names for the 5 classes"),
        ({str(2 * n): "x" for n in range(5)}, "does not number its names from 0"),
        (["a", "b"], "does not number its names from 0"),
        ({str(n): {"a": n} for n in range(5)}, "names that are no text"),
    ],
)
def test_names_that_are_not_those_of_the_classes(files, tmp_path, names, message):
    shutil.copytree(files["classifier"], tmp_path / "other")
    file = tmp_path / "other" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"id2label": names}))
    with pytest.raises(InputError, match=message):
        load_model(tmp_path / "other")


@pytest.mark.parametrize("normalized", [True, False])
def test_what_trained_elsewhere_is_a_videomae_by_its_config(files, tmp_path, normalized):
    shutil.copytree(files["huggingface"], tmp_path / "other")
    file = tmp_path / "other" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"norm_pix_loss": normalized}))
    config = load_model(tmp_path / "other").config
    assert config.objective.targets == ("normalized" if normalized else "pixels")
    assert (config.data.num_views, config.masking.kind, config.masking.ratio) == (1, "tube", 0.9)


def test_load_encoder_computes_what_hugging_face_does(files, pretrained):
    """From a folder that says nothing of a run: in float32, at the size it names."""
    encoder = mv2mae_jax.load_encoder(files["huggingface"])
    with torch.no_grad():
        theirs = pretrained.videomae(PIXEL_VALUES).last_hidden_state
    np.testing.assert_allclose(encoder.tokens(CLIPS), theirs, atol=1e-5 * float(theirs.abs().max()))


def test_tubelets_that_the_usual_size_has_not(pretrained, tmp_path):
    """12 pixels do not divide 224: the caller's size counts, and without one the next below."""
    state = as_mcg_nju(pretrained)
    state["encoder.patch_embed.proj.weight"] = torch.zeros(128, 3, 3, 12, 12)
    del state["decoder.head.weight"], state["decoder.head.bias"]
    torch.save(state, tmp_path / "odd.pth")
    assert mv2mae_jax.load_encoder(tmp_path / "odd.pth").clip_shape == (15, 216, 216, 3)
    encoder = mv2mae_jax.load_encoder(tmp_path / "odd.pth", num_frames=6, image_size=96)
    assert encoder.clip_shape == (6, 96, 96, 3)


@pytest.mark.parametrize("value", [1, [1.0], torch.ones(2)])
def test_another_programs_cross_view_decoder_is_none_of_ours(pretrained, tmp_path, value):
    torch.save({"model": as_mcg_nju(pretrained), "cross_view_decoder": value}, tmp_path / "x.pth")
    names = load_model(tmp_path / "x.pth").parameters
    assert names and not any(name.startswith("cross_view_decoder.") for name in names)


def test_a_decoder_that_has_more_than_ours_is_left(pretrained, tmp_path):
    scaled = as_mcg_nju(pretrained) | {"decoder.blocks.0.gamma_1": torch.ones(64)}
    torch.save(scaled, tmp_path / "scaled.pth")
    model = load_model(tmp_path / "scaled.pth")
    assert not any(name.startswith(("self_view", "mask", "projector")) for name in model.parameters)
    (left,) = {row.left for row in model.rows if row.tensor == "decoder.norm.bias"}
    assert left == "self-view decoder: it has decoder.blocks.0.gamma_1, which ours has not"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"decoder_width": 32}, r"self-view decoder: mask_token is of shape \(32,\), here \(64,\)"),
        ({"decoder_depth": 2}, "self-view decoder: .* here nothing of that name"),
        ({"decoder_heads": 4}, "self-view decoder: it has 4 heads, here 2"),
    ],
)
def test_a_decoder_of_another_size_is_left_and_its_encoder_taken(tmp_path, capsys, changes, why):
    variant = replace(MINI, **changes)
    theirs = huggingface(VideoMAEForPreTraining, variant, use_mean_pooling=False)
    theirs.save_pretrained(tmp_path)
    config = config_like("pretrain", tmp_path)
    taken = load_initial(config, tmp_path)
    assert taken.keys() == {
        name
        for name in split(build.pretraining_model(config, nnx.Rngs(0)))[1]
        if name.startswith("encoder")
    }
    counts = r"decoder \(\d+\), encoder_to_decoder \(1\), mask_token \(1\)"
    assert re.search(f"left, as {why}: {counts}", capsys.readouterr().out)


@pytest.mark.parametrize(("name", "module"), [("mcg.pth", "torch"), ("huggingface", "safetensors")])
def test_without_the_extra(files, monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=r"pip install -e '\.\[torch\]'"):
        read_stored(files[name])


def test_hugging_faces_files_are_read_without_torch(files):
    program = (
        "import sys; from mv2mae_jax.interop.models import load_model; "
        "assert load_model(sys.argv[1]).parameters; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, files["huggingface"]], check=True)
