"""predictions.csv as pictures: the confusion matrix again, and two runs beside one another."""

import cv2
import numpy as np
import pytest

from mv2mae_jax.data.records import Activity
from mv2mae_jax.data.samples import Video
from mv2mae_jax.errors import InputError
from mv2mae_jax.evaluation.confusion import draw_confusion
from mv2mae_jax.evaluation.predictions import Predictions, write_table
from mv2mae_jax.visualize.__main__ import main
from mv2mae_jax.visualize.confusion import compare, read_predictions

NAMES = ('drink, "slowly"', "$walk$", "né\N{PILE OF POO}")
LABELS = np.array([0, 0, 0, 0, 1, 1])


def write_run(folder, predicted, labels=LABELS):
    """Two views of each activity, in another order than that of their names."""
    folder.mkdir()
    videos = [
        Video(
            Activity(
                position=n // 2,
                id=f"a{9 - n // 2}",
                label=int(label),
                subject="",
                setup="",
                views={"1": 1, "2": 1},
            ),
            str(1 + n % 2),
        )
        for n, label in enumerate(labels)
    ]
    probabilities = np.full((len(labels), len(NAMES)), 0.1)
    probabilities[np.arange(len(labels)), predicted] = 0.8
    predictions = Predictions(videos, probabilities)
    write_table(folder / "predictions.csv", predictions, predictions, NAMES)
    return folder


def test_the_matrix_is_the_one_that_testing_leaves(tmp_path):
    predicted = np.array([0, 1, 0, 0, 1, 0])
    run = write_run(tmp_path / "run", predicted)
    draw_confusion(LABELS, predicted, NAMES, tmp_path / "expected.png")
    assert main(["confusion", f"--workdir={run}", f"--out={tmp_path / 'out.png'}"]) == 0
    pictures = [cv2.imread(str(tmp_path / f"{name}.png")) for name in ("out", "expected")]
    np.testing.assert_array_equal(*pictures)
    assert main(["confusion", f"--workdir={run}", f"--out={tmp_path / 'out.pdf'}"]) == 0
    assert (tmp_path / "out.pdf").read_bytes().startswith(b"%PDF")


def test_who_wins_is_counted_by_video(tmp_path):
    """Of class 0 ours alone has one of four, theirs alone two; of class 1 ours alone both."""
    ours = write_run(tmp_path / "ours", np.array([0, 0, 1, 1, 1, 1]))
    theirs = write_run(tmp_path / "theirs", np.array([0, 1, 0, 0, 2, 0]))
    classes = compare(read_predictions(ours), read_predictions(theirs))
    assert classes.names == [NAMES[1], NAMES[0]]
    assert classes.counts.tolist() == [2, 4]
    assert classes.ours.tolist() == [1, 0.25] and classes.theirs.tolist() == [0, 0.5]
    # Of one activity the difference cannot vary; of the two of class 0 it is 1/2 and -1.
    assert classes.intervals.tolist() == [[1, 1], [-1, 0.5]]
    words = ["confusion", f"--workdir={ours}", f"--against={theirs}"]
    assert main([*words, f"--out={tmp_path / 'out.png'}"]) == 0
    assert cv2.imread(str(tmp_path / "out.png")).std() > 10


def test_other_videos_are_not_compared(tmp_path, capsys):
    ours = write_run(tmp_path / "ours", LABELS)
    fewer = write_run(tmp_path / "fewer", LABELS[:4], LABELS[:4])
    others = write_run(tmp_path / "others", LABELS, LABELS[::-1])
    for other in (fewer, others):
        words = ["confusion", f"--workdir={ours}", f"--against={other}"]
        assert main([*words, f"--out={tmp_path / 'out.png'}"]) == 1
        assert "were tested on other videos" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [("a9,1,", "", 2), ("a9,2,", 'a9,"2', 2), ("activity", "actvity", 2), (",p(n", ",q(n", 4)],
)
def test_a_damaged_table_is_one_line(tmp_path, old, new, line):
    file = write_run(tmp_path / "run", np.array([0, 0, 2, 0, 1, 1])) / "predictions.csv"
    file.write_bytes(file.read_bytes().replace(old.encode(), new.encode()))
    with pytest.raises(InputError, match=rf"line {line} of .*predictions.csv is damaged"):
        read_predictions(file.parent)
    file.write_text("")
    with pytest.raises(InputError, match="no videos"):
        read_predictions(file.parent)


@pytest.mark.parametrize("missing", [1, 4, 20])
def test_a_cut_table_is_one_line(tmp_path, missing):
    file = write_run(tmp_path / "run", np.array([0, 0, 2, 0, 1, 1])) / "predictions.csv"
    file.write_bytes(file.read_bytes().rstrip()[:-missing])
    with pytest.raises(InputError, match=r"predictions.csv is damaged \(it ends within a row\)"):
        read_predictions(file.parent)
