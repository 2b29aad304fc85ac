"""A row runs by real commands, is kept, and is not run again."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from tested import write_predictions

from mv2mae_jax.errors import InputError
from mv2mae_jax.prepare import _parser
from mv2mae_jax.reproduce import runs
from mv2mae_jax.reproduce.__main__ import main
from mv2mae_jax.reproduce.document import controls_table, write
from mv2mae_jax.reproduce.rows import MV2MAE, SCRATCH, Pretraining, Row
from mv2mae_jax.reproduce.runs import (
    config_hash,
    packed,
    read_correct,
    read_findings,
    read_probed,
    run_missing,
)
from mv2mae_jax.run_files import read_config

TINY = {
    "data.num_frames": 4,
    "data.image_size": 16,
    "model.patch_size": (2, 8, 8),
    "epochs": 1,
    "optimizer.warmup_epochs": 0.5,
}
SEED = 1  # not the default of the configs
ROWS = (
    Row(SCRATCH, "xview", None, TINY),
    Row(MV2MAE, "xview", Pretraining("t", overrides=TINY), TINY),
)


@pytest.fixture(scope="module")
def out(mannequin_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where both rows were run with one seed."""
    folder = tmp_path_factory.mktemp("reproduction")
    (folder / "data").symlink_to(mannequin_dir)
    for row in ROWS:
        run_missing(row, "cpu", SEED, folder)
    return folder


def test_findings_are_what_the_runs_found(out: Path):
    scratch, pretrained = read_findings(out / "results.jsonl")
    assert (scratch.row, pretrained.row) == (SCRATCH, MV2MAE)
    assert set(scratch.configs) == set(scratch.minutes) == {"finetune"}
    assert set(pretrained.configs) == {"pretrain", "probe", "finetune"}
    assert scratch.configs["finetune"] == pretrained.configs["finetune"]
    assert not scratch.probes and pretrained.probes["protocol"] == "xview"
    results = json.loads((out / "runs/xview/MV2MAE-1-finetune/results.json").read_text())
    probes = json.loads((out / "runs/xview/t-1/probe.json").read_text())
    for metric, accuracy in pretrained.top1.items():
        written = probes["tokens_after"] if metric == "token_probe" else results[f"top1_{metric}"]
        assert accuracy == pytest.approx(written, abs=1e-6)
    assert set(pretrained.top1) - set(scratch.top1) == {"token_probe"}
    assert read_config(out / "runs/xview/MV2MAE-1-finetune").finetune.init_from == str(
        out / "runs/xview/t-1"
    )
    for finding, folders in (
        (scratch, {"finetune": "from-scratch-1-finetune"}),
        (pretrained, {"pretrain": "t-1", "finetune": "MV2MAE-1-finetune"}),
    ):
        assert finding.seed == SEED
        for task, folder in folders.items():  # the hashes are of what was run, its seed included
            ran = read_config(out / "runs/xview" / folder)
            assert ran.seed == SEED and config_hash(ran) == finding.configs[task]


def test_a_row_is_not_run_again(out: Path):
    before = (out / "results.jsonl").read_bytes()
    assert not run_missing(ROWS[1], "cpu", SEED, out)
    assert (out / "results.jsonl").read_bytes() == before
    changed = Row(MV2MAE, "xview", Pretraining("t", overrides=TINY | {"epochs": 2}), TINY)
    runs = out / "runs/xview"
    remedy = f"delete its line and {runs}/t-1 and {runs}/MV2MAE-1-finetune"
    with pytest.raises(InputError, match=f"MV2MAE, xview, seed 1 with another config.*{remedy}"):
        run_missing(changed, "cpu", SEED, out)


def test_tables_and_pictures_are_written(out: Path):
    findings = read_findings(out / "results.jsonl")
    write(findings, out)
    tables = (out / "results.md").read_text()
    line, _ = [x for x in tables.splitlines() if x.startswith("| MV2MAE less from scratch")]
    difference = 100 * (findings[1].top1["single_view"] - findings[0].top1["single_view"])
    assert f"| {difference:+.1f} (" in line and "**not resolved**" in line
    assert (out / "rows.png").stat().st_size > 5000
    assert (out / "differences.png").stat().st_size > 5000


def test_controls_are_averaged_over_seeds_not_over_rows(out: Path):
    """Three rows, of two seeds: 20 % twice and 40 % once make 30 ± 14.1 %."""
    first = read_findings(out / "results.jsonl")[1]
    assert first.probes
    rows = [
        first._replace(row=row, seed=seed, probes=first.probes | {"pixels": share})
        for row, seed, share in (("MV2MAE", 0, 0.2), ("VideoMAE", 0, 0.2), ("MV2MAE", 1, 0.4))
    ]
    assert re.search(r"\| pixels, [^|]+\| 30\.0 ± 14\.1 % +\|", controls_table(rows))
    assert re.search(r"\| pixels, [^|]+\| 20\.0 % +\|", controls_table(rows[:2]))


