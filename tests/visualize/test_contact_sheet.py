"""The page shows the frames of the records, each view in its column."""

import subprocess
import sys
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
import simplejpeg
from videos import moving_pattern, write_csv, write_video

from mv2mae_jax.data.records import Record
from mv2mae_jax.visualize.contact_sheet import TIMES, draw_activity


def test_rows_are_the_same_times_in_every_view() -> None:
    def jpeg(grey: int) -> bytes:
        return simplejpeg.encode_jpeg(np.full((16, 24, 3), grey, np.uint8))

    long, short = ([jpeg(offset + 2 * t) for t in range(n)] for offset, n in ((0, 41), (100, 25)))
    _, axes = plt.subplots(TIMES, 2)
    draw_activity(axes, Record("a", 0, {"1": long, "2": short}))
    shown = [[a.images[0].get_array().mean() if a.images else None for a in row] for row in axes]
    assert shown == [[0, 100], [20, 120], [40, 140], [60, None], [80, None]]


def test_the_command_draws_it(tmp_path: Path) -> None:
    for name in ("1.mp4", "2.mp4"):
        write_video(tmp_path / name, moving_pattern(8, 48, 64))
    rows = [("a", "left", "1.mp4", "wave"), ("a", "right", "2.mp4", "wave")]
    table = write_csv(tmp_path / "m.csv", rows, "activity,view,path,label")
    command = [sys.executable, "-m", "mv2mae_jax.prepare"]
    data = f"--data-dir={tmp_path}"
    for words in (
        ["manifest", f"--manifest={table}", "--name=mine", data],
        ["show", data, "--dataset=mine", f"--out={tmp_path / 'pictures/sheet.png'}"],
    ):
        done = subprocess.run([*command, *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    page = cv2.imread(str(tmp_path / "pictures/sheet.png"))
    assert page is not None and page.std() > 10
