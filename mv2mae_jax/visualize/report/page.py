"""The page as text: template, style and script in one file, with the data as JSON in it."""

import base64
import json
import math
from importlib.resources import files
from string import Template
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float

QUALITY = 95  # of pictures (WebP), of 100


def html(data: dict[str, Any]) -> str:
    """The whole page. All that is specific to a run is in its JSON, which scripts show as text."""
    folder = files(__package__)
    template, style, script = (
        folder.joinpath(f"report.{kind}").read_text(encoding="utf-8")
        for kind in ("html", "css", "js")
    )
    return Template(template).substitute(style=style, script=script, data=embedded_json(data))


def embedded_json(data: Any) -> str:
    """JSON that may stand in a script element: nothing in it can end the element.

    Raises:
      ValueError: a number is not finite, which JSON does not know.
    """
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def packed(array: np.ndarray) -> str:
    """The values of an array in C order, little-endian, as base64."""
    return base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode()


def sheet(frames: Float[np.ndarray, "T H W C"]) -> str:
    """Frames in [0, 1], of one or three channels, as one picture: rows of `columns_of(T)`."""
    count, height, width, channels = frames.shape
    columns = columns_of(count)
    cells = np.zeros((math.ceil(count / columns) * columns, height, width, channels), np.uint8)
    cells[:count] = np.rint(255 * np.clip(frames, 0, 1))
    rows = cells.reshape(-1, columns, height, width, channels).swapaxes(1, 2)
    picture = rows.reshape(-1, columns * width, channels)[..., ::-1]  # OpenCV: blue first
    _, encoded = cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    return "data:image/webp;base64," + base64.b64encode(encoded.tobytes()).decode()


def columns_of(count: int) -> int:
    """Frames beside one another in a sheet of so many: about as many as below one another."""
    return math.ceil(math.sqrt(count))
