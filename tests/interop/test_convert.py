"""Weights to PyTorch and back, from real runs on the mannequin."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from flax import nnx
from ml_collections import ConfigDict
from PIL import Image
from runs import save_run
from safetensors.torch import load_file
from transformers import VideoMAEForPreTraining, VideoMAEForVideoClassification, VideoMAEModel
from transformers.models.videomae.image_processing_pil_videomae import VideoMAEImageProcessorPil
from videomae_models import CLIPS, MINI, PIXEL_VALUES, as_mcg_nju, huggingface

import mv2mae_jax
from configs.mannequin import get_config
from mv2mae_jax import convert
from mv2mae_jax.check import stored_config
from mv2mae_jax.errors import InputError
from mv2mae_jax.interop import pytorch
from mv2mae_jax.interop.export import FORMATS
from mv2mae_jax.interop.models import load_model
from mv2mae_jax.model import build
from mv2mae_jax.model.parts import PARTS
from mv2mae_jax.tasks.evaluate import evaluate
from mv2mae_jax.training.parameters import split

# Formats that can be read back.
WHOLE = [name for name, form in FORMATS.items() if form.holds == tuple(PARTS)]
ACTIONS = "bow clap drink jump kick pull sit down squat stand up throw walk in place wave"
LABELS = {0: "run", 1: "sit", 2: "stand"}
SMALL = (
    *("--config.data.image_size=32", "--config.data.num_frames=4", "--config.batch_size=4"),
    *("--config.model.patch_size=(2,16,16)", "--config.model.positions=flattened"),
    *("--config.epochs=1", "--config.optimizer.warmup_epochs=0.0", "--config.evaluation.clips=1"),
    "--config.pictures_every_epochs=0.0",
)


def main(task: str, data: Path, workdir: Path, *options: str) -> subprocess.CompletedProcess[str]:
    words = (f"--config=configs/mannequin.py:{task}", f"--workdir={workdir}")
    data_dir = f"--config.data.data_dir={data}"
    return subprocess.run(
        [sys.executable, "-m", "mv2mae_jax.main", *words, data_dir, *SMALL, *options],
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def runs(mannequin_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pre-training run, and a fine-tuning run that starts from it."""
    folder = tmp_path_factory.mktemp("runs")
    initial = f"--config.finetune.init_from={folder / 'pretrain'}"
    for task, options in (
        ("pretrain", ("--config.model.projector=separate", "--config.probe.every_epochs=0.0")),
        ("finetune", ("--config.model.dtype=float32", initial)),
    ):
        result = main(task, mannequin_dir, folder / task, *options)
        assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command in this process: its exit code, and what it printed."""

    def run(direction: str, source: Path, out: Path, *options: str) -> tuple[int, str]:
        name = {"export": "--checkpoint", "import": "--from"}[direction]
        words = ["convert", direction, name, str(source), "--out", str(out), *options]
        monkeypatch.setattr(sys, "argv", words)
        capsys.readouterr()
        code = convert.main()
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


def save_untrained(workdir: Path, stored: dict) -> ConfigDict:
    """A pre-training run of the variant `mini` before its first step; its config."""
    config = stored_config({"task": "pretrain", **stored})
    config.model.variant = "mini"
    _, parameters = split(build.pretraining_model(config, nnx.Rngs(0)))
    save_run(workdir, config, parameters)
    return config


def from_pretrained(model_class: type, folder: Path) -> torch.nn.Module:
    """What transformers makes of a folder, which has all that it needs and nothing else."""
    model, info = model_class.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    return model.eval()


def same(ours, theirs, tolerance: float = 1e-4) -> None:
    np.testing.assert_allclose(ours, theirs.detach(), atol=tolerance, rtol=0)


def test_by_the_real_command(runs, tmp_path):
    words = [sys.executable, "-m", "mv2mae_jax.convert"]
    for direction, source, out in (
        ("export", f"--checkpoint={runs / 'pretrain'}", tmp_path / "exported"),
        ("import", f"--from={tmp_path / 'exported'}", tmp_path / "imported"),
    ):
        options = ["--format=pytorch"] if direction == "export" else []
        line = [*words, direction, source, f"--out={out}", *options]
        done = subprocess.run(line, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "imported" / "checkpoints").is_dir()


def test_a_pretraining_run_for_hugging_face(runs, run, tmp_path):
    code, printed = run("export", runs / "pretrain", tmp_path / "out", "--format=huggingface")
    assert code == 0, printed
    whole = from_pretrained(VideoMAEForPreTraining, tmp_path / "out")
    assert not whole.config.use_mean_pooling
    assert whole.config.norm_pix_loss is False  # the mannequin's targets are pixels
    tokens = mv2mae_jax.load_encoder(runs / "pretrain").tokens(CLIPS)
    same(tokens, whole.videomae(PIXEL_VALUES).last_hidden_state)
    cross_view = load_file(tmp_path / "out" / "cross_view_decoder.safetensors")
    assert all(name.startswith("cross_view_") for name in cross_view)
    ours = load_model(runs / "pretrain").parameters
    kernel = ours["cross_view_decoder.blocks.0.block.mlp.up.kernel"]
    np.testing.assert_array_equal(
        kernel.T, cross_view["cross_view_decoder.blocks.0.mlp.fc1.weight"]
    )

    options = ("--format=huggingface", "--encoder-only")
    code, printed = run("export", runs / "pretrain", tmp_path / "encoder", *options)
    assert code == 0
    assert f"left by --encoder-only: {len(ours) - 64} parameters" in printed
    encoder = from_pretrained(VideoMAEModel, tmp_path / "encoder")
    same(tokens, encoder(PIXEL_VALUES).last_hidden_state)
    assert not (tmp_path / "encoder" / "cross_view_decoder.safetensors").exists()


def test_a_classifier_for_hugging_face(runs, run, tmp_path):
    code, printed = run("export", runs / "finetune", tmp_path / "out", "--format=huggingface")
    assert code == 0, printed
    theirs = from_pretrained(VideoMAEForVideoClassification, tmp_path / "out")
    assert " ".join(sorted(theirs.config.id2label.values())) == ACTIONS
    assert theirs.config.label2id["wave"] == json.loads(
        (runs / "finetune" / "classes.json").read_text()
    ).index("wave")
    logits = theirs(PIXEL_VALUES).logits
    head = load_model(runs / "finetune").parameters
    features = mv2mae_jax.load_encoder(runs / "finetune").encode(CLIPS)
    same(features @ head["head.kernel"] + head["head.bias"], logits)
    card = (tmp_path / "out" / "README.md").read_text()
    results = json.loads((runs / "finetune" / "results.json").read_text())
    assert f"{results['top1_multi_view']:.1%}" in card
    for fact in ("mannequin", "xview", "flattened", "started from", '"sit down"', "# license:"):
        assert fact in card
    assert str(runs) not in card


def test_the_preprocessor_is_our_normalisation(runs, run, tmp_path):
    assert run("export", runs / "finetune", tmp_path / "out", "--format=huggingface")[0] == 0
    processor = VideoMAEImageProcessorPil.from_pretrained(tmp_path / "out")
    frames = [Image.fromarray(frame) for frame in CLIPS[0]]
    same(processor(frames, return_tensors="np")["pixel_values"][0], PIXEL_VALUES[0], 1e-5)
    large = [frame.resize((80, 64)) for frame in frames]
    assert processor(large, return_tensors="np")["pixel_values"].shape == (1, 4, 3, 32, 32)


@pytest.mark.parametrize("task", ["pretrain", "finetune"])
def test_our_own_pytorch_module(runs, run, tmp_path, task):
    expected = mv2mae_jax.load_encoder(runs / task)
    clips = PIXEL_VALUES.transpose(1, 2)  # [B C T H W]
    assert run("export", runs / task, tmp_path / "whole", "--format=pytorch")[0] == 0
    same(expected.tokens(CLIPS), pytorch.load(tmp_path / "whole").tokens(clips))
    options = ("--format=pytorch", "--encoder-only")
    assert run("export", runs / task, tmp_path / "encoder", *options)[0] == 0
    ours, theirs = mv2mae_jax.load_encoder(tmp_path / "encoder"), pytorch.load(tmp_path / "encoder")
    same(ours.tokens(CLIPS), theirs.tokens(clips))


def test_onnx(runs, run, tmp_path):
    code, printed = run("export", runs / "pretrain", tmp_path / "out", "--format=onnx")
    assert code == 0, printed
    assert "left by --format=onnx: " in printed
    session = onnxruntime.InferenceSession(tmp_path / "out" / "encoder.onnx")
    (features,) = session.run(["features"], {"clips": CLIPS})
    expected = mv2mae_jax.load_encoder(runs / "pretrain").encode(CLIPS)
    np.testing.assert_allclose(features, expected, atol=1e-4)


@pytest.mark.parametrize("task", ["pretrain", "finetune"])
def test_mcg_njus_names(runs, run, tmp_path, task):
    """What is below `model` is what its program would have saved of the same model."""
    model_class = {
        "pretrain": VideoMAEForPreTraining,
        "finetune": VideoMAEForVideoClassification,
    }[task]
    for form in ("huggingface", "videomae"):
        assert run("export", runs / task, tmp_path / form, f"--format={form}")[0] == 0
    expected = as_mcg_nju(from_pretrained(model_class, tmp_path / "huggingface"))
    content = torch.load(tmp_path / "videomae" / "checkpoint.pth", weights_only=True)
    assert content["model"].keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(content["model"][name], value), name
    assert ("cross_view_decoder" in content) == (task == "pretrain")


@pytest.mark.parametrize("form", WHOLE)
@pytest.mark.parametrize("task", ["pretrain", "finetune"])
def test_the_round_trip_changes_nothing(runs, run, tmp_path, task, form):
    """All parameters, the cross-view decoder's too, the config and the classes."""
    assert run("export", runs / task, tmp_path / "out", f"--format={form}")[0] == 0
    code, printed = run("import", tmp_path / "out", tmp_path / "back")
    assert code == 0, printed
    before, after = load_model(runs / task), load_model(tmp_path / "back")
    assert after.parameters.keys() == before.parameters.keys()
    for name, value in before.parameters.items():
        np.testing.assert_array_equal(after.parameters[name], value, err_msg=name)
    config = before.config
    config.data.data_dir = "data"  # where things lie does not travel
    config.finetune.init_from = Path(config.finetune.init_from).name
    assert json.loads(after.config.to_json()) == json.loads(config.to_json())
    for file in (tmp_path / "out").iterdir():
        assert str(runs).encode() not in file.read_bytes()
    assert after.classes == before.classes
    tensors = json.loads((tmp_path / "back" / "import.json").read_text())["tensors"]
    assert not any(row["left"] for row in tensors)
    assert all(row["tensor"] in printed for row in tensors)


