"""What work directories say is taken as it stands, or refused in one line."""

import json

import pytest

from mv2mae_jax.errors import InputError
from mv2mae_jax.figures import picture_path
from mv2mae_jax.visualize.__main__ import main
from mv2mae_jax.visualize.confusion import read_predictions
from mv2mae_jax.visualize.runs import named, read_metrics, read_results

LINES = '{"step": 1, "loss": 4.0}\n{"step": 3, "loss": 2.0}\n'


def test_a_line_that_is_being_written_is_left_out(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(LINES + '{"step": 5, "lo')
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 4}, {"step": 3, "loss": 2}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no line yet"),
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


def test_names_are_the_last_folders_if_they_differ():
    assert list(named(["runs/a", "other/b/"])) == ["a", "b"]
    assert list(named(["runs/a", "other/a"])) == ["runs/a", "other/a"]
    with pytest.raises(InputError, match="runs/a is named twice"):
        named(["runs/a", "runs/b", "./runs/a/"])


def test_a_picture_has_a_suffix_of_pictures():
    assert picture_path("runs/out.pdf").name == "out.pdf"
    with pytest.raises(InputError, match=r"--out=out.jpg; its suffix is one of .png"):
        picture_path("out.jpg")


def test_where_nothing_can_be_written_is_said_before_anything_is_computed(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.png").mkdir()
    for out, why in (("file/out.png", "file takes no files"), ("folder.png", "it is a folder")):
        with pytest.raises(InputError, match=rf"{out} cannot be written \(.*{why}\); name another"):
            picture_path(tmp_path / out)
    assert picture_path(tmp_path / "new" / "deep" / "out.png").parent.name == "deep"
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("curves", "--workdirs"),
        ("confusion", "--workdir"),
        ("ablation", "--field=seed", "--workdirs"),
        ("embedding", "--workdir"),
    ],
)
def test_without_a_run_there_is_one_line(tmp_path, capsys, words):
    picture, *options = words
    out = tmp_path / "out.png"
    assert main([picture, f"--out={out}", *options, str(tmp_path / "none")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and "none" in error
    assert not out.exists()


def test_a_run_without_a_test_is_no_advice_to_train_it_anew(tmp_path):
    """What was pre-trained there cannot be fine-tuned in the same directory."""
    for read in (read_results, read_predictions):
        with pytest.raises(InputError, match="is not there; name the work directory of a fine-tun"):
            read(tmp_path)


def test_results_are_read_as_they_are_written(tmp_path):
    top1 = ("top1_single_clip", "top1_single_view", "top1_multi_view")
    results = {
        **{"dataset": "ntu", "protocol": "ntu60_xsub", "split": "test", "clips": 5, "crops": 10},
        **dict.fromkeys(top1, 0.5),
        "count": dict.fromkeys(top1, 8),
        "interval_95": {key: [0.25, 0.75] for key in top1},
    }
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert read_results(tmp_path) == results
    results["interval_95"]["top1_multi_view"] = [0.6, 0.7]  # the accuracy is outside
    (tmp_path / "results.json").write_text(json.dumps(results))
    with pytest.raises(InputError, match=r"top1_multi_view is 0\.5 of 8, from 0\.6 to 0\.7"):
        read_results(tmp_path)
