"""The table that the demo prints says what its runs found, each number in its own row."""

import json
from pathlib import Path

import pytest
from tested import results

from mv2mae_jax import demo

PROBED = {
    "chance": 0.08,
    "motion_map": 0.11,
    "motion_map_over_time": 0.12,
    "tokens_before": 0.21,
    "tokens_after": 0.22,
    "logistic_before": 0.31,
    "logistic_after": 0.32,
    "knn_before": 0.41,
    "knn_after": 0.42,
}
TESTED = {"finetune-1": 0.6, "scratch-1": 0.5}


def test_every_row_is_of_the_run_that_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What commands write stands there already; which they were is looked at."""
    (tmp_path / "pretrain-1").mkdir()
    probe = {"dataset": "mannequin", "protocol": "xview", "num_train_videos": 8, "num_videos": 4}
    (tmp_path / "pretrain-1" / "probe.json").write_text(json.dumps(probe | PROBED))
    for name, accuracy in TESTED.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps(results(accuracy)))
    commands: list[tuple[str, ...]] = []
    monkeypatch.setattr(demo, "run", lambda _, *words: commands.append(words))
    found = demo.train_and_test(tmp_path, seed=1)
    assert list(found.values()) == [0.08, 0.11, 0.12, 0.5, 0.6, 0.21, 0.22, 0.31, 0.32, 0.41, 0.42]
    assert [name for name in found if name.startswith("fine-tuned from")] == [
        "fine-tuned from scratch",
        "fine-tuned from pre-training",
    ]
    assert all("--config.seed=1" in words for words in commands)
    started = {words[2]: [x for x in words if "init_from" in x] for words in commands[2:]}
    assert started == {
        f"--workdir={tmp_path / 'finetune-1'}": [
            f"--config.finetune.init_from={tmp_path / 'pretrain-1'}"
        ],
        f"--workdir={tmp_path / 'scratch-1'}": [],
    }


def test_of_several_seeds_there_is_the_mean_and_each():
    lines = demo.table([{"chance": 0.1, "probe": 0.2}, {"chance": 0.1, "probe": 0.4}]).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["", "accuracy", "seed 0", "seed 1"]
    assert cells[2:] == [
        ["chance", "10.0%", "10.0%", "10.0%"],
        ["probe", "30.0%", "20.0%", "40.0%"],
    ]
    assert "seed" not in demo.table([{"chance": 0.1}])