def test_the_config_comes_back_where_it_is_not_the_default(run, tmp_path):
    """Three views without a cross-view decoder."""
    stored = {
        "data": {"num_views": 3},
        "model": {"projector": "separate"},
        "objective": {"cross_view": 0.0},
        "pretrain": {"init_from": str(tmp_path / "secret/start")},
    }
    config = save_untrained(tmp_path / "run", stored)
    assert run("export", tmp_path / "run", tmp_path / "out", "--format=pytorch")[0] == 0
    config.pretrain.init_from = "start"  # where things lie does not travel
    assert load_model(tmp_path / "out").config.to_json() == config.to_json()


@pytest.mark.parametrize("targets", ["normalized", "pixels"])
def test_hugging_face_is_told_what_the_targets_are(run, tmp_path, targets):
    stored = {"model": {"positions": "flattened"}, "objective": {"targets": targets}}
    save_untrained(tmp_path / "run", stored)
    assert run("export", tmp_path / "run", tmp_path / "out", "--format=huggingface")[0] == 0
    options = json.loads((tmp_path / "out" / "config.json").read_text())
    assert options["norm_pix_loss"] is (targets == "normalized")


def test_load_encoder_reads_them_all(runs, run, tmp_path):
    expected = mv2mae_jax.load_encoder(runs / "pretrain").encode(CLIPS)
    for form in WHOLE:
        assert run("export", runs / "pretrain", tmp_path / form, f"--format={form}")[0] == 0
    for path in (*WHOLE, "videomae/checkpoint.pth", "pytorch/model.safetensors"):
        features = mv2mae_jax.load_encoder(tmp_path / path).encode(CLIPS)
        np.testing.assert_array_equal(features, expected, err_msg=path)


