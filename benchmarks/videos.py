"""Videos to measure with."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.stream import VideoStream
from jaxtyping import UInt8
from sklearn.datasets import load_sample_image

PHOTOGRAPHS = ("china.jpg", "flower.jpg")  # 427 x 640, shipped with scikit-learn


def write_video(
    path: Path,
    rng: np.random.Generator,
    *,
    height: int,
    frames: int,
    codec: str,
    options: dict[str, str],
    noise: float = 0.0,
) -> None:
    """Writes a textured block that moves before a still texture, 16:9, 30 frames/s.

    Args:
        path: Of the video; its suffix says which container.
        rng: Of all that is random.
        height: In pixels.
        frames: Length.
        codec: Name of the encoder.
        options: The encoder's.
        noise: Of the camera, standard deviation in levels of 0 to 255.
    """
    width = height * 16 // 9
    back: UInt8[np.ndarray, "H W 3"] = cv2.resize(
        rng.integers(60, 200, (height // 8, width // 8, 3), np.uint8), (width, height)
    )
    tall, wide = height // 2, width * 9 // 64
    actor = cv2.resize(rng.integers(0, 256, (12, 6, 3), np.uint8), (wide, tall))
    grain = np.rint(rng.normal(0, noise, (2 * height, 2 * width, 1))).astype(np.int16)

    def pictures() -> Iterator[UInt8[np.ndarray, "H W 3"]]:
        for moment in range(frames):
            x = (100 + 4 * moment) % 550 * width // 640
            y = (90 + int(40 * np.sin(moment / 6))) * height // 360
            image = back.copy()
            image[y : y + tall, x : x + wide] = actor
            if noise:
                top, left = rng.integers(0, (height, width))
                image = np.clip(image + grain[top : top + height, left : left + width], 0, 255)
            yield image.astype(np.uint8)

    _write(path, (width, height), pictures(), codec, options)


def write_natural_video(path: Path, view: int, *, height: int, frames: int) -> None:
    """Writes a part of one photograph that moves across another, which moves too; MPEG-4, 16:9.

    Its frames cost as many bytes as those of real footage, which textures and rendered figures do
    not.

    Args:
        path: Of the video; its suffix says which container.
        view: Every number shows another part, at another pace.
        height: In pixels.
        frames: Length.
    """
    size = height * 16 // 9, height
    scene, other = (load_sample_image(PHOTOGRAPHS[(view + i) % 2]) for i in range(2))
    actor = cv2.resize(other[100:300, 200:300], (size[0] // 8, height // 2))

    def pictures() -> Iterator[UInt8[np.ndarray, "H W 3"]]:
        for moment in range(frames):
            across, down = (0.5 + 0.5 * np.sin(view + moment / pace) for pace in (20, 15))
            left, top = int(64 * across), int(103 * down)
            image = cv2.resize(scene[top : top + 324, left : left + 576], size)
            x, y = int(down * 0.8 * size[0]), int(across * 0.45 * height)
            image[y : y + actor.shape[0], x : x + actor.shape[1]] = actor
            yield image

    _write(path, size, pictures(), "mpeg4", {"b": "4000000"})


def _write(
    path: Path,
    size: tuple[int, int],
    pictures: Iterable[UInt8[np.ndarray, "H W 3"]],
    codec: str,
    options: dict[str, str],
) -> None:
    """Writes pictures of a size, width and height, as a video of 30 frames/s."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30, options=options)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
