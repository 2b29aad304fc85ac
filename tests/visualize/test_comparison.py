"""predictions.csv as pictures: the confusion matrix again, and two runs beside one another."""

import cv2
import numpy as np
from tested import LABELS, NAMES, write_predictions

from mv2mae_jax.evaluation.confusion import draw_confusion
from mv2mae_jax.run_files import read_predictions
from mv2mae_jax.visualize.__main__ import main
from mv2mae_jax.visualize.confusion import compare


def test_the_matrix_is_the_one_that_testing_leaves(tmp_path):
    predicted = np.array([0, 1, 0, 0, 1, 0])
    run = write_predictions(tmp_path / "run", predicted)
    draw_confusion(LABELS, predicted, NAMES, tmp_path / "expected.png")
    assert main(["confusion", f"--workdir={run}", f"--out={tmp_path / 'out.png'}"]) == 0
    pictures = [cv2.imread(str(tmp_path / f"{name}.png")) for name in ("out", "expected")]
    np.testing.assert_array_equal(*pictures)
    assert main(["confusion", f"--workdir={run}", f"--out={tmp_path / 'out.pdf'}"]) == 0
    assert (tmp_path / "out.pdf").read_bytes().startswith(b"%PDF")


def test_who_wins_is_counted_by_video(tmp_path):
    """Of class 0 ours alone has one of four, theirs alone two; of class 1 ours alone both."""
    ours = write_predictions(tmp_path / "ours", np.array([0, 0, 1, 1, 1, 1]))
    theirs = write_predictions(tmp_path / "theirs", np.array([0, 1, 0, 0, 2, 0]))
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
    ours = write_predictions(tmp_path / "ours", LABELS)
    fewer = write_predictions(tmp_path / "fewer", LABELS[:4], LABELS[:4])
    others = write_predictions(tmp_path / "others", LABELS, LABELS[::-1])
    for other in (fewer, others):
        words = ["confusion", f"--workdir={ours}", f"--against={other}"]
        assert main([*words, f"--out={tmp_path / 'out.png'}"]) == 1
        assert "were tested on other videos" in capsys.readouterr().err