def test_a_run_starts_from_imported_weights_at_another_size(run, mannequin_dir, tmp_path):
    """Hugging Face's pre-trained encoder, fine-tuned on more and larger frames, and tested."""
    theirs = huggingface(VideoMAEForPreTraining, use_mean_pooling=False)
    theirs.save_pretrained(tmp_path / "theirs")
    code, printed = run("import", tmp_path / "theirs", tmp_path / "imported")
    assert code == 0, printed
    sizes = ("--config.data.image_size=48", "--config.data.num_frames=8")
    initial = f"--config.finetune.init_from={tmp_path / 'imported'}"
    result = main("finetune", mannequin_dir, tmp_path / "run", *sizes, initial)
    assert result.returncode == 0, result.stderr
    assert "62 of 85 tensors taken" in result.stdout
    encoder = mv2mae_jax.load_encoder(tmp_path / "run")
    assert encoder.clip_shape == (8, 48, 48, 3)
    # A run goes nowhere but into a directory of its own.
    result = main("pretrain", mannequin_dir, tmp_path / "imported")
    assert result.returncode == 1
    assert (
        f"start from them in a --workdir of its own, with --config.pretrain.init_from={tmp_path}"
        in (result.stderr)
    )


def test_a_classifier_that_came_back_is_tested_alike(runs, run, mannequin_dir, tmp_path):
    assert run("export", runs / "finetune", tmp_path / "out", "--format=videomae")[0] == 0
    assert run("import", tmp_path / "out", tmp_path / "back")[0] == 0
    result = main("evaluate", mannequin_dir, tmp_path / "back")
    assert result.returncode == 0, result.stderr
    before, after = (
        json.loads((folder / "results.json").read_text())
        for folder in (runs / "finetune", tmp_path / "back")
    )
    assert after == before


