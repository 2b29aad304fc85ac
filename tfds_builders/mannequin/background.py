"""The empty room as a camera sees it, by ray casting, at `SUPERSAMPLING` times the video's size."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from tfds_builders.mannequin.scene import (
    HEIGHT,
    MARGIN,
    SUPERSAMPLING,
    TEXELS,
    WALL_HEIGHT,
    WIDTH,
    Ball,
    Box,
    Camera,
    Image,
    Light,
    Setup,
    make_setup,
)

BRIGHT, DARK = 185, 50  # paint of a room, 0 to 255
FADING = 0.7, 0.25  # share of the paint; what is left of the contrasts

Pixels = Int[np.ndarray, " N"]  # indices into the flattened image
Look = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Background:
    """What one camera sees of the empty room, at the supersampled size, margins included."""

    image: UInt8[np.ndarray, "H W 3"]
    depth: Float[np.ndarray, "H W"]
    floor: Bool[np.ndarray, "H W"]

    def framed(self, left: int, top: int) -> "Background":
        """The part in a frame that begins `left` and `top` pixels from the middle one."""
        x, y = SUPERSAMPLING * (left + MARGIN[0]), SUPERSAMPLING * (top + MARGIN[1])
        part = slice(y, y + SUPERSAMPLING * HEIGHT), slice(x, x + SUPERSAMPLING * WIDTH)
        image = np.ascontiguousarray(self.image[part])
        return Background(image, self.depth[part], self.floor[part])


class Tracer:
    """Casts a ray through every pixel of a camera and keeps the nearest hits."""

    def __init__(self, camera: Camera) -> None:
        """Sees nothing yet."""
        self.camera = camera
        self.origin = camera.position
        self.rays = camera.rays()
        self.depth = np.full(len(self.rays), np.inf)
        self.colour = np.full((len(self.rays), 3), 0.5)

    def around(self, middle: Float[np.ndarray, "3"], radius: float) -> Pixels:
        """The pixels of a rectangle that holds a ball of this middle and radius."""
        column, row, depth = self.camera.project(middle)
        reach = 1.2 * self.camera.focal * radius / max(depth - radius, 0.3)
        (a, b), s = MARGIN, SUPERSAMPLING
        left, right = (
            np.clip(s * (column + a + r), 0, s * (WIDTH + 2 * a)) for r in (-reach, reach)
        )
        top, low = (np.clip(s * (row + b + r), 0, s * (HEIGHT + 2 * b)) for r in (-reach, reach))
        rows, columns = np.arange(int(top), int(low)), np.arange(int(left), int(right))
        return (rows[:, None] * s * (WIDTH + 2 * a) + columns).reshape(-1)

    def paint(self, pixels: Pixels, distance: np.ndarray, look: Look) -> None:
        """Where `distance`, of each of the pixels, is the nearest so far: sets depth and colour.

        `look` tells the colours of points, given these and their indices among the pixels.
        """
        hit = np.flatnonzero((distance > 0.05) & (distance < self.depth[pixels]))
        here = pixels[hit]
        self.depth[here] = distance[hit]
        self.colour[here] = look(self.origin + self.rays[here] * distance[hit, None], hit)


def corner(distance: np.ndarray) -> np.ndarray:
    """How the light fades towards a corner of the room, at this distance in metres."""
    return 1 - 0.3 * np.exp(-np.maximum(distance, 0) / 0.25)


def sample(texture: Image, column: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Texture colours at positions in metres from the upper left corner."""
    x, y = (TEXELS * a.astype(np.float32)[:, None] for a in (column, row))
    step = 30000  # remap takes at most 32767 rows
    parts = [
        cv2.remap(
            texture,
            x[k : k + step],
            y[k : k + step],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT,
        )
        for k in range(0, len(x), step)
    ]
    return np.concatenate([np.empty((0, 1, 3), np.float32), *parts])[:, 0]


