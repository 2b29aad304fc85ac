"""What work directories say is taken as it stands, or refused in one line."""

import json

import numpy as np
import pytest
from tested import LABELS, NAMES, results, write_predictions

from mv2mae_jax.errors import InputError
from mv2mae_jax.run_files import (
    read_classes,
    read_config,
    read_metrics,
    read_predictions,
    read_probe,
    read_results,
)

LINES = '{"step": 1, "loss": 4.0}\n{"step": 3, "loss": 2.0}\n'


@pytest.mark.parametrize("damage", ["", "{", "[1, 2]", '{"step": 1}', "\xe9"])
def test_a_config_that_is_not_there_or_damaged_has_its_own_remedy(tmp_path, damage):
    """Who names the right directory is not told to name another."""
    with pytest.raises(InputError, match=r"config\.json is not there; name the work directory"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text(damage, encoding="latin-1")
    with pytest.raises(InputError, match=r"config\.json is damaged \(.*\); delete it, .* anew$"):
        read_config(tmp_path)


@pytest.mark.parametrize("text", ["[", '{"walk": 0}', "[1, 2]", '["a\\nb"]', "[" * 100_000])
def test_damaged_names_of_classes_are_one_line(tmp_path, text):
    assert read_classes(tmp_path) == ()
    (tmp_path / "classes.json").write_text(text)
    with pytest.raises(InputError, match=r"classes\.json is damaged \(.*\); delete it, .* anew$"):
        read_classes(tmp_path)


def test_a_line_that_is_being_written_is_left_out(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(LINES + '{"step": 5, "lo')
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 4}, {"step": 3, "loss": 2}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LINES + "{\n", "line 3 of .*metrics.jsonl is damaged"),
        (LINES + "[]\n", "line 3 of .* is damaged"),
        (LINES + '{"loss": 1.0}\n', "line 3 of .* is damaged"),
        (LINES + '{"step": 4, "loss": NaN}\n', "line 3 of .*a number is not finite"),
        (LINES + '{"step": 4, "loss": null}\n', "line 3 of .* is damaged"),
        (LINES + '{"step": 3, "loss": 1.0}\n', "line 3 of .*step 3 after 3"),
    ],
)
def test_damaged_metrics_are_one_line(tmp_path, text, message):
    (tmp_path / "metrics.jsonl").write_text(text)
    with pytest.raises(InputError, match=message):
        read_metrics(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"dataset": 1}', "\N{BELL}"])
def test_damaged_results_are_one_line(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(InputError, match=r"results.json is damaged .* evaluate"):
        read_results(tmp_path)


def test_a_run_without_a_test_is_no_advice_to_train_it_anew(tmp_path):
    """What was pre-trained there cannot be fine-tuned in the same directory."""
    for read in (read_results, read_predictions):
        with pytest.raises(InputError, match="is not there; name the work directory of a fine-tun"):
            read(tmp_path)


def test_results_are_read_as_they_are_written(tmp_path):
    written = results(0.5)
    (tmp_path / "results.json").write_text(json.dumps(written))
    assert read_results(tmp_path) == written
    written["interval_95"]["top1_multi_view"] = [0.6, 0.7]  # the accuracy is outside
    (tmp_path / "results.json").write_text(json.dumps(written))
    with pytest.raises(InputError, match=r"top1_multi_view is 0\.5 of 100, from 0\.6 to 0\.7"):
        read_results(tmp_path)
    for per_class, message in (({"walk": 1.5}, "walk is 1.5"), ({"sit": 0.5}, "'sit'")):
        (tmp_path / "results.json").write_text(
            json.dumps(results(0.5, per_class_accuracy=per_class))
        )
        with pytest.raises(InputError, match=rf"results.json is damaged \({message}\)"):
            read_results(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "list indices"),
        ('{"num_videos": 4}', "'chance'"),
        ('{"num_videos": 0, "chance": 0.5}', "num_videos is of 0"),
        ('{"num_videos": 4, "chance": 0.5}', "'tokens_after'"),
        ('{"num_videos": 4, "chance": 0.5, "tokens_after": 1, "pixels": NaN}', "pixels is nan"),
    ],
)
def test_damaged_probes_are_one_line(tmp_path, text, message):
    (tmp_path / "probe.json").write_text(text)
    with pytest.raises(InputError, match=rf"probe.json is damaged \(.*{message}"):
        read_probe(tmp_path)


def test_probes_are_read_as_they_are_written(tmp_path):
    written = {"split": "test", "num_videos": 4, "chance": 0.5, "tokens_after": 1.0}
    (tmp_path / "probe.json").write_text(json.dumps(written))
    assert read_probe(tmp_path) == written


def test_predictions_are_read_as_they_are_written(tmp_path):
    """In the order of names, which is not that of the table."""
    predicted = np.array([0, 0, 2, 0, 1, 0])
    tested = read_predictions(write_predictions(tmp_path, predicted))
    assert tested.videos == [(f"a{n}", view) for n in (7, 8, 9) for view in "12"]
    assert tested.names == NAMES
    backwards = [4, 5, 2, 3, 0, 1]
    np.testing.assert_array_equal(tested.labels, LABELS[backwards])
    np.testing.assert_array_equal(tested.predicted, predicted[backwards])
    np.testing.assert_array_equal(tested.single_clip, predicted[backwards])
    np.testing.assert_array_equal(tested.activities, [0, 0, 1, 1, 2, 2])
    expected = np.where(np.eye(3)[predicted[backwards]] > 0, 0.8, 0.1).astype(np.float32)
    np.testing.assert_array_equal(tested.probabilities, expected)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("a9,1,", "", 2),
        ("a9,2,", 'a9,"2', 2),
        ("activity", "actvity", 2),
        (",p(n", ",q(n", 4),
        ("a9,2,", "a9,1,", 3),
        (",0.8", ",nan", 2),
        (",0.8", ",x", 2),
    ],
)
def test_a_damaged_table_is_one_line(tmp_path, old, new, line):
    file = write_predictions(tmp_path / "run", np.array([0, 0, 2, 0, 1, 1])) / "predictions.csv"
    file.write_bytes(file.read_bytes().replace(old.encode(), new.encode()))
    with pytest.raises(InputError, match=rf"line {line} of .*predictions.csv is damaged"):
        read_predictions(file.parent)
    file.write_text("")
    with pytest.raises(InputError, match="no videos"):
        read_predictions(file.parent)


@pytest.mark.parametrize("missing", [1, 4, 20])
def test_a_cut_table_is_one_line(tmp_path, missing):
    file = write_predictions(tmp_path / "run", np.array([0, 0, 2, 0, 1, 1])) / "predictions.csv"
    file.write_bytes(file.read_bytes().rstrip()[:-missing])
    with pytest.raises(InputError, match=r"predictions.csv is damaged \(it ends within a row\)"):
        read_predictions(file.parent)
