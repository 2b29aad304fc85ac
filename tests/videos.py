"""Real videos for tests, written with PyAV."""

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8

Frame = UInt8[np.ndarray, "H W 3"]


def moving_pattern(frames: int, height: int = 120, width: int = 160, seed: int = 0) -> list[Frame]:
    """Smooth RGB waves that differ in every frame, with a bright block that moves."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    phases, speeds = rng.uniform(0, 6, 3), rng.uniform(0.1, 0.3, 3)
    images = []
    for t in range(frames):
        waves = [
            127 + 100 * np.sin(x / 15 + y / 20 + p + s * t)
            for p, s in zip(phases, speeds, strict=True)
        ]
        image = np.stack(waves, -1)
        left = (3 * t) % (width - 30)
        image[30:60, left : left + 30] = 240
        images.append(image.astype(np.uint8))
    return images


def write_video(
    path: Path,
    frames: Sequence[Frame],
    codec: str = "mpeg4",
    keyframe_every: int = 8,
    **options: str,
) -> Path:
    """Writes RGB frames at 30 a second; the suffix of `path` says which container.

    By `ffv1` without loss. `options` are those of the codec, by FFmpeg's names, with `_` for `-`.
    """
    options = {name.replace("_", "-"): value for name, value in options.items()}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30, options=options)
        stream.pix_fmt = "bgr0" if codec == "ffv1" else "yuv420p"
        stream.bit_rate = 4_000_000
        stream.gop_size = keyframe_every
        stream.codec_context.thread_count = 1
        stream.height, stream.width = frames[0].shape[:2]
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_csv(path: Path, rows: Sequence[Sequence[object]], header: str = "") -> Path:
    """Writes a manifest; the header is that of the required columns unless given."""
    lines = [header or "activity,view,path,label"]
    lines += [",".join(map(str, row)) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