def test_the_report_tells_what_was_left_and_why(run, tmp_path):
    variant = replace(MINI, decoder_depth=2)
    theirs = huggingface(VideoMAEForPreTraining, variant, use_mean_pooling=False)
    tensors = {
        **as_mcg_nju(theirs),
        "ema.decay": torch.tensor(0.5),
        "\x1b[2Jodd": torch.zeros(2, 3),
    }
    torch.save({"model": tensors}, tmp_path / "theirs.pth")
    code, printed = run("import", tmp_path / "theirs.pth", tmp_path / "out")
    assert code == 0, printed
    rows = {line.split("  ")[0]: line for line in printed.splitlines()}
    assert rows.keys() >= tensors.keys() - {"\x1b[2Jodd"}
    assert rows["encoder.norm.weight"].split()[1:] == ["128", "encoder_norm.scale"]
    assert rows["encoder.blocks.0.attn.qkv.weight"].split()[1:4] == ["384", "x", "128"]
    assert "left: no tensor of a VideoMAE has this name" in rows["ema.decay"]
    assert "left: self-view decoder: " in rows["mask_token"]
    assert "\x1b" not in printed
    left = sum("  left: " in line for line in rows.values())
    assert f"{len(tensors) - left} of {len(tensors)} tensors" in printed
    assert not any("decoder" in name for name in load_model(tmp_path / "out").parameters)


def test_what_the_formats_cannot_express_is_refused(runs, run, tmp_path):
    parameters, config, *_ = load_model(runs / "pretrain")
    config.model.positions = "separable"
    save_run(tmp_path / "separable", config, parameters)
    for form in ("huggingface", "videomae"):
        code, printed = run("export", tmp_path / "separable", tmp_path / "out", f"--format={form}")
        assert code == 1
        assert "model.positions=separable" in printed and "--format=pytorch" in printed
        assert not (tmp_path / "out").exists()
    assert run("export", tmp_path / "separable", tmp_path / "out", "--format=pytorch")[0] == 0
    expected = mv2mae_jax.load_encoder(tmp_path / "separable").encode(CLIPS)
    for path in ("out", "out/model.safetensors"):  # a file by itself says its positions too
        np.testing.assert_array_equal(
            mv2mae_jax.load_encoder(tmp_path / path).encode(CLIPS), expected
        )
    code, printed = run("export", runs / "pretrain", tmp_path / "out", "--format=pytorch")
    assert code == 1 and "is there already; choose another --out" in printed


def test_other_pixels_than_videomaes_programs_give_are_refused(runs, run, tmp_path):
    parameters, config, *_ = load_model(runs / "pretrain")
    config.data.std = (0.5, 0.5, 0.5)
    save_run(tmp_path / "run", config, parameters)
    code, printed = run("export", tmp_path / "run", tmp_path / "out", "--format=videomae")
    assert code == 1 and "data.std" in printed and not (tmp_path / "out").exists()
    assert run("export", tmp_path / "run", tmp_path / "out", "--format=huggingface")[0] == 0
    processor = json.loads((tmp_path / "out" / "preprocessor_config.json").read_text())
    assert processor["image_std"] == [0.5, 0.5, 0.5]


def test_a_path_that_cannot_be_is_one_line(run, tmp_path):
    code, printed = run("import", tmp_path / ("a" * 300), tmp_path / "out")
    assert code == 1 and "cannot be read" in printed and printed.count("\n") == 1


