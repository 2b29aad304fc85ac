"""A set-up: a room with clutter and light, and the three cameras that look into it.

World axes: metres, right-handed, y up, floor at y = 0, the actor's area around the origin. A camera
at azimuth a stands in the direction (sin a, 0, cos a): camera 1 at 0, 2 at +45, 3 at -45 degrees.
Colours are BGR in 0 to 1.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float

WIDTH, HEIGHT = 160, 120
MARGIN = 40, 32  # what a camera sees beyond the video's frame, left and right, above and below
SUPERSAMPLING = 2
AZIMUTHS = {1: 0.0, 2: np.pi / 4, 3: -np.pi / 4}
TEXELS = 90  # texture pixels a metre
WALL_HEIGHT = 3.2

Image = Float[np.ndarray, "H W 3"]


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: position in metres, rows right, up, forward, focal length in pixels."""

    position: Float[np.ndarray, "3"]
    axes: Float[np.ndarray, "3 3"]
    focal: float
    centre: tuple[float, float] = (WIDTH / 2, HEIGHT / 2)

    def framed(self, left: float, top: float) -> "Camera":
        """The camera whose frame begins `left` and `top` pixels from where this one's begins."""
        return replace(self, centre=(self.centre[0] - left, self.centre[1] - top))

    @classmethod
    def looking(
        cls, position: Float[np.ndarray, "3"], at: Float[np.ndarray, "3"], focal: float
    ) -> "Camera":
        """A level camera at `position` whose middle pixel sees `at`."""
        forward = (at - position) / np.linalg.norm(at - position)
        right = np.cross(forward, [0.0, 1.0, 0.0])
        right /= np.linalg.norm(right)
        return cls(position, np.stack([right, np.cross(right, forward), forward]), focal)

    def project(self, points: Float[np.ndarray, "... 3"]) -> Float[np.ndarray, "... 3"]:
        """World points to column, row (pixels from the upper left corner) and depth (metres)."""
        local = (points - self.position.astype(points.dtype)) @ self.axes.T.astype(points.dtype)
        depth = np.maximum(local[..., 2], 0.05)
        return np.stack(
            [
                self.centre[0] + self.focal * local[..., 0] / depth,
                self.centre[1] - self.focal * local[..., 1] / depth,
                local[..., 2],
            ],
            -1,
        )

    def rays(self) -> Float[np.ndarray, "P 3"]:
        """The direction of every supersampled pixel, margins included, of depth 1, row by row."""
        (a, b), s = MARGIN, SUPERSAMPLING
        u = (np.arange(s * (WIDTH + 2 * a)) + 0.5) / s - a - self.centre[0]
        v = self.centre[1] + b - (np.arange(s * (HEIGHT + 2 * b)) + 0.5) / s
        grid = np.stack(np.broadcast_arrays(u[None] / self.focal, v[:, None] / self.focal, 1.0), -1)
        return grid.reshape(-1, 3) @ self.axes


@dataclass(frozen=True)
class Box:
    """A box standing on the floor or hanging: middle, half sizes, yaw, colour."""

    middle: tuple[float, float, float]
    half: tuple[float, float, float]
    yaw: float
    colour: tuple[float, float, float]


@dataclass(frozen=True)
class Ball:
    """A ball: middle, radius, colour; balls are the leaves of plants."""

    middle: tuple[float, float, float]
    radius: float
    colour: tuple[float, float, float]


@dataclass(frozen=True)
class Light:
    """One distant lamp and light from all around: direction to the lamp, colours, ambient share."""

    direction: Float[np.ndarray, "3"]
    colour: Float[np.ndarray, "3"]
    ambient: float

    def shade(
        self, normal: Float[np.ndarray, "... 3"], wrap: float = 0.0
    ) -> Float[np.ndarray, "... 3"]:
        """What a white Lambert surface of this normal sends back, BGR.

        Ambient light comes more from above. `wrap` lets the lamp reach round edges, as large lamps
        do: 0 is a point.
        """
        lambert = np.maximum((normal @ self.direction.astype(normal.dtype) + wrap) / (1 + wrap), 0)
        level = self.ambient * (0.8 + 0.2 * normal[..., 1]) + (1 - self.ambient) * lambert
        return level[..., None] * self.colour.astype(normal.dtype)