def paint_room(tracer: Tracer, setup: Setup) -> None:
    """Floor and walls, with dark corners and the contact shadows of the furniture."""
    origin, rays, light = tracer.origin, tracer.rays, setup.light
    w, b = setup.half_width, setup.back
    everywhere = np.arange(len(rays))

    def floor(p: np.ndarray, hit: np.ndarray) -> np.ndarray:
        dark = corner(p[:, 2] + b) * corner(w - np.abs(p[:, 0]))
        for box in setup.boxes:
            if box.middle[1] - box.half[1] < 0.3:
                near = np.flatnonzero((np.abs(p - np.array(box.middle)) < 1.0).all(1))
                beyond = np.abs(to_box(box, p[near] - np.array(box.middle))) - np.array(box.half)
                gap = np.hypot(*np.maximum(beyond[:, [0, 2]], 0).T)
                dark[near] *= 1 - 0.5 * np.exp(-gap / 0.1)
        shade = light.shade(np.array([0.0, 1.0, 0.0]))
        return sample(setup.textures["floor"], p[:, 0] + w, p[:, 2] + b) * dark[:, None] * shade

    def wall(name: str, normal: tuple[float, float, float]) -> Look:
        def look(p: np.ndarray, hit: np.ndarray) -> np.ndarray:
            if name == "back":
                along, aside = p[:, 0] + w, w - np.abs(p[:, 0])
            else:
                along = aside = p[:, 2] + b
            dark = corner(p[:, 1]) * corner(aside)
            colours = sample(setup.textures[name], along, WALL_HEIGHT - p[:, 1])
            return colours * dark[:, None] * light.shade(np.array(normal))

        return look

    tracer.paint(everywhere, -origin[1] / rays[:, 1], floor)
    tracer.paint(everywhere, (-b - origin[2]) / rays[:, 2], wall("back", (0.0, 0.0, 1.0)))
    tracer.paint(everywhere, (-w - origin[0]) / rays[:, 0], wall("left", (1.0, 0.0, 0.0)))
    tracer.paint(everywhere, (w - origin[0]) / rays[:, 0], wall("right", (-1.0, 0.0, 0.0)))


def paint_box(tracer: Tracer, box: Box, light: Light) -> None:
    """A box, by the slab method in its own axes."""
    middle = np.array(box.middle)
    pixels = tracer.around(middle, float(np.linalg.norm(box.half)))
    start, way = to_box(box, tracer.origin - middle), to_box(box, tracer.rays[pixels])
    enter = (-np.sign(way) * box.half - start) / way
    leave = (np.sign(way) * box.half - start) / way
    face = enter.argmax(1)

    def look(p: np.ndarray, hit: np.ndarray) -> np.ndarray:
        normal = np.zeros((len(hit), 3))
        normal[np.arange(len(hit)), face[hit]] = -np.sign(way[hit, face[hit]])
        shade = light.shade(from_box(box, normal)) * corner(p[:, 1] + 0.05)[:, None]
        return np.array(box.colour) * shade

    inside = enter.max(1) < leave.min(1)
    tracer.paint(pixels, np.where(inside, enter.max(1), np.inf), look)


def paint_ball(tracer: Tracer, ball: Ball, light: Light) -> None:
    """A ball: the nearer root of its quadratic equation."""
    middle = np.array(ball.middle)
    pixels = tracer.around(middle, ball.radius)
    rays, away = tracer.rays[pixels], tracer.origin - middle
    square, half = (rays**2).sum(1), rays @ away
    root = half**2 - square * (away @ away - ball.radius**2)

    def look(p: np.ndarray, hit: np.ndarray) -> np.ndarray:
        return np.array(ball.colour) * light.shade((p - middle) / ball.radius)

    distance = (-half - np.sqrt(np.maximum(root, 0))) / square
    tracer.paint(pixels, np.where(root > 0, distance, np.inf), look)


def fade(image: UInt8[np.ndarray, "H W 3"], paint: int) -> UInt8[np.ndarray, "H W 3"]:
    """Paints a room and makes it calm, so that people, who wear the contrary, stand out.

    With rooms as colourful as people, a network of the demo's size spends the demo's minutes on the
    walls.
    """
    share, contrast = FADING
    mean = image.reshape(-1, 3).mean(axis=0)
    painted = share * paint + (1 - share) * mean + contrast * (image - mean)
    return np.clip(painted, 0, 255).astype(np.uint8)


@lru_cache(maxsize=24)
def make_background(seed: int, number: int, camera_number: int) -> Background:
    """The empty room of a set-up as one camera sees it."""
    setup = make_setup(seed, number)
    tracer = Tracer(setup.cameras[camera_number])
    with np.errstate(divide="ignore", invalid="ignore"):  # rays along a wall
        paint_room(tracer, setup)
        for box in setup.boxes:
            paint_box(tracer, box, setup.light)
        for ball in setup.balls:
            paint_ball(tracer, ball, setup.light)
    shape = SUPERSAMPLING * (HEIGHT + 2 * MARGIN[1]), SUPERSAMPLING * (WIDTH + 2 * MARGIN[0])
    image = np.clip(tracer.colour.reshape(*shape, 3) * 255, 0, 255).astype(np.uint8)
    height = tracer.origin[1] + tracer.rays[:, 1] * tracer.depth
    return Background(
        cv2.GaussianBlur(fade(image, DARK if setup.dark else BRIGHT), (3, 3), 0),
        tracer.depth.reshape(shape).astype(np.float32),
        (np.abs(height) < 1e-3).reshape(shape),
    )


def to_box(box: Box, v: np.ndarray) -> np.ndarray:
    """World directions in the box's own axes."""
    c, s = np.cos(box.yaw), np.sin(box.yaw)
    return v @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def from_box(box: Box, v: np.ndarray) -> np.ndarray:
    """The reverse of `to_box`."""
    c, s = np.cos(box.yaw), np.sin(box.yaw)
    return v @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
