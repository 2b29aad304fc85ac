"""The page shows the frames of the records, each view in its column."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from videos import moving_pattern, write_csv, write_video

from mv2mae_jax.data.records import Activity
from mv2mae_jax.visualize.contact_sheet import GREY, frame_numbers, mosaic


def test_rows_are_the_same_times_in_every_view() -> None:
    def frame(grey: int, height: int) -> UInt8[np.ndarray, "H 16 3"]:
        return np.full((height, 16, 3), grey, np.uint8)

    times = frame_numbers(Activity(0, "a", 0, "", "", {"1": 41, "2": 25}))
    assert times.tolist() == [0, 10, 20, 30, 40]
    long = np.stack([frame(2 * t, 16) for t in times])
    short = np.stack([frame(100 + 2 * t, 8) for t in times[:3]])
    picture = mosaic([long, short], len(times))
    assert picture.shape == (5 * 16, 2 * 16, 3)
    cells = picture.reshape(5, 16, 2, 16, 3)
    assert cells[:, 8, 0, 8, 0].tolist() == [0, 20, 40, 60, 80]
    assert cells[:, 4, 1, 8, 0].tolist() == [100, 120, 140, GREY, GREY]
    assert (cells[:, 8:, 1] == GREY).all()


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
    words = ["show", data, "--dataset=mine", f"--out={tmp_path / 'sheet.webp'}"]
    refused = subprocess.run([*command, *words], capture_output=True, text=True)
    assert refused.returncode == 2
    assert refused.stderr.endswith(
        f"error: argument --out: {tmp_path / 'sheet.webp'}: its suffix is one of .png, .pdf, .svg\n"
    )
