"""The picture's colours are the shares of the rows, read back from its pixels."""

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pytest

from mv2mae_jax.evaluation import confusion
from mv2mae_jax.evaluation.confusion import draw_confusion


@pytest.mark.parametrize("classes", [40, 120])
def test_cells_have_the_colours_of_their_shares(tmp_path, classes):
    """Classes 0 to 3: right, half right, always taken for the last one, not there."""
    labels = np.array([0] * 3 + [1] * 4 + [2] * 5 + list(range(4, classes)))
    predicted = labels.copy()
    predicted[3:5] = 0
    predicted[7:12] = classes - 1
    draw_confusion(
        labels, predicted, tuple(f"class {i}" for i in range(classes)), tmp_path / "c.png"
    )
    cells = read_cells(tmp_path / "c.png", classes)
    expected = np.zeros((classes, classes))
    np.fill_diagonal(expected, 1)
    expected[1, [0, 1]] = 0.5
    expected[2, [2, classes - 1]] = 0, 1
    colours = 255 * plt.get_cmap("Blues")(np.sqrt(expected))[..., :3]
    colours[3] = 0.85 * 255
    np.testing.assert_allclose(cells, colours, atol=3)


def read_cells(path, classes):
    """Colours [classes classes RGB] in the middle of the cells, found by the frame around them."""
    picture = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    black = (picture < 100).all(axis=2)
    rows = np.flatnonzero(black.sum(axis=1) > 0.6 * picture.shape[1])
    columns = np.flatnonzero(black.sum(axis=0) > 0.6 * picture.shape[0])
    top, bottom, left, right = rows[0], rows[-1], columns[0], columns[-1]
    # Names must fit beside each other: eight points are 12 pixels high at this resolution.
    assert (bottom - top) / classes > 14 and (right - left) / classes > 14
    middle = (np.arange(classes) + 0.5) / classes
    y = np.rint(top + middle * (bottom - top)).astype(int)
    x = np.rint(left + middle * (right - left)).astype(int)
    return picture[y[:, None], x]


def test_a_thousand_classes_are_not_a_picture_that_no_memory_holds(tmp_path):
    classes = 1000
    labels = np.arange(classes)
    names = tuple(f"sign {i}" for i in range(classes))
    draw_confusion(labels, labels, names, tmp_path / "c.png")
    assert max(cv2.imread(str(tmp_path / "c.png")).shape) < 46 * 110


def test_few_classes_show_their_counts(tmp_path, monkeypatch):
    """At (column, row), which are the predicted and the true class."""
    figures = []
    monkeypatch.setattr(confusion, "save_figure", lambda figure, _: figures.append(figure))
    draw_confusion(
        np.array([0, 1, 1, 1]), np.array([0, 0, 0, 1]), ("no", "yes"), tmp_path / "x.png"
    )
    texts = figures[0].axes[0].texts
    assert {(*text.get_position(), text.get_text()) for text in texts} == {
        (0, 0, "1"),
        (0, 1, "2"),
        (1, 1, "1"),
    }
