"""An ablation puts each tested run where its config, or that of its pre-training, says."""

import json
import math

import cv2
import numpy as np
import pytest
from etils import epath
from tested import results

from configs.mannequin import get_config
from mv2mae_jax.errors import InputError
from mv2mae_jax.run_files import IMPORT_REPORT, TOP1
from mv2mae_jax.training.workdir import write_config
from mv2mae_jax.visualize.__main__ import main
from mv2mae_jax.visualize.ablation import (
    ablation_figure,
    also_differing,
    flat_config,
    levels_of,
    places,
    pretraining_of,
    same_test,
    stages,
)

FIELD = "objective.temperature"


def write_run(folder, accuracy, init_from="", **fields):
    config = get_config("finetune" if accuracy is not None else "pretrain")
    config.update_from_flattened_dict(fields)
    config.finetune.init_from = str(init_from)
    folder.mkdir()
    write_config(folder, config)
    if accuracy is not None:
        (folder / "results.json").write_text(json.dumps(results(accuracy)))
    return folder


@pytest.fixture
def runs(tmp_path):
    """Two seeds at 60, one at 15, one at infinity; fine-tuned by configs that have the default."""
    tuned = []
    for name, value, seed, accuracy in [
        ("sixty-0", 60.0, 0, 0.5),
        ("sixty-1", 60.0, 1, 0.6),
        ("fifteen", 15.0, 0, 0.4),
        ("flat", math.inf, 0, 0.3),
    ]:
        start = write_run(tmp_path / name, None, **{FIELD: value, "seed": seed})
        tuned.append(write_run(tmp_path / f"{name}-tuned", accuracy, start, seed=seed))
    return tuned


def test_runs_of_one_value_become_a_mean_and_a_deviation(runs, tmp_path, capsys):
    out = tmp_path / "out.png"
    words = ["ablation", "--workdirs", *map(str, runs), f"--field=config.{FIELD}", f"--out={out}"]
    assert main(words) == 0
    assert cv2.imread(str(out)).std() > 10
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("|")
    ]
    assert [row[:5] for row in rows[2:]] == [
        ["15", "1", "40.0%", "", "35.0% to 50.0%"],
        ["60", "2", "55.0%", "7.1%", ""],
        ["∞", "1", "30.0%", "", "25.0% to 40.0%"],
    ]
    assert rows[3][5:] == ["sixty-0-tuned 50.0%, sixty-1-tuned 60.0%", "100"]


def test_the_picture_has_the_runs_where_they_belong(runs):
    found = {path.name: json.loads((path / "results.json").read_text()) for path in runs}
    configs = {path.name: flat_config(pretraining_of(epath.Path(path))) for path in runs}
    levels = levels_of(found, configs, FIELD, TOP1[1])
    assert [(level.value, len(level.runs)) for level in levels] == [(15, 1), (60, 2), (math.inf, 1)]
    assert levels[1].mean == pytest.approx(0.55)
    assert levels[1].deviation == pytest.approx(0.1 / math.sqrt(2))
    figure = ablation_figure(levels, FIELD, TOP1[1], "a test", [])
    (axis,) = figure.axes
    drawn = [bars.lines[0].get_xydata()[0] for bars in axis.containers]
    squares = [xy for xy, bars in zip(drawn, axis.containers, strict=True) if _is_square(bars)]
    np.testing.assert_allclose(squares, [[1, 0.55]])
    assert sorted(xy[1] for xy in drawn) == pytest.approx([0.3, 0.4, 0.5, 0.55, 0.6])
    assert [text.get_text() for text in axis.get_xticklabels()] == ["15", "60", "∞"]


def _is_square(bars):
    return bars.lines[0].get_marker() == "s"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.6, 0.7, 0.9], [0, 1 / 3, 1]),
        ([1.0, 10.0, 100.0], [0, 0.5, 1]),
        ([15.0, 60.0, 240.0, math.inf], [0, 0.5, 1, 1.2]),
        ([0.0, 1.0, 100.0], [0, 0.01, 1]),
        ([5.0, math.inf], [0, 1.2]),
        (["tiny", "small", "base"], [0, 0.5, 1]),
        ([2.0, "none"], [0, 1]),
    ],
)
def test_numbers_have_their_distances(values, expected):
    np.testing.assert_allclose(places(values), expected, atol=1e-12)


def test_a_field_of_both_trainings_is_fine_tunings_unless_asked(tmp_path, capsys):
    for name, seed in (("one", 1), ("two", 2)):
        start = write_run(tmp_path / name, None, epochs=10 * seed)
        write_run(tmp_path / f"{name}-tuned", 0.5, start, epochs=3)
    tuned = [str(tmp_path / f"{name}-tuned") for name in ("one", "two")]
    words = ["ablation", "--workdirs", *tuned, "--field=epochs", f"--out={tmp_path / 'out.svg'}"]
    assert main(words) == 1
    assert "all runs have config.epochs=3" in capsys.readouterr().err
    assert main([*words, "--pretraining"]) == 0
    assert "| 10 " in capsys.readouterr().out


