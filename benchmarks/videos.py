"""Videos to measure with."""

from pathlib import Path

import av
import cv2
import numpy as np
from av.video.stream import VideoStream
from jaxtyping import UInt8


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
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30, options=options)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for moment in range(frames):
            x = (100 + 4 * moment) % 550 * width // 640
            y = (90 + int(40 * np.sin(moment / 6))) * height // 360
            image = back.copy()
            image[y : y + tall, x : x + wide] = actor
            if noise:
                top, left = rng.integers(0, (height, width))
                image = np.clip(image + grain[top : top + height, left : left + width], 0, 255)
            frame = av.VideoFrame.from_ndarray(image.astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
