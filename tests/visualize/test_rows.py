"""What is written is what was given, in each format, frame by frame."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from mv2mae_jax.errors import InputError
from mv2mae_jax.visualize import rows
from mv2mae_jax.visualize.rows import ACROSS, DPI, FRAME, Section, save

LEVELS = np.array([0.0, 0.35, 0.7, 1.0])
FRAME_PIXELS = (FRAME * DPI) ** 2
NOTE = "a note that is long enough to be wrapped into several lines on so narrow a picture " * 2


def sections() -> list[Section]:
    """More clips than there is room for beside one another: each plays its own order of greys."""
    clip = np.broadcast_to(LEVELS[:, None, None, None], (4, 16, 16, 3))
    rolled = {f"clip {n}\ntwo lines": np.roll(clip, n, axis=0) for n in range(ACROSS + 2)}
    return [Section("$a_title^ " * 30, rolled), Section("", {"input": clip})]


@pytest.mark.parametrize("suffix", ["gif", "mp4"])
def test_clips_play_as_they_are(tmp_path: Path, suffix: str):
    out = tmp_path / "new" / f"clips.{suffix}"
    save(sections(), 2, NOTE, out)
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        frames = np.stack([x.to_ndarray(format="rgb24") for x in container.decode(stream)])
        if suffix == "mp4":
            context = stream.codec_context
            assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
    count, height, width, _ = frames.shape
    assert count == len(LEVELS) and height % 2 == width % 2 == 0
    for shift, clips in ((0, 3), (1, 2), (2, 2), (3, 2)):  # clips 0, 4 and the input; 1 and 5; ...
        expected = 255 * np.roll(LEVELS, shift)[:, None, None]
        alike = (np.abs(frames[..., 1] - expected) < 8).all(axis=0)
        assert alike.sum() == pytest.approx(clips * FRAME_PIXELS, rel=0.05)


def test_a_page_has_one_frame_of_every_tubelet(tmp_path: Path):
    save(sections(), 2, NOTE, tmp_path / "page.png")
    page = np.array(Image.open(tmp_path / "page.png").convert("L"))
    first = page[:, (page == round(255 * 0.7)).any(axis=0)]
    assert {0, 178} <= set(np.unique(first))  # frames 1 and 3 of the clips
    greys = [(page == grey).sum() for grey in (89, 178)]
    assert min(greys) > 10_000


@pytest.mark.parametrize("suffix", ["gif", "mp4"])
def test_more_than_a_format_takes_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
):
    monkeypatch.setattr(rows, "SIDES", {".gif": 500, ".mp4": 500})
    with pytest.raises(InputError, match=rf"a side of \.{suffix} has at most 500; take fewer"):
        save(sections(), 2, NOTE, tmp_path / f"out.{suffix}")
    assert not any(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/out\.gif cannot be written"):
        save(sections(), 2, NOTE, tmp_path / "file" / "out.gif")