def test_what_else_differs_is_said(runs):
    configs = [stages(epath.Path(path), True) for path in runs]
    assert also_differing(configs, FIELD, True) == []  # seeds and places are no difference
    configs[0][0]["optimizer.b2"], configs[0][0]["masking.ratio"] = 0.5, 0.5
    configs[2][1]["epochs"], configs[2][1]["evaluation.clips"] = 7, 99
    assert also_differing(configs, FIELD, True) == [
        "config.optimizer.b2",
        "config.epochs of pre-training",
    ]
    assert also_differing(configs, "optimizer.b2", False) == [
        "config.epochs of pre-training",
        f"config.{FIELD} of pre-training",
    ]


def test_the_field_of_pre_training_differing_in_fine_tuning_too_is_named(tmp_path):
    starts = [write_run(tmp_path / f"start{n}", None, epochs=n) for n in (2, 9)]
    runs = [
        write_run(tmp_path / f"run{n}", 0.5, start, epochs=n)
        for start, n in zip(starts, (1, 30), strict=True)
    ]
    configs = [stages(epath.Path(run), True) for run in runs]
    assert also_differing(configs, "epochs", True) == ["config.epochs"]
    assert also_differing(configs, "epochs", False) == ["config.epochs of pre-training"]


def test_fields_that_begin_with_the_fields_name_are_others(tmp_path):
    runs = [
        write_run(tmp_path / "a", 0.5, **{"data.crop": "multi_scale", "data.crop_aspect": (1, 1)}),
        write_run(tmp_path / "b", 0.5, **{"data.crop": "random_resized"}),
    ]
    configs = [[flat_config(epath.Path(run))] for run in runs]
    assert also_differing(configs, "data.crop", False) == ["config.data.crop_aspect"]


def test_other_weights_to_start_from_are_a_difference(tmp_path):
    """None, ours, or released ones; but not two pre-trainings of one config."""
    starts = [write_run(tmp_path / f"start{seed}", None, seed=seed) for seed in (0, 1)]
    a, b, scratch, released, base = [
        stages(epath.Path(write_run(tmp_path / name, 0.5, start)), False)
        for name, start in zip("abcde", (*starts, "", "small.pth", "base.pth"), strict=True)
    ]
    assert also_differing([a, b], "epochs", False) == []
    assert also_differing([scratch, scratch], "epochs", False) == []
    for pair in ([a, scratch], [scratch, released], [a, released], [released, base]):
        assert also_differing(pair, "epochs", False) == ["config.finetune.init_from"]
        assert also_differing(pair, "finetune.init_from", False) == []


def test_a_run_over_another_is_of_the_first_pre_training(tmp_path):
    start = write_run(tmp_path / "start", None)
    first = write_run(tmp_path / "first", 0.5, start)
    second = write_run(tmp_path / "second", 0.5, first)
    assert pretraining_of(epath.Path(second)) == epath.Path(start)


def test_without_a_pre_training_there_is_one_line(tmp_path):
    scratch = write_run(tmp_path / "scratch", 0.5)
    released = write_run(tmp_path / "released", 0.5, "videomae.pth")
    imported = write_run(tmp_path / "imported", None)
    (imported / IMPORT_REPORT).write_text("{}")
    foreign = tmp_path / "foreign"  # a model of Hugging Face's
    foreign.mkdir()
    (foreign / "config.json").write_text('{"model_type": "videomae", "num_frames": 16}')
    with pytest.raises(InputError, match=r"foreign.*no config of this package"):
        pretraining_of(epath.Path(write_run(tmp_path / "from_foreign", 0.5, foreign)))
    from_imported = write_run(tmp_path / "from_imported", 0.5, imported)
    itself = write_run(tmp_path / "itself", 0.5, tmp_path / "itself")
    for run, why in [
        (scratch, "scratch started from random values"),
        (released, "started from videomae.pth, and no run is there"),
        (from_imported, "imported holds weights from elsewhere"),
        (itself, "which is itself"),
    ]:
        with pytest.raises(InputError, match=rf"{run} has no pre-training .*{why}"):
            pretraining_of(epath.Path(run))


def test_accuracies_of_different_tests_are_not_compared():
    assert "n = 100, 5 clips x 10 crops" in same_test({"a": results(0.5)}, TOP1[1])
    for changed in ({"protocol": "ntu120_xset"}, {"clips": 1}, {"count": dict.fromkeys(TOP1, 9)}):
        with pytest.raises(InputError, match=r"b was tested with .* cannot be compared"):
            same_test({"a": results(0.5), "b": results(0.5, **changed)}, TOP1[1])


def test_a_field_that_is_none_is_one_line(runs, tmp_path, capsys):
    words = ["ablation", "--workdirs", *map(str, runs), f"--out={tmp_path / 'out.png'}"]
    assert main([*words, "--field=config.objective"]) == 1
    assert "--field config.objective: no such field" in capsys.readouterr().err
    assert main([*words, "--field=config.masking.ratoi"]) == 1
    assert "did you mean masking.ratio?" in capsys.readouterr().err
