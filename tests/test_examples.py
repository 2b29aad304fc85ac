"""The example as its reader runs it: from an exported folder to a saved classifier."""

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from flax import nnx
from runs import save_run
from transformers import VideoMAEConfig, VideoMAEForPreTraining, VideoMAEForVideoClassification

from configs.mannequin import get_config
from mv2mae_jax.data.splits import class_names
from mv2mae_jax.interop.export import export
from mv2mae_jax.interop.torch_dataset import VideoDataset
from mv2mae_jax.model import build
from mv2mae_jax.training.parameters import split

SCRIPT = "examples/finetune_pytorch.py"
SIZES = dict(  # of the mannequin's clips, and a model smaller than its own
    image_size=56,
    patch_size=14,
    num_frames=8,
    tubelet_size=2,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=64,
    decoder_hidden_size=32,
    decoder_num_hidden_layers=1,
    decoder_num_attention_heads=2,
    decoder_intermediate_size=64,
    layer_norm_eps=1e-6,
    use_mean_pooling=False,
)


def save_encoder(folder: Path, **sizes: int) -> VideoMAEForPreTraining:
    torch.manual_seed(0)
    model = VideoMAEForPreTraining(VideoMAEConfig(**(SIZES | sizes)))
    model.save_pretrained(folder)
    data = get_config().data
    pixels = {"image_mean": list(data.mean), "image_std": list(data.std)}
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels))
    return model


def export_encoder(folder: Path) -> VideoMAEForPreTraining:
    """As `convert export` makes it, of the mannequin's model with initial values."""
    config = get_config()
    config.model.positions = "flattened"
    _, parameters = split(build.pretraining_model(config, nnx.Rngs(0)))
    save_run(folder / "run", config, parameters)
    export(folder / "run", "huggingface", folder / "encoder")
    return VideoMAEForPreTraining.from_pretrained(folder / "encoder")


def test_a_classifier_comes_out(mannequin_dir: Path, tmp_path: Path):
    pretrained = export_encoder(tmp_path)
    words = [sys.executable, SCRIPT, "--encoder", tmp_path / "encoder", "--epochs=2"]
    words += ["--data-dir", mannequin_dir, "--learning-rate=1e-3", "--out", tmp_path / "out"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    losses = re.findall(r"^epoch \d: loss (\S+)$", done.stdout, re.MULTILINE)
    assert len(losses) == 2 and float(losses[1]) < float(losses[0])

    config = get_config("finetune")
    config.data.data_dir = str(mannequin_dir)
    model = VideoMAEForVideoClassification.from_pretrained(tmp_path / "out").eval()
    assert tuple(model.config.id2label.values()) == class_names(config)
    assert model.config.label2id == {name: n for n, name in model.config.id2label.items()}
    moved = model.videomae.embeddings.patch_embeddings.projection.weight
    started = pretrained.videomae.embeddings.patch_embeddings.projection.weight
    assert 0 < (moved - started).abs().max() < 12 * 2e-3  # it did start there: 12 steps of 1e-3
    dataset = VideoDataset(config, "test")
    with torch.no_grad():
        logits = model(torch.stack([item["pixel_values"] for item in dataset])).logits
    labels = torch.tensor([video.activity.label for video in dataset.videos])
    accuracy = (logits.argmax(1) == labels).float().mean()
    assert f"top-1 {accuracy:.1%} of 24 test videos" in done.stdout


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        (dict(num_frames=16), "takes 16 frames of 56 pixels in tubelets of 2 x 14, but the config"),
        (dict(image_size=112), "has 8 frames of 56 pixels, 2 x 14; take the config"),
        (dict(tubelet_size=4), "in tubelets of 4 x 14"),
    ],
)
def test_another_encoder_is_one_line(tmp_path, monkeypatch, mannequin_dir, sizes, says):
    save_encoder(tmp_path / "encoder", **sizes)
    words = ["--encoder", tmp_path / "encoder", "--data-dir", mannequin_dir]
    words += ["--out", tmp_path / "out"]
    assert says in failure(monkeypatch, words).code


def test_pixels_of_another_deviation_are_one_line(tmp_path, monkeypatch, mannequin_dir):
    save_encoder(tmp_path / "encoder")
    pixels = json.loads((tmp_path / "encoder" / "preprocessor_config.json").read_text())
    pixels["image_std"] = [0.5, 0.5, 0.5]
    (tmp_path / "encoder" / "preprocessor_config.json").write_text(json.dumps(pixels))
    words = ["--encoder", tmp_path / "encoder", "--data-dir", mannequin_dir]
    error = failure(monkeypatch, [*words, "--out", tmp_path / "out"]).code
    assert "was trained on pixels of std [0.5, 0.5, 0.5], but config.data.std is" in error


def test_mistakes_are_one_line(tmp_path, monkeypatch, capsys):
    save_encoder(tmp_path / "encoder")
    words = ["--encoder", tmp_path / "encoder", "--out", tmp_path / "out"]
    assert "prepare mannequin" in failure(monkeypatch, [*words, "--data-dir", tmp_path]).code
    assert "no variant" in failure(monkeypatch, [*words, "--config=configs/ntu60.py:nope"]).code
    assert failure(monkeypatch, [*words, "--config=configs/nope.py"]).code == 2
    assert "configs/nope.py: no such file" in capsys.readouterr().err
    (tmp_path / "none.py").write_text("")
    assert (
        "no get_config" in failure(monkeypatch, [*words, f"--config={tmp_path / 'none.py'}"]).code
    )
    for option in ("--epochs=0", "--batch-size=0", "--workers=-1", "--learning-rate=-1"):
        assert failure(monkeypatch, [*words, option]).code == 2
        assert "is not a number from" in capsys.readouterr().err
    assert failure(monkeypatch, ["--encoder", tmp_path, "--out", tmp_path / "out"]).code == 2
    assert f"{tmp_path}: no model.safetensors; export with" in capsys.readouterr().err
    (tmp_path / "encoder" / "config.json").unlink()  # as of --format=pytorch
    assert failure(monkeypatch, words).code == 2
    assert "no config.json; export with --format huggingface" in capsys.readouterr().err


def test_nothing_is_overwritten(tmp_path, monkeypatch, capsys):
    save_encoder(tmp_path / "encoder")
    words = ["--encoder", tmp_path / "encoder", "--out", tmp_path / "encoder"]
    assert failure(monkeypatch, words).code == 2
    assert "encoder: is there already" in capsys.readouterr().err


def failure(monkeypatch: pytest.MonkeyPatch, words: list) -> SystemExit:
    """What the script ends with; a text is its last line, and stands for exit code 1."""
    monkeypatch.setattr(sys, "argv", [SCRIPT, *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(SCRIPT, run_name="__main__")
    assert "\n" not in str(stopped.value.code)
    return stopped.value