def test_before_anything_is_compared_there_is_no_picture_of_it(out: Path, tmp_path: Path):
    write(read_findings(out / "results.jsonl")[:1], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"results.md", "rows.png"}
    assert "differences.png" not in (tmp_path / "results.md").read_text()


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: line[:-2],
        lambda line: line.replace(b'"seed": 1, ', b""),
        lambda line: line.replace(b'"seed": 1, ', b'"seed": "1", '),
        lambda line: line.replace(b'"multi_view": ', b'"multi_view": 1', 3),
        lambda line: line.replace(b'"single_view": 0.', b'"single_view": 1.', 1),
        lambda line: line.replace(b"xview", b"\xff"),
    ],
)
def test_a_damaged_line_is_named(out: Path, tmp_path: Path, damage):
    good, _ = (out / "results.jsonl").read_bytes().splitlines()
    file = tmp_path / "results.jsonl"
    file.write_bytes(good + b"\n" + damage(good) + b"\n")
    with pytest.raises(InputError, match=f"line 2 of {file} is damaged"):
        read_findings(file)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "is the second of from scratch, xview, seed 1"),
        ({"seed": 2, "scale": "gpu"}, "is of another scale or data set than line 1"),
        ({"seed": 2, "data": "other"}, "is of another scale or data set than line 1"),
    ],
)
def test_files_that_do_not_belong_together_are_not_averaged(
    out: Path, tmp_path: Path, change: dict, words: str
):
    good, _ = (out / "results.jsonl").read_bytes().splitlines()
    file = tmp_path / "results.jsonl"
    file.write_text(f"{good.decode()}\n{json.dumps(json.loads(good) | change)}\n")
    with pytest.raises(InputError, match=f"line 2 of {file} {words}"):
        read_findings(file)


@pytest.mark.parametrize("change", [{"data": "of other videos"}, {"scale": "gpu"}])
def test_results_of_other_data_are_not_taken_for_these(out: Path, tmp_path: Path, change: dict):
    (tmp_path / "data").symlink_to((out / "data").resolve())
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    for line in lines:
        line |= change
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    with pytest.raises(InputError, match=r"has results of the scale \w+, or of other data"):
        run_missing(ROWS[0], "cpu", SEED, tmp_path)


def test_the_videos_are_those_of_the_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What `prepare` is given, as it understands it."""
    given: list[str] = []
    monkeypatch.setattr(runs, "run", lambda what, module, *words: given.extend((module, *words)))
    runs.prepare(tmp_path, "alone")
    assert given.pop(0) == "prepare"
    understood = vars(_parser().parse_args(given))
    expected = {"staging": "alone", "subjects": 40, "short_side": 64, "replications": 2, "seed": 0}
    assert {name: understood[name] for name in expected} == expected
    assert understood["data_dir"] == tmp_path / "data"


def test_the_command_draws_what_is_there(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    words = ["reproduce", "--scale=cpu", "--seeds=0", f"--out={tmp_path}"]
    monkeypatch.setattr(sys, "argv", words)
    assert main() == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path} has no results to draw")
    shutil.copy(out / "results.jsonl", tmp_path)
    assert main() == 0
    assert (tmp_path / "results.md").read_text() in capsys.readouterr().out


def test_right_predictions_by_hand(tmp_path: Path):
    """Views are ordered by name, and fused by the mean of their probabilities."""
    (tmp_path / "predictions.csv").write_text(
        "activity,view,label,predicted,probability,correct,predicted_single_clip,p(bow),p(sit)\n"
        "b,1,sit,sit,0.6,1,bow,0.4,0.6\n"
        "a,2,bow,sit,0.6,0,bow,0.4,0.6\n"
        "a,1,bow,bow,0.9,1,sit,0.9,0.1\n"
        "b,2,sit,bow,0.7,0,sit,0.7,0.3\n"
    )
    correct = read_correct(tmp_path)
    assert correct["single_view"].tolist() == [True, False, True, False]
    assert correct["single_clip"].tolist() == [False, True, False, True]
    assert correct["multi_view"].tolist() == [True, False]
    assert packed(correct["single_view"]) == "a0"  # 1010 0000


def test_a_table_that_is_cut_is_not_taken_for_a_smaller_test(tmp_path: Path):
    file = write_predictions(tmp_path, np.array([0, 1, 0, 0, 1, 0])) / "predictions.csv"
    file.write_bytes(file.read_bytes().rstrip()[:-3])
    with pytest.raises(InputError, match=r"line 7 of .*predictions.csv is damaged"):
        read_correct(tmp_path)
    file = tmp_path / "probe_predictions.csv"
    file.write_text("activity,view,label,tokens_after\nb,1,sit,sit\na,2,bow,sit\n")
    assert read_probed(tmp_path)["token_probe"].tolist() == [False, True]
    file.write_text(file.read_text()[:-4])
    with pytest.raises(InputError, match=r"probe_predictions.csv is damaged \(it ends within"):
        read_probed(tmp_path)


def test_packing_keeps_every_prediction():
    right = np.random.default_rng(0).uniform(size=101) < 0.5
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(packed(right)), np.uint8))
    np.testing.assert_array_equal(bits[:101], right)
