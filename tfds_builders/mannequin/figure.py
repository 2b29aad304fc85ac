"""The figure's surface: four-cornered facets whose vertices are fixed to one bone or shared by two.

Every part is a tube, rings around a line, or a small plate. Tables of rings are in body heights.
Colours are BGR in 0 to 1 (OpenCV's order).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from tfds_builders.mannequin.actions import SEATED
from tfds_builders.mannequin.body import INDEX, SIDES, STANDING, Motion, Proportions

Colour = tuple[float, float, float]
Rings = Float[
    np.ndarray, "N 5"
]  # middle x, y, z, half width in x, half depth in z; from top to bottom

SKIN: tuple[Colour, ...] = (
    (0.68, 0.79, 0.95),
    (0.58, 0.70, 0.90),
    (0.47, 0.60, 0.82),
    (0.36, 0.49, 0.70),
    (0.27, 0.37, 0.55),
    (0.20, 0.27, 0.41),
)
HAIR: tuple[Colour, ...] = (
    (0.06, 0.06, 0.07),
    (0.08, 0.13, 0.22),
    (0.15, 0.28, 0.45),
    (0.35, 0.62, 0.82),
    (0.55, 0.55, 0.58),
)
# Height, middle z, half width, half depth; the origin lies below the chin, at the top of the neck.
HEAD = np.array(
    [
        (0.128, 0.004, 0.002, 0.002),
        (0.120, 0.004, 0.024, 0.030),
        (0.100, 0.005, 0.041, 0.050),
        (0.078, 0.006, 0.046, 0.057),
        (0.056, 0.008, 0.046, 0.057),
        (0.036, 0.011, 0.043, 0.053),
        (0.018, 0.015, 0.036, 0.047),
        (0.002, 0.020, 0.024, 0.034),
        (-0.008, 0.022, 0.004, 0.004),
    ]
)
NOSE = np.array(
    [(0.070, 0.060, 0.003, 0.003), (0.050, 0.066, 0.008, 0.012), (0.043, 0.062, 0.005, 0.006)]
)
LONG_HAIR = np.array(
    [
        (0.090, -0.030, 0.030, 0.020),
        (0.030, -0.036, 0.047, 0.024),
        (-0.030, -0.036, 0.045, 0.022),
        (-0.060, -0.034, 0.025, 0.012),
    ]
)
# From the wrist.
HAND = np.array(
    [
        (0.000, 0.000, 0.013, 0.016),
        (-0.020, 0.000, 0.0165, 0.023),
        (-0.050, 0.000, 0.0155, 0.024),
        (-0.078, 0.003, 0.011, 0.017),
        (-0.090, 0.004, 0.002, 0.004),
    ]
)
# From the ankle.
FOOT = np.array(
    [
        (0.012, 0.015, 0.020, 0.025),
        (-0.006, 0.025, 0.029, 0.052),
        (-0.023, 0.036, 0.031, 0.070),
        (-0.041, 0.038, 0.032, 0.074),
        (-0.0415, 0.038, 0.002, 0.002),
    ]
)
# Along z, in metres: inside, rim and bottom.
CUP = np.array(
    [
        (0.050, 0.000, 0.001, 0.001),
        (0.055, 0.000, 0.038, 0.038),
        (-0.055, 0.000, 0.030, 0.030),
        (-0.055, 0.000, 0.001, 0.001),
    ]
)
LIE = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])  # turns y to z


@dataclass(frozen=True)
class Subject:
    """Who acts: body, speed (1 = average) and looks."""

    body: Proportions
    speed: float
    skin: Colour
    hair: Colour
    haircut: str
    shirt: Colour
    cap: Colour
    long_sleeves: bool
    trousers: Colour
    long_trousers: bool
    shoes: Colour

    @classmethod
    def draw(cls, rng: np.random.Generator, pale: bool) -> "Subject":
        """A random person, in dark or in pale clothes."""

        def cloth(dark: float, bright: float) -> Colour:
            hue, grey = rng.uniform(0, 1, 3), rng.uniform(0.3, 0.95)
            level = rng.uniform(dark, bright) + 0.6 * pale
            b, g, r = np.clip(level * (grey + (1 - grey) * (hue / hue.mean())), 0.05, 0.95)
            return float(b), float(g), float(r)

        shirt = cloth(0.08, 0.3)
        b, g, r = np.clip(
            np.array(shirt) * rng.choice([0.45, 1.8]) + rng.uniform(0, 0.1, 3), 0, 0.95
        )
        return cls(
            body=Proportions(
                height=float(rng.uniform(1.54, 1.9)),
                legs=float(rng.uniform(0.96, 1.04)),
                arms=float(rng.uniform(0.95, 1.05)),
                shoulders=float(rng.uniform(0.9, 1.1)),
                girth=float(rng.uniform(0.88, 1.3)),
            ),
            speed=float(rng.uniform(0.88, 1.14)),
            skin=SKIN[rng.integers(len(SKIN))],
            hair=HAIR[rng.integers(len(HAIR))],
            haircut=str(rng.choice(["short", "long", "cap", "bald"], p=[0.5, 0.3, 0.12, 0.08])),
            shirt=shirt,
            cap=(float(b), float(g), float(r)),
            long_sleeves=bool(rng.uniform() < 0.9),
            trousers=cloth(0.05, 0.25),
            long_trousers=bool(rng.uniform() < 0.95),
            shoes=cloth(0.08, 0.3),
        )


class Surface(NamedTuple):
    """What is drawn: facets between moving vertices (metres), and their colours (BGR, 0 to 1).

    Seen from outside, the corners of a facet go round counterclockwise.
    """

    vertices: Float[np.ndarray, "T V 3"]
    facets: Int[np.ndarray, "F 4"]
    colours: Float[np.ndarray, "F 3"]


def merge(surfaces: Sequence[Surface]) -> Surface:
    """Several surfaces as one."""
    return Surface(
        np.concatenate([surface.vertices for surface in surfaces], axis=1),
        _numbered_on(
            [surface.facets for surface in surfaces], [s.vertices.shape[1] for s in surfaces]
        ),
        np.concatenate([surface.colours for surface in surfaces]),
    )


def _numbered_on(
    facets: Sequence[Int[np.ndarray, "_ 4"]], counts: Sequence[int]
) -> Int[np.ndarray, "F 4"]:
    """The facets of parts that have so many vertices, when these come one part after the other."""
    starts = np.cumsum([0, *counts[:-1]])
    return np.concatenate([part + start for part, start in zip(facets, starts, strict=True)])


@dataclass(frozen=True)
class Mesh:
    """Facets on bones.

    A vertex lies at `first` in the frame of its first bone and at `second` in that of its second;
    its place is the mean of both, the second counting `share`. Seen from outside, the corners of a
    facet go round counterclockwise.
    """

    first: Float[np.ndarray, "V 3"]
    second: Float[np.ndarray, "V 3"]
    bones: Int[np.ndarray, "V 2"]
    share: Float[np.ndarray, " V"]
    facets: Int[np.ndarray, "F 4"]
    colours: Float[np.ndarray, "F 3"]

    def vertices(self, motion: Motion) -> Float[np.ndarray, "T V 3"]:
        """Every vertex at every time, in metres, float32."""
        rotation = motion.rotation.astype(np.float32)

        def place(
            bones: Int[np.ndarray, " N"], local: Float[np.ndarray, "N 3"]
        ) -> Float[np.ndarray, "T N 3"]:
            out = motion.origin[:, bones].astype(np.float32)
            for bone in np.unique(bones):
                mine = bones == bone
                out[:, mine] += local[mine].astype(np.float32) @ rotation[:, bone].swapaxes(1, 2)
            return out

        out = place(self.bones[:, 0], self.first)
        shared = np.flatnonzero(self.share)
        other = place(self.bones[shared, 1], self.second[shared])
        weight = self.share[shared, None].astype(np.float32)
        out[:, shared] += weight * (other - out[:, shared])
        return out

    def surface(self, motion: Motion) -> Surface:
        """The mesh as it moves."""
        return Surface(self.vertices(motion), self.facets, self.colours)


def join(parts: Sequence[Mesh]) -> Mesh:
    """Several meshes as one, the facets in the order of the parts."""
    return Mesh(
        np.concatenate([part.first for part in parts]),
        np.concatenate([part.second for part in parts]),
        np.concatenate([part.bones for part in parts]),
        np.concatenate([part.share for part in parts]),
        _numbered_on([part.facets for part in parts], [len(part.first) for part in parts]),
        np.concatenate([part.colours for part in parts]),
    )


def on_axis(table: Float[np.ndarray, "N 4"], scale: float = 1.0, down: float = 0.0) -> Rings:
    """Rings at x = 0 from a table of y, z, half width, half depth: scaled, then lowered."""
    rings = np.concatenate([0 * table[:, :1], scale * table], 1)
    return rings - np.array([0, down, 0, 0, 0])


def tube(
    bone: str,
    rings: Rings,
    sides: int,
    colours: Float[np.ndarray, "..."] | Colour,
    *,
    turn: Float[np.ndarray, "3 3"] | None = None,
    squareness: float = 0.0,
) -> Mesh:
    """A tube fixed to a bone.

    Args:
      bone: the bone's name.
      rings: from top to bottom.
      sides: corners of a ring; facet j points to the angle 2 pi (j + 1) / sides, from +x over +z.
      colours: anything that broadcasts to [rings - 1, sides, 3].
      turn: a rotation of the whole tube around the first ring's origin.
      squareness: 0 for elliptical rings, 1 for rectangular ones.
    """
    n = len(rings)
    angle = 2 * np.pi * (np.arange(sides) + 0.5) / sides
    circle = np.stack([np.cos(angle), 0 * angle, np.sin(angle)], -1)
    circle = circle / np.abs(circle).max(-1, keepdims=True) ** squareness
    half = np.stack([rings[:, 3], 0 * rings[:, 3], rings[:, 4]], -1)
    points = (rings[:, None, :3] + circle * half[:, None]).reshape(-1, 3)
    if turn is not None:
        points = points @ turn.T
    i, j = np.meshgrid(np.arange(n - 1) * sides, np.arange(sides), indexing="ij")
    k = (j + 1) % sides
    return Mesh(
        points,
        points,
        np.full((n * sides, 2), INDEX[bone]),
        np.zeros(n * sides),
        np.stack([i + j, i + k, i + sides + k, i + sides + j], -1).reshape(-1, 4),
        np.broadcast_to(np.asarray(colours, float), (n - 1, sides, 3)).reshape(-1, 3),
    )


def limb(length: float, profile: Sequence[tuple[float, float]], top: bool, bottom: bool) -> Rings:
    """Rings of a limb along -y: (share of the length, radius) pairs, round ends where asked."""
    rows = [(-at * length, r) for at, r in profile]
    if top:
        y, r = rows[0]
        rows = [(y + 0.98 * r, 0.02 * r), (y + 0.6 * r, 0.8 * r), *rows]
    if bottom:
        y, r = rows[-1]
        rows = [*rows, (y - 0.6 * r, 0.8 * r), (y - 0.98 * r, 0.02 * r)]
    return on_axis(np.array([(y, 0.0, r, r) for y, r in rows]))


def clothed(rings: Rings, until: float, cloth: Colour, skin: Colour) -> Float[np.ndarray, "N 1 3"]:
    """Colours of a limb: cloth down to `until` metres from its origin, then skin."""
    middle = -(rings[:-1, 1] + rings[1:, 1]) / 2
    return np.where((middle < until)[:, None, None], cloth, skin)


def front(sides: int) -> Float[np.ndarray, " sides"]:
    """How far each facet of a ring points to the front, -1 to 1."""
    return np.sin(2 * np.pi * (np.arange(sides) + 1) / sides)


def make_trunk(who: Subject) -> Mesh:
    """One tube from the neck to the crotch, bending at the waist between chest and pelvis."""
    body, h = who.body, who.body.height
    g, wide = h * (0.4 + 0.6 * body.girth), h * body.shoulders
    top, low = body.trunk - body.waist, body.waist
    table = np.array(
        [  # height above the waist, middle z, half width, half depth, share of the pelvis
            (top + 0.5 * body.neck, -0.004 * h, 0.028 * h, 0.030 * h, 0.0),
            (top + 0.020 * h, -0.005 * h, 0.040 * h, 0.037 * h, 0.0),
            (top + 0.010 * h, -0.004 * h, 0.092 * wide, 0.046 * g, 0.0),
            (0.84 * top, 0.000, 0.108 * wide, 0.063 * g, 0.0),
            (0.60 * top, 0.004 * h, 0.050 * (h + wide), 0.069 * g, 0.0),
            (0.30 * top, 0.003 * h, 0.086 * g, 0.064 * g, 0.12),
            (0.02 * top, 0.000, 0.080 * g, 0.059 * g, 0.5),
            (-0.45 * low, -0.002 * h, 0.089 * g, 0.064 * g, 0.9),
            (-0.95 * low, -0.006 * h, 0.096 * g, 0.070 * g, 1.0),
            (-1.30 * low, -0.004 * h, 0.080 * g, 0.060 * g, 1.0),
            (-1.50 * low, 0.000, 0.030 * g, 0.030 * g, 1.0),
        ]
    )
    sides = 12
    colours = np.tile(np.array(who.shirt), (len(table) - 1, sides, 1))
    colours[0] = who.skin
    colours[7:] = who.trousers
    part = tube("chest", on_axis(table[:, :4]), sides, colours, squareness=0.25)
    return Mesh(
        part.first,
        part.first + np.array([0, body.waist, 0]),
        np.tile([INDEX["chest"], INDEX["pelvis"]], (len(part.first), 1)),
        np.repeat(table[:, 4], sides),
        part.facets,
        part.colours,
    )


def make_head(who: Subject) -> list[Mesh]:
    """Skull with hair or cap, eyes, brows, nose and mouth."""
    h, sides = who.body.height, 12
    colours = np.tile(np.array(who.skin), (len(HEAD) - 1, sides, 1))
    if who.haircut != "bald":  # rings covered all round, at the back, and where the face begins
        around, back = {"short": (2, 5), "long": (2, 8), "cap": (3, 4)}[who.haircut]
        colours[:back, front(sides) < 0.3] = who.hair
        colours[2, front(sides) < 0.9] = who.hair
        colours[:around] = who.cap if who.haircut == "cap" else who.hair
    parts = [tube("head", on_axis(HEAD, h), sides, colours)]
    if who.haircut == "long":
        parts.append(tube("head", on_axis(LONG_HAIR, h), 8, who.hair))
    skin = np.array(who.skin)
    parts.append(tube("head", on_axis(NOSE, h), 4, 0.93 * skin))
    lips, pupil, white = 0.55 * skin + (0.05, 0.05, 0.2), np.full(3, 0.07), np.full(3, 0.88)
    parts.append(plate("head", (0.0, 0.021, 0.0625), (0.022, 0.006), lips, 0.0, h))
    for side in (-1, 1):
        x = side * 0.019
        for y, z, size, colour in (
            (0.0785, 0.0605, (0.012, 0.005), 0.5 * (np.array(who.hair) + 0.4 * skin)),
            (0.0690, 0.0600, (0.012, 0.009), white),
            (0.0690, 0.0612, (0.006, 0.009), pupil),
        ):
            parts.append(plate("head", (x, y, z), size, colour, side, h))
    return parts


def plate(
    bone: str,
    at: tuple[float, float, float],
    size: tuple[float, float],
    colour: Float[np.ndarray, "3"],
    side: float,
    scale: float,
) -> Mesh:
    """A small upright plate that faces front and a little sideways; `scale` for place and size."""
    (x, y, z), (wide, tall) = at, size
    slant = 0.17 * side * wide
    corners = scale * np.array(
        [
            (x + wide / 2, y + tall / 2, z - slant),
            (x - wide / 2, y + tall / 2, z + slant),
            (x - wide / 2, y - tall / 2, z + slant),
            (x + wide / 2, y - tall / 2, z - slant),
        ]
    )
    bones, facet = np.full((4, 2), INDEX[bone]), np.arange(4)[None]
    return Mesh(corners, corners, bones, np.zeros(4), facet, colour[None])


def make_arm(who: Subject, side: str) -> list[Mesh]:
    """Upper arm, forearm and hand."""
    body, h = who.body, who.body.height
    g, puff = h * (0.4 + 0.6 * body.girth), 1.0 if who.long_sleeves else 1.12
    profile = [
        (0.0, 0.034),
        (0.28, 0.0325 * puff),
        (0.62, 0.030 * puff),
        (0.66, 0.027),
        (1.0, 0.0235),
    ]
    upper = limb(body.upper_arm, [(at, r * g) for at, r in profile], True, True)
    wrist = body.forearm - 0.045 * h
    profile = [(0.0, 0.0235), (0.3, 0.0245), (0.7, 0.0195), (1.0, 0.0155)]
    lower = limb(wrist, [(at, r * g) for at, r in profile], False, False)
    sleeve = np.inf if who.long_sleeves else 0.64 * body.upper_arm
    return [
        tube(f"{side}_upper_arm", upper, 8, clothed(upper, sleeve, who.shirt, who.skin)),
        tube(f"{side}_forearm", lower, 8, who.shirt if who.long_sleeves else who.skin),
        tube(f"{side}_forearm", on_axis(HAND, h, wrist), 6, who.skin),
    ]


def make_leg(who: Subject, side: str) -> list[Mesh]:
    """Thigh, shank and foot."""
    body, h = who.body, who.body.height
    g, puff = h * (0.4 + 0.6 * body.girth), 1.03 if who.long_trousers else 1.12
    profile = [(0.0, 0.05), (0.25, 0.05 * puff), (0.7, 0.041 * puff), (0.8, 0.037), (1.0, 0.033)]
    thigh = limb(body.thigh, [(at, r * g) for at, r in profile], True, True)
    profile = [(0.0, 0.033), (0.2, 0.034), (0.36, 0.034), (0.7, 0.025), (0.97, 0.0225)]
    shank = limb(body.shank, [(at, r * g) for at, r in profile], False, True)
    shorts = np.inf if who.long_trousers else 0.75 * body.thigh
    shoe = np.tile(np.array(who.shoes), (len(FOOT) - 1, 1, 1))
    shoe[2:] *= 0.55
    return [
        tube(f"{side}_thigh", thigh, 8, clothed(thigh, shorts, who.trousers, who.skin)),
        tube(f"{side}_shank", shank, 8, who.trousers if who.long_trousers else who.skin),
        tube(f"{side}_foot", on_axis(FOOT, h), 10, shoe),
    ]


def make_figure(who: Subject, cup: Colour | None, hand: str) -> Mesh:
    """The surface of a subject, with a cup of this colour, if any, in the hand of this side."""
    parts = [make_trunk(who), *make_head(who)]
    for side in SIDES:
        parts += make_arm(who, side) + make_leg(who, side)
    if cup is not None:
        shades = np.array([(0.3, 0.25, 0.22), cup, cup])[:, None]
        held = tube(f"{hand}_forearm", on_axis(CUP), 8, shades, turn=LIE)
        held.first[:] -= (0.0, who.body.forearm + 0.015, 0.0)
        parts.append(held)
    return join(parts)


def make_stool(body: Proportions, colour: Colour) -> Mesh:
    """The stool on which this body would sit, fixed to the place where it stands."""
    hips = np.array(SEATED) * body.leg + (0.0, STANDING * body.leg + body.ankle, 0.0)
    seat = hips[1] - 0.047 * body.height

    def block(x: float, z: float, top: float, bottom: float, half: float, shade: float) -> Mesh:
        rings = [(top, 1e-3), (top, half), (bottom, half), (bottom, 1e-3)]
        rows = np.array([(x, y, hips[2] - 0.02 + z, r, r) for y, r in rings])
        return tube("place", rows, 4, shade * np.array(colour), squareness=1.0)

    legs = [
        block(x, z, seat - 0.045, 0.0, 0.018, 0.7) for x in (-0.13, 0.13) for z in (-0.13, 0.13)
    ]
    return join([*legs, block(0.0, 0.0, seat, seat - 0.05, 0.175, 1.0)])
