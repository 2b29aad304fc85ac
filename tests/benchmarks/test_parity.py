"""The benchmark of parity passes with the same weights, and fails with others."""

import json

import numpy as np

from benchmarks import parity
from configs.base import get_config

SMALLEST = ["--variants", "mini", "--sizes", "32", "--frames", "4", "--weights", "random"]


def test_same_weights_are_the_same_numbers(tmp_path, capsys):
    assert parity.main([*SMALLEST, "--json", str(tmp_path / "parity.json")]) == 0
    report = json.loads((tmp_path / "parity.json").read_text())
    assert report["weights"][0]["exact_round_trip"]
    rows = {row["output"]: row for row in report["rows"]}
    assert rows.keys() == {"tokens", "logits", "pixels", "cross-view pixels"}
    printed = capsys.readouterr().out
    for name, row in rows.items():
        assert name in printed
        assert max(row["float32"].values()) < 2e-5
        assert all(
            0 < difference < 0.05 * row["largest"] for difference in row["bfloat16"].values()
        )
    # Hugging Face's own eps in two norms shows, and only where these norms are.
    for name in ("tokens", "logits", "pixels"):
        exact = rows[name]["float32"]
        assert (exact["huggingface"] == exact["huggingface_eps"]) == (name == "tokens")


def test_one_weight_that_differs_is_found(monkeypatch, capsys):
    """In the export alone: everything else still agrees."""
    export = parity.export

    def change(config, weights, folder):
        name = "encoder.blocks.0.mlp.up.bias"
        bias = np.array(weights.classifier[name])
        bias[0] += 0.1
        return export(
            config, weights._replace(classifier=weights.classifier | {name: bias}), folder
        )

    monkeypatch.setattr(parity, "export", change)
    assert parity.main(SMALLEST) == 1
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if line.startswith("error:")]
    assert len(errors) == 2 and all("mini, 4 frames of 32 pixels" in line for line in errors)
    assert all("logits differ by" in line and "from huggingface" in line for line in errors)


def test_a_lossy_round_trip_is_found(monkeypatch):
    config = get_config()
    config.model.variant = "mini"
    classifier = parity.random_weights(config).classifier
    assert parity.survives_round_trip(classifier)
    from_tensors = parity.from_tensors
    monkeypatch.setattr(
        parity,
        "from_tensors",
        lambda *args: {k: x.astype(np.float16) for k, x in from_tensors(*args).items()},
    )
    assert not parity.survives_round_trip(classifier)


def test_clips_that_cannot_be_cut_are_one_line(capsys):
    assert parity.main(["--variants", "mini", "--sizes", "100", "--frames", "4"]) == 1
    assert capsys.readouterr().err.startswith("error: config.data.image_size=100 is not a multiple")