def test_the_card_tells_a_probe_from_a_test(runs, run, tmp_path):
    """They may be of different data sets."""
    workdir = shutil.copytree(runs / "finetune", tmp_path / "run")
    probed = {"dataset": "nucla", "num_videos": 500, "chance": 0.1, "tokens_after": 0.43}
    (workdir / "probe.json").write_text(json.dumps(probed))
    assert run("export", workdir, tmp_path / "out", "--format=pytorch")[0] == 0
    card = (tmp_path / "out" / "README.md").read_text()
    rows = dict(re.findall(r"^\| (\S.*?) +\| (\S.*?) +\|$", card, re.MULTILINE))
    assert (rows["probe: dataset"], rows["probe: tokens_after"]) == ("nucla", "43.0%")
    assert rows["dataset"] == "mannequin" and rows["top1_single_view"].endswith("of 24)")


@pytest.mark.parametrize("form", ["huggingface", "videomae"])
def test_tubelets_that_are_not_square_are_refused(run, tmp_path, form):
    stored = {"model": {"positions": "flattened", "patch_size": (2, 16, 8)}}
    save_untrained(tmp_path / "run", stored)
    code, printed = run("export", tmp_path / "run", tmp_path / "out", f"--format={form}")
    assert code == 1 and "tubelets of 16 x 8 pixels" in printed and "square ones only" in printed
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("direction", "source", "message"),
    [
        ("export", "nowhere", "has no checkpoints"),
        ("import", "nowhere", "no such file or folder"),
        ("import", "pretrain", "is a work directory already"),
    ],
)
def test_wrong_sources(runs, run, tmp_path, direction, source, message):
    options = ("--format=huggingface",) if direction == "export" else ()
    code, printed = run(direction, runs / source, tmp_path / "out", *options)
    assert code == 1
    assert message in printed
    assert printed.startswith("error: ") and printed.count("\n") == 1
    assert not (tmp_path / "out").exists() and not list(tmp_path.iterdir())


def test_an_imported_classifier_of_unknown_data_is_not_tested(run, tmp_path):
    theirs = huggingface(VideoMAEForVideoClassification, num_labels=3, id2label=LABELS)
    theirs.save_pretrained(tmp_path / "theirs")
    assert run("import", tmp_path / "theirs", tmp_path / "out")[0] == 0
    assert load_model(tmp_path / "out").classes == ("run", "sit", "stand")
    with pytest.raises(InputError, match="do not say which data they were trained on"):
        evaluate(get_config("evaluate"), tmp_path / "out")


def test_what_cannot_be_written(runs, run, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for out, message in (
        ("file", "is there already"),
        ("file/below", "cannot be written"),
        ("dangling", "is there already"),
        ("a" * 300, "cannot be written"),
    ):
        code, printed = run("export", runs / "pretrain", tmp_path / out, "--format=pytorch")
        assert code == 1 and message in printed and printed.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "file"]


def test_a_full_disk_leaves_nothing(runs, tmp_path):
    """A limit on the size of files stands for it."""
    command = f"{sys.executable} -m mv2mae_jax.convert export --checkpoint {runs / 'pretrain'}"
    for form in ("pytorch", "videomae"):
        line = f"ulimit -f 500; {command} --format {form} --out {tmp_path / 'out'}"
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith(f"error: {tmp_path / 'out'} cannot be writ")
        assert "Traceback" not in done.stderr
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("classes.json", "{broken", "classes.json is damaged"),
        ("classes.json", "5", "classes.json is damaged (it is no list of names)"),
        ("classes.json", '["a", "b"]', "2 names in classes.json for 12 classes"),
        ("results.json", "[1", "results.json is damaged"),
    ],
)
def test_a_damaged_work_directory(runs, run, tmp_path, file, text, message):
    workdir = tmp_path / "run"
    shutil.copytree(runs / "finetune", workdir)
    (workdir / file).write_text(text)
    code, printed = run("export", workdir, tmp_path / "out", "--format=pytorch")
    assert code == 1 and message in printed and printed.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_card_is_of_what_is_there(runs, run, tmp_path):
    options = ("--format=pytorch", "--encoder-only")
    assert run("export", runs / "finetune", tmp_path / "encoder", *options)[0] == 0
    card = (tmp_path / "encoder" / "README.md").read_text()
    assert "A video encoder" in card
    assert "top1" not in card and "## Classes" not in card