@dataclass(frozen=True)
class Setup:
    """Everything that a set-up fixes.

    Every third room is dark, and people wear pale clothes in it: what is darker than its
    surroundings is not always a person, or pixels would tell an action to a linear classifier.
    """

    dark: bool
    half_width: float
    back: float
    textures: dict[str, Image]
    boxes: tuple[Box, ...]
    balls: tuple[Ball, ...]
    light: Light
    cameras: dict[int, Camera]
    stool: tuple[float, float, float]
    noise: float


def clouds(
    rng: np.random.Generator, height: int, width: int, coarsest: int
) -> Float[np.ndarray, "H W"]:
    """Smooth random texture around 0 with structures of `coarsest` pixels and below."""
    out = np.zeros((height, width), np.float32)
    size, weight = float(coarsest), 1.0
    while size >= 2:
        grid = rng.normal(size=(int(height / size) + 2, int(width / size) + 2)).astype(np.float32)
        out += weight * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        size, weight = size / 2, weight * 0.6
    return out / 2


def tint(rng: np.random.Generator, low: float, high: float, colourful: float) -> np.ndarray:
    """A random colour of mean brightness between `low` and `high`."""
    hue = 1 + colourful * rng.uniform(-1, 1, 3)
    return np.clip(rng.uniform(low, high) * hue / hue.mean(), 0.02, 0.98)


