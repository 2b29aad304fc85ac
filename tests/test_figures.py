"""Figures are written, and what they cannot show is said in one line."""

import warnings
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import pytest
from etils import epath

from mv2mae_jax.figures import save_figure


@pytest.mark.parametrize(
    ("title", "says"), [("stir: é, ß, راه", []), ("\ue000\ue001 \ue000", ["boxes for 2 letters"])]
)
def test_letters_that_no_font_has_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, title: str, says: list[str]
) -> None:
    figure, axis = plt.subplots()
    axis.set_title(title)
    save_figure(figure, epath.Path(tmp_path / "a.png"))
    assert cv2.imread(str(tmp_path / "a.png")).shape[0] > 100
    assert [text in record.message for text, record in zip(says, caplog.records, strict=True)] == [
        True for _ in says
    ]


def test_other_warnings_are_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure, _ = plt.subplots()
    monkeypatch.setattr(figure, "savefig", lambda *_, **__: warnings.warn("odd", stacklevel=1))
    with pytest.raises(UserWarning, match="odd"):
        save_figure(figure, epath.Path(tmp_path / "a.png"))
