"""Balls that bounce through the room of a performance: what moves and is not the action."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from tfds_builders.mannequin.actions import FRAME_RATE
from tfds_builders.mannequin.figure import Surface
from tfds_builders.mannequin.scene import tint
from tfds_builders.mannequin.staging import Staging

GRAVITY = 9.81
FLOOR = (-2.2, 2.2), (-2.3, 1.2)  # bounds along x and z, in metres, at which they turn back
RINGS, SIDES = 6, 10  # of the facets of a ball


@dataclass(frozen=True)
class BouncingBall:
    """A ball: its middle at every time, radius (both in metres), colour (BGR, 0 to 1)."""

    middle: Float[np.ndarray, "T 3"]
    radius: float
    colour: Float[np.ndarray, "3"]

    @classmethod
    def draw(cls, rng: np.random.Generator, frames: int) -> "BouncingBall":
        """A ball of random place, way, speed and height of bouncing."""
        time = np.arange(frames) / FRAME_RATE
        radius, way = rng.uniform(0.09, 0.18), rng.uniform(0, 2 * np.pi)
        path = rng.uniform(0.3, 1.5) * time  # metres
        across = [
            _reflected(rng.uniform(*bounds) + path * share, *bounds)
            for bounds, share in zip(FLOOR, (np.sin(way), np.cos(way)), strict=True)
        ]
        period = rng.uniform(0.5, 1.1)  # seconds between two bounces, at full height
        phase = (time / period + rng.uniform()) % 1
        height = rng.uniform(0, 1) * GRAVITY * period**2 / 8
        up = radius + 4 * height * phase * (1 - phase)
        middle = np.stack([across[0], up, across[1]], axis=-1)
        return cls(middle, float(radius), tint(rng, 0.1, 0.9, 0.8))

    def surface(self) -> Surface:
        """The ball as it moves."""
        vertices, facets = _sphere()
        moving = self.middle[:, None] + self.radius * vertices
        colours = np.tile(self.colour, (len(facets), 1))
        return Surface(moving.astype(np.float32), facets, colours)


def _reflected(track: Float[np.ndarray, " T"], low: float, high: float) -> np.ndarray:
    """A straight track, thrown back at both bounds."""
    wide = high - low
    return high - np.abs((track - low) % (2 * wide) - wide)


def draw_balls(staging: Staging, frames: int, seed: Sequence[int]) -> list[BouncingBall]:
    """The balls of a performance of so many frames."""
    rng = np.random.default_rng(seed)
    count = rng.integers(*staging.balls, endpoint=True)
    return [BouncingBall.draw(rng, frames) for _ in range(count)]


def _sphere() -> tuple[Float[np.ndarray, "V 3"], Int[np.ndarray, "F 4"]]:
    """Vertices of the unit sphere, and facets between them."""
    polar = np.linspace(1e-3, np.pi - 1e-3, RINGS + 1)[:, None]
    angle = 2 * np.pi * np.arange(SIDES) / SIDES
    x, y, z = np.sin(polar) * np.sin(angle), np.cos(polar), np.sin(polar) * np.cos(angle)
    vertices = np.stack(np.broadcast_arrays(x, y, z), axis=-1).reshape(-1, 3)
    ring, side = np.divmod(np.arange(RINGS * SIDES), SIDES)
    here, beside = ring * SIDES + side, ring * SIDES + (side + 1) % SIDES
    return vertices, np.stack([here, here + SIDES, beside + SIDES, beside], axis=-1)