def floor_texture(rng: np.random.Generator, size: float) -> Image:
    """A floor of planks, tiles, carpet or stone, `size` metres square."""
    n = int(size * TEXELS)
    base = tint(rng, 0.3, 0.6, 0.15)
    image = np.tile(base, (n, n, 1)).astype(np.float32)
    kind = rng.choice(["planks", "tiles", "carpet", "stone"])
    if kind == "planks":
        wide = int(rng.uniform(0.12, 0.22) * TEXELS)
        for row in range(0, n, wide):
            for start in np.cumsum(rng.integers(TEXELS // 2, 2 * TEXELS, 40)) - TEXELS:
                image[row : row + wide, max(start, 0) :] = base * rng.uniform(0.85, 1.12)
            image[row : row + 1] *= 0.7
        image *= 1 + 0.08 * cv2.resize(clouds(rng, n, n // 12, 8), (n, n))[..., None]
    elif kind == "tiles":
        wide = int(rng.uniform(0.3, 0.6) * TEXELS)
        other = base * rng.uniform(0.75, 1.2)
        i, j = np.indices((n, n)) // wide
        image[(i + j) % 2 == 1] = other
        image[(np.indices((n, n)) % wide < 2).any(0)] *= 0.75
        image *= 1 + 0.05 * clouds(rng, n, n, 32)[..., None]
    elif kind == "carpet":
        image *= 1 + 0.12 * clouds(rng, n, n, 6)[..., None]
    else:
        image *= 1 + 0.13 * clouds(rng, n, n, 64)[..., None]
    return cv2.GaussianBlur(image, (0, 0), 1.5)  # or far joints would alias


def wall_texture(rng: np.random.Generator, width: float) -> Image:
    """A wall with what hangs on it, `width` metres by `WALL_HEIGHT`, upper row first."""
    n, m = int(width * TEXELS), int(WALL_HEIGHT * TEXELS)
    base = tint(rng, 0.45, 0.78, 0.18)
    image = np.tile(base, (m, n, 1)).astype(np.float32)
    kind = rng.choice(["plain", "bricks", "stripes", "panel"])
    if kind == "bricks":
        tall, wide = int(0.1 * TEXELS), int(0.3 * TEXELS)
        for k, row in enumerate(range(0, m, tall)):
            for left in range(-wide * (k % 2) // 2, n, wide):
                image[row : row + tall - 1, max(left, 0) : left + wide - 1] = base * rng.uniform(
                    0.82, 1.05
                )
    elif kind == "stripes":
        wide = int(rng.uniform(0.1, 0.3) * TEXELS)
        image[:, (np.arange(n) // wide) % 2 == 0] *= rng.uniform(0.85, 0.95)
    elif kind == "panel":
        image[int(m * 0.65) :] = tint(rng, 0.25, 0.6, 0.2)
    for _ in range(rng.integers(1, 4)):  # posters, boards, windows
        tall, wide = int(rng.uniform(0.4, 1.1) * TEXELS), int(rng.uniform(0.4, 1.4) * TEXELS)
        x, y = rng.integers(0, max(n - wide, 1)), int(m - rng.uniform(1.3, 2.3) * TEXELS - tall / 2)
        cv2.rectangle(
            image,
            (int(x) - 3, y - 3),
            (int(x) + wide + 3, y + tall + 3),
            tint(rng, 0.1, 0.8, 0.2).tolist(),
            -1,
        )
        paper = np.tile(tint(rng, 0.3, 0.9, 0.6), (tall, wide, 1)).astype(np.float32)
        for _ in range(rng.integers(2, 7)):
            a, b = rng.integers(0, (wide, tall)), rng.integers(4, 5 + min(wide, tall) // 3)
            colour = tint(rng, 0.1, 0.9, 0.7).tolist()
            if rng.uniform() < 0.5:
                cv2.circle(paper, a.tolist(), int(b), colour, -1)
            else:
                cv2.rectangle(paper, a.tolist(), (a + b).tolist(), colour, -1)
        y0 = max(y, 0)
        image[y0 : y + tall, int(x) : int(x) + wide] = paper[y0 - y :, : n - int(x)]
    image[-int(0.09 * TEXELS) :] = tint(rng, 0.2, 0.8, 0.1)
    return image * (1 + 0.025 * clouds(rng, m, n, 48)[..., None])


def draw_furniture(
    rng: np.random.Generator, half_width: float, back: float
) -> tuple[list[Box], list[Ball]]:
    """Shelves, cartons, tables and plants along the walls, and sometimes something low in front."""
    boxes: list[Box] = []
    balls: list[Ball] = []

    def colour(
        low: float = 0.15, high: float = 0.8, colourful: float = 0.4
    ) -> tuple[float, float, float]:
        b, g, r = tint(rng, low, high, colourful)
        return float(b), float(g), float(r)

    def standing(
        x: float, z: float, half: tuple[float, float, float], yaw: float, above: float = 0.0
    ) -> None:
        boxes.append(Box((x, above + half[1], z), half, yaw, colour()))

    spots = [(x, -back + 0.3, 0.0) for x in np.arange(-half_width + 0.5, half_width, 1.1)] + [
        (s * (half_width - 0.3), z, np.pi / 2)
        for s in (-1, 1)
        for z in np.arange(-back + 1.0, 0.6, 1.1)
    ]
    for index in rng.permutation(len(spots))[: rng.integers(5, 9)]:
        x, z, yaw = spots[index]
        kind = rng.choice(["carton", "shelf", "table", "plant"])
        if kind == "carton":
            half = tuple(rng.uniform(0.12, 0.3, 3))
            standing(x, z, half, yaw + rng.uniform(-0.5, 0.5))
            if rng.uniform() < 0.5:
                standing(x, z, tuple(rng.uniform(0.08, 0.2, 3)), rng.uniform(0, 1.5), 2 * half[1])
        elif kind == "shelf":
            wood, tall = colour(0.25, 0.6, 0.3), rng.uniform(0.9, 1.9)
            for y in np.arange(0.1, tall, 0.4):
                boxes.append(Box((x, y, z), (0.4, 0.02, 0.17), yaw, wood))
                for step in np.arange(-0.33, 0.33, 0.13):
                    if rng.uniform() < 0.6:
                        half_tall = rng.uniform(0.07, 0.15)
                        boxes.append(
                            Box(
                                (
                                    x + step * np.cos(yaw),
                                    y + 0.02 + half_tall,
                                    z - step * np.sin(yaw),
                                ),
                                (0.055, half_tall, 0.1),
                                yaw,
                                colour(),
                            )
                        )
        elif kind == "table":
            wood, tall = colour(0.25, 0.6, 0.3), rng.uniform(0.6, 0.8)
            boxes.append(Box((x, tall, z), (0.45, 0.025, 0.25), yaw, wood))
            for side in (-0.4, 0.4):
                boxes.append(
                    Box(
                        (x + side * np.cos(yaw), tall / 2, z - side * np.sin(yaw)),
                        (0.03, tall / 2, 0.2),
                        yaw,
                        wood,
                    )
                )
            standing(x, z, (0.035, 0.05, 0.035), 0.3, tall + 0.02)
        else:
            pot, tall = rng.uniform(0.12, 0.18), rng.uniform(0.5, 1.1)
            standing(x, z, (pot, pot * 1.3, pot), 0.3)
            green = np.array([0.15, 0.4, 0.18]) * rng.uniform(0.6, 1.3)
            for _ in range(7):
                dx, dy, dz = np.clip(rng.normal(0, 0.1, 3), -0.13, 0.13)
                b, g, r = np.clip(green * rng.uniform(0.7, 1.3), 0, 1)
                balls.append(
                    Ball((x + dx, tall + 1.5 * dy, z + dz), rng.uniform(0.09, 0.17), (b, g, r))
                )
    if rng.uniform() < 0.6:
        azimuth = rng.choice(list(AZIMUTHS.values())) + rng.choice([-1, 1]) * rng.uniform(0.08, 0.3)
        away = rng.uniform(1.85, 2.1)
        half = (rng.uniform(0.15, 0.3), rng.uniform(0.3, 0.42), rng.uniform(0.15, 0.25))
        standing(
            away * np.sin(azimuth), away * np.cos(azimuth), half, azimuth + rng.uniform(-0.4, 0.4)
        )
    return boxes, balls


@lru_cache(maxsize=8)
def make_setup(seed: int, number: int) -> Setup:
    """Set-up `number` of the data set of this seed."""
    rng = np.random.default_rng([seed, 1, number])
    half_width, back = rng.uniform(3.6, 4.3), rng.uniform(2.5, 3.3)
    azimuth, elevation = rng.uniform(-1.3, 1.3), rng.uniform(0.85, 1.25)
    warm = rng.uniform(-0.1, 0.1)
    light = Light(
        np.array(
            [
                np.sin(azimuth) * np.cos(elevation),
                np.sin(elevation),
                np.cos(azimuth) * np.cos(elevation),
            ]
        ),
        rng.uniform(1.1, 1.45) * np.array([1 - warm, 1.0, 1 + warm]),
        rng.uniform(0.45, 0.65),
    )
    cameras = {}
    distance, high = rng.uniform(3.6, 4.6), rng.uniform(1.0, 2.2)
    for number_of_camera, angle in AZIMUTHS.items():
        away, y = distance * rng.uniform(0.95, 1.05), high + rng.uniform(-0.1, 0.1)
        aim = np.array([rng.uniform(-0.1, 0.1), rng.uniform(0.8, 1.15), 0.0])
        cameras[number_of_camera] = Camera.looking(
            np.array([away * np.sin(angle), y, away * np.cos(angle)]),
            aim,
            float(rng.uniform(96, 102) / 1.75 * np.hypot(away, y - aim[1])),
        )
    boxes, balls = draw_furniture(rng, half_width, back)
    textures = {
        "floor": floor_texture(rng, 2 * half_width),
        "back": wall_texture(rng, 2 * half_width),
        "left": wall_texture(rng, 8.0),
        "right": wall_texture(rng, 8.0),
    }
    b, g, r = tint(rng, 0.6, 0.8, 0.3)
    stool = (float(b), float(g), float(r))
    return Setup(
        number % 3 == 0,
        half_width,
        back,
        textures,
        tuple(boxes),
        tuple(balls),
        light,
        cameras,
        stool,
        float(rng.uniform(1.5, 3.5)),
    )
