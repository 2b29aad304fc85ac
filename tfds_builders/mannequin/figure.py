"""The figure's surface: four-cornered facets, each vertex fixed to one bone or shared between two.

A part is a tube: rings around a line, from top to bottom. All colours are BGR in 0 to 1 (OpenCV's order).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from tfds_builders.mannequin.actions import SEATED
from tfds_builders.mannequin.body import INDEX, SIDES, Motion, Proportions

Colour = tuple[float, float, float]

SKIN: tuple[Colour, ...] = (
    (0.66, 0.78, 0.95),
    (0.55, 0.68, 0.88),
    (0.44, 0.58, 0.80),
    (0.33, 0.46, 0.66),
    (0.22, 0.32, 0.48),
    (0.16, 0.22, 0.34),
)
HAIR: tuple[Colour, ...] = (
    (0.06, 0.06, 0.07),
    (0.08, 0.13, 0.22),
    (0.15, 0.28, 0.45),
    (0.35, 0.62, 0.82),
    (0.55, 0.55, 0.58),
)


@dataclass(frozen=True)
class Subject:
    """Who acts: body, speed (1 = average) and looks."""

    body: Proportions
    speed: float
    skin: Colour
    hair: Colour
    haircut: str
    shirt: Colour
    shirt_second: Colour
    pattern: str
    sleeve: float  # share of the arm that the sleeve covers
    trousers: Colour
    leg_cover: float  # share of the leg that the trousers cover
    shoes: Colour

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Subject":
        """A random person."""

        def cloth(dark: float, bright: float) -> Colour:
            hue, grey = rng.uniform(0, 1, 3), rng.uniform(0.2, 0.8)
            level = rng.uniform(dark, bright)
            b, g, r = np.clip(level * (grey + (1 - grey) * (hue / hue.mean())), 0.04, 0.95)
            return float(b), float(g), float(r)

        height = float(rng.uniform(1.54, 1.9))
        return cls(
            body=Proportions(
                height=height,
                legs=float(rng.uniform(0.96, 1.04)),
                arms=float(rng.uniform(0.95, 1.05)),
                shoulders=float(rng.uniform(0.9, 1.12)),
                girth=float(rng.uniform(0.88, 1.3)),
            ),
            speed=float(rng.uniform(0.88, 1.14)),
            skin=SKIN[rng.integers(len(SKIN))],
            hair=HAIR[rng.integers(len(HAIR))],
            haircut=str(rng.choice(["short", "long", "cap", "bald"], p=[0.5, 0.3, 0.12, 0.08])),
            shirt=cloth(0.2, 0.9),
            shirt_second=cloth(0.15, 0.95),
            pattern=str(rng.choice(["plain", "stripes", "block", "print", "open"])),
            sleeve=float(rng.choice([0.3, 0.36, 0.93, 0.93])),
            trousers=cloth(0.1, 0.6),
            leg_cover=float(rng.choice([0.42, 0.97, 0.97, 0.97])),
            shoes=cloth(0.05, 0.9),
        )


@dataclass(frozen=True)
class Mesh:
    """Facets on bones.

    A vertex lies at `first` in the frame of bone `bones[:, 0]` and at `second` in that of `bones[:, 1]`;
    its place is the mean of both, the second counting `share`.
    """

    first: Float[np.ndarray, "V 3"]
    second: Float[np.ndarray, "V 3"]
    bones: Int[np.ndarray, "V 2"]
    share: Float[np.ndarray, "V 1"]
    facets: Int[np.ndarray, "F 4"]
    colours: Float[np.ndarray, "F 3"]

    def vertices(self, motion: Motion) -> Float[np.ndarray, "T V 3"]:
        """Every vertex at every time, in metres."""

        def place(bones: Int[np.ndarray, "V"], local: Float[np.ndarray, "V 3"]) -> np.ndarray:
            out = motion.origin[:, bones].astype(np.float32)
            rotation = motion.rotation.astype(np.float32)
            for bone in np.unique(bones):
                mine = bones == bone
                out[:, mine] += local[mine] @ rotation[:, bone].swapaxes(1, 2)
            return out

        base = place(self.bones[:, 0], self.first)
        shared = np.flatnonzero(self.share[:, 0])
        other = place(self.bones[shared, 1], self.second[shared])
        base[:, shared] += self.share[shared] * (other - base[:, shared])
        return base


class Builder:
    """Collects tubes and makes a mesh of them."""

    def __init__(self) -> None:
        """Starts empty."""
        self.first: list[np.ndarray] = []
        self.second: list[np.ndarray] = []
        self.bones: list[np.ndarray] = []
        self.share: list[np.ndarray] = []
        self.facets: list[np.ndarray] = []
        self.colours: list[np.ndarray] = []
        self.count = 0

    def tube(
        self,
        bone: str,
        rings: np.ndarray,
        sides: int,
        colours: np.ndarray,
        second: str | None = None,
        offset: np.ndarray | None = None,
        share: np.ndarray | None = None,
        squareness: float = 0.0,
    ) -> None:
        """Adds a tube.

        Args:
            bone: the bone that carries it.
            rings: [n 5] from top to bottom: middle x, y, z and half widths in x and z.
            sides: corners of a ring; facet j lies between the angles j and j + 1, from +x over +z.
            colours: [n - 1, sides, 3], or something that broadcasts to it.
            second: another bone that shares the tube.
            offset: origin of `bone` in the frame of `second` at rest.
            share: of the second bone at each ring, [n].
            squareness: 0 for elliptical rings, towards 1 for rectangular ones.
        """
        n = len(rings)
        angle = 2 * np.pi * (np.arange(sides) + 0.5) / sides
        circle = np.stack([np.cos(angle), 0 * angle, np.sin(angle)], -1)
        circle = circle / np.maximum(np.abs(circle).max(-1, keepdims=True), 1e-9) ** squareness
        scale = np.stack([rings[:, 3], 0 * rings[:, 3], rings[:, 4]], -1)
        points = (rings[:, None, :3] + circle * scale[:, None]).reshape(-1, 3)
        i, j = np.meshgrid(np.arange(n - 1), np.arange(sides), indexing="ij")
        k = (j + 1) % sides
        facets = np.stack(
            [i * sides + j, i * sides + k, (i + 1) * sides + k, (i + 1) * sides + j], -1
        )
        self.first.append(points)
        self.second.append(points + (0 if offset is None else offset))
        self.bones.append(np.tile((INDEX[bone], INDEX[second or bone]), (n * sides, 1)))
        self.share.append(np.zeros(n * sides) if share is None else np.repeat(share, sides))
        self.facets.append(facets.reshape(-1, 4) + self.count)
        self.colours.append(np.broadcast_to(colours, (n - 1, sides, 3)).reshape(-1, 3))
        self.count += n * sides

    def mesh(self) -> Mesh:
        """All tubes as one mesh."""
        return Mesh(
            np.concatenate(self.first).astype(np.float32),
            np.concatenate(self.second).astype(np.float32),
            np.concatenate(self.bones),
            np.concatenate(self.share)[:, None].astype(np.float32),
            np.concatenate(self.facets),
            np.concatenate(self.colours).astype(np.float32),
        )


def limb(
    length: float, profile: list[tuple[float, float]], top: bool, bottom: bool, flat: float = 1.0
) -> np.ndarray:
    """Rings of a limb along -y: (share of the length, radius) pairs, with round ends where asked for."""
    rows = []
    if top:
        r = profile[0][1]
        rows += [(0.0, 0.98 * r, 0.02 * r), (0.0, 0.6 * r, 0.8 * r)]
    rows += [(0.0, -at * length, r) for at, r in profile]
    if bottom:
        end, r = -profile[-1][0] * length, profile[-1][1]
        rows += [(0.0, end - 0.6 * r, 0.8 * r), (0.0, end - 0.98 * r, 0.02 * r)]
    return np.array([(x, y, 0.0, r, flat * r) for x, y, r in rows])


def covered(
    rings: np.ndarray, length: float, cover: float, cloth: Colour, skin: Colour
) -> np.ndarray:
    """Colours of a limb [n - 1, 1, 3]: cloth down to `cover` of its length, then skin."""
    middle = -(rings[:-1, 1] + rings[1:, 1]) / 2
    return np.where((middle < cover * length)[:, None, None], np.array(cloth), np.array(skin))


def build_figure(who: Subject, cup: Colour | None, hand: str) -> Mesh:
    """The surface of a subject, with a cup of this colour, if any, in the hand of this side."""
    body, build = who.body, Builder()
    h, g = body.height, body.height * (0.4 + 0.6 * who.body.girth)
    skin = np.array(who.skin)

    # Trunk: one tube from the crotch to the neck, shared by pelvis and chest around the waist.
    top = body.trunk - body.waist
    rows = np.array(
        [  # y above the waist, middle z, half width, half depth, share of the pelvis
            (top + 0.5 * body.neck, -0.004 * h, 0.028 * h, 0.03 * h, 0.0),
            (top + 0.016 * h, -0.005 * h, 0.046 * h, 0.038 * h, 0.0),
            (top + 0.002 * h, -0.004 * h, 0.092 * body.shoulders * h, 0.05 * g, 0.0),
            (0.84 * top, 0.0, 0.108 * body.shoulders * h, 0.063 * g, 0.0),
            (0.6 * top, 0.004 * h, 0.1 * h * (0.5 * body.shoulders + 0.5), 0.069 * g, 0.0),
            (0.3 * top, 0.003 * h, 0.086 * g, 0.064 * g, 0.12),
            (0.02 * top, 0.0, 0.08 * g, 0.059 * g, 0.5),
            (-0.45 * body.waist, -0.002 * h, 0.089 * g, 0.064 * g, 0.9),
            (-0.95 * body.waist, -0.006 * h, 0.096 * g, 0.07 * g, 1.0),
            (-1.3 * body.waist, -0.004 * h, 0.08 * g, 0.06 * g, 1.0),
            (-1.5 * body.waist, 0.0, 0.03 * g, 0.03 * g, 1.0),
        ]
    )
    rings = np.stack([0 * rows[:, 0], *rows[:, :4].T], -1)
    sides = 12
    colours = np.tile(np.array(who.shirt), (len(rings) - 1, sides, 1))
    second = np.array(who.shirt_second)
    front = np.sin(2 * np.pi * (np.arange(sides) + 1) / sides)
    if who.pattern == "stripes":
        colours[1:7:2] = second
    elif who.pattern == "block":
        colours[4:7] = second
    elif who.pattern == "print":
        colours[2:5, front > 0.8] = second
    elif who.pattern == "open":
        colours[1:7, front > 0.95] = second
    colours[0] = skin
    colours[7:] = who.trousers
    build.tube(
        "chest", rings, sides, colours, second="pelvis", offset=np.array([0, body.waist, 0]), share=rows[:, 4],
        squareness=0.25,
    )  # fmt: skip

    # Head: the origin lies at the chin's height, on the neck.
    y = np.array([0.128, 0.12, 0.1, 0.078, 0.056, 0.036, 0.018, 0.002, -0.008]) * h
    rx = np.array([0.002, 0.024, 0.041, 0.046, 0.046, 0.043, 0.036, 0.024, 0.004]) * h
    rz = np.array([0.002, 0.03, 0.05, 0.057, 0.057, 0.053, 0.047, 0.034, 0.004]) * h
    z = np.array([0.004, 0.004, 0.005, 0.006, 0.008, 0.011, 0.015, 0.02, 0.022]) * h
    rings = np.stack([0 * y, y, z, rx, rz], -1)
    sides = 12
    front = np.sin(2 * np.pi * (np.arange(sides) + 1) / sides)
    colours = np.tile(skin, (len(rings) - 1, sides, 1))
    if who.haircut != "bald":
        cut = {"short": (0.9, 0.3, 5), "long": (0.9, 0.3, 8), "cap": (0.9, 0.4, 4)}[who.haircut]
        colours[:3] = who.hair
        colours[2, front > cut[0]] = skin
        colours[: cut[2], front < cut[1]] = who.hair
    if who.haircut == "cap":
        colours[:3] = who.shirt_second
    build.tube("head", rings, sides, colours)
    dark, white = 0.25 * skin, np.array([0.85, 0.85, 0.85])
    for sign in (-1, 1):  # eyes, under brows
        x = sign * 0.019 * h
        for height, tall, wide, deep, colour in (
            (0.0775, 0.006, 0.011, 0.0008, np.array(who.hair)),
            (0.069, 0.009, 0.01, 0.0005, white),
            (0.069, 0.009, 0.0055, 0.0016, np.array([0.08, 0.07, 0.06])),
        ):
            facing_plate(
                build, x, height * h, (0.0595 + deep) * h, wide * h, tall * h, colour, sign
            )
    facing_plate(
        build,
        0.0,
        0.021 * h,
        0.0625 * h,
        0.022 * h,
        0.006 * h,
        0.3 * dark + np.array([0.1, 0.1, 0.32]),
        0,
    )
    nose = np.array(
        [
            (0, 0.07, 0.06, 0.003, 0.003),
            (0, 0.05, 0.066, 0.008, 0.012),
            (0, 0.043, 0.062, 0.005, 0.006),
        ]
    )
    build.tube("head", nose * h, 4, 0.93 * skin)
    if who.haircut == "long":
        rings = np.array(
            [(0, 0.09, -0.03, 0.03, 0.02), (0, 0.03, -0.036, 0.047, 0.024), (0, -0.03, -0.036, 0.045, 0.022),
             (0, -0.06, -0.034, 0.025, 0.012)]
        ) * h  # fmt: skip
        build.tube("head", rings, 8, np.array(who.hair))

    for side, sign in zip(SIDES, (1.0, -1.0), strict=True):
        sleeve = who.sleeve
        puff = 1.1 if sleeve < 0.5 else 1.0
        rings = limb(
            body.upper_arm,
            [(0.0, 0.034 * g), (0.28, 0.0325 * g * puff), (0.62, 0.0305 * g * puff), (0.66, 0.027 * g), (1.0, 0.0235 * g)],
            top=True, bottom=True,
        )  # fmt: skip
        cover = 0.64 if sleeve < 0.5 else 2.0
        build.tube(
            f"{side}_upper_arm",
            rings,
            8,
            covered(rings, body.upper_arm, cover, who.shirt, who.skin),
        )
        wrist = 1 - 0.045 * h / body.forearm
        rings = limb(
            body.forearm,
            [(0.0, 0.0235 * g), (0.25, 0.0245 * g), (0.6, 0.0195 * g), (wrist, 0.0155 * g)],
            False,
            False,
        )
        cover = wrist if sleeve > 0.5 else -1.0
        build.tube(
            f"{side}_forearm", rings, 8, covered(rings, body.forearm, cover, who.shirt, who.skin)
        )
        palm = np.array([(0, 0.0, 0, 0.013, 0.016), (0, -0.02, 0, 0.0165, 0.023), (0, -0.05, 0, 0.0155, 0.024),
                         (0, -0.078, 0.003, 0.011, 0.017), (0, -0.09, 0.004, 0.002, 0.004)]) * h  # fmt: skip
        palm[:, 1] -= wrist * body.forearm
        build.tube(f"{side}_forearm", palm, 6, skin)

        puff = 1.12 if who.leg_cover < 0.5 else 1.03
        rings = limb(
            body.thigh,
            [(0.0, 0.05 * g), (0.25, 0.05 * g * puff), (0.7, 0.041 * g * puff), (0.8, 0.037 * g), (1.0, 0.033 * g)],
            top=True, bottom=True,
        )  # fmt: skip
        cover = 0.75 if who.leg_cover < 0.5 else 2.0
        build.tube(
            f"{side}_thigh", rings, 8, covered(rings, body.thigh, cover, who.trousers, who.skin)
        )
        rings = limb(
            body.shank,
            [(0.0, 0.033 * g), (0.2, 0.034 * g), (0.36, 0.034 * g), (0.7, 0.025 * g), (0.97, 0.0225 * g)],
            top=False, bottom=True,
        )  # fmt: skip
        cover = 2.0 if who.leg_cover > 0.5 else -1.0
        build.tube(
            f"{side}_shank", rings, 8, covered(rings, body.shank, cover, who.trousers, who.skin)
        )
        a = body.ankle / h
        foot = np.array(
            [(0, 0.3 * a, 0.015, 0.02, 0.025), (0, -0.15 * a, 0.025, 0.029, 0.052), (0, -0.55 * a, 0.036, 0.031, 0.07),
             (0, -0.98 * a, 0.038, 0.032, 0.074), (0, -0.99 * a, 0.038, 0.002, 0.002)]
        ) * h  # fmt: skip
        shoe = np.tile(np.array(who.shoes), (4, 1, 1))
        shoe[2] = 0.55 * shoe[2]
        build.tube(f"{side}_foot", foot, 10, shoe)

    if cup is not None:
        rings = np.array([(0, 0.05, 0, 0.001, 0.001), (0, 0.05, 0, 0.024, 0.024), (0, -0.05, 0, 0.019, 0.019),
                          (0, -0.05, 0, 0.001, 0.001)]) * h / 1.75 * 1.5  # fmt: skip
        # Held across the palm: the cup's axis is the hand's front-to-back axis.
        rings = rings[:, [0, 2, 1, 3, 4]]
        held(build, f"{hand}_forearm", rings, body.forearm + 0.01 * h, np.array(cup))
    return build.mesh()


def facing_plate(
    build: Builder,
    x: float,
    y: float,
    z: float,
    wide: float,
    tall: float,
    colour: np.ndarray,
    turned: int,
) -> None:
    """A small quadrilateral on the face, turned outwards a little."""
    half = wide / 2
    slant = -0.35 * turned * half
    corners = np.array(
        [(x + half, y + tall / 2, z + slant), (x - half, y + tall / 2, z - slant),
         (x - half, y - tall / 2, z - slant), (x + half, y - tall / 2, z + slant)]
    )  # fmt: skip
    flat(build, "head", corners, colour)


def held(build: Builder, bone: str, rings: np.ndarray, down: float, colour: np.ndarray) -> None:
    """A cup in a hand: rings along z instead of y."""
    sides = 8
    angle = 2 * np.pi * np.arange(sides) / sides
    points = np.concatenate(
        [
            np.stack(
                [-r[3] * np.cos(angle) + 0.02, r[3] * np.sin(angle) - down, 0 * angle + r[2]], -1
            )
            for r in rings
        ]
    )
    shades = (np.array([0.35, 0.25, 0.25]), colour, 0.8 * colour)
    for i, shade in enumerate(shades):
        for j in range(sides):
            k = (j + 1) % sides
            quad = [i * sides + j, i * sides + k, (i + 1) * sides + k, (i + 1) * sides + j]
            flat(build, bone, points[quad], shade)


def flat(build: Builder, bone: str, corners: np.ndarray, colour: np.ndarray) -> None:
    """Adds one facet, fixed to a bone."""
    build.first.append(corners)
    build.second.append(corners)
    build.bones.append(np.full((4, 2), INDEX[bone]))
    build.share.append(np.zeros(4))
    build.facets.append(np.arange(4)[None] + build.count)
    build.colours.append(colour[None])
    build.count += 4


def build_stool(body: Proportions, colour: Colour) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The stool behind the actor: vertices [V 3] in the actor's frame, facets [F 4], colours [F 3]."""
    x, y, z = np.array(SEATED) * body.leg + np.array([0, 0.985 * body.leg + body.ankle, 0])
    seat, middle = y - 0.047 * body.height, z - 0.02
    build = Builder()

    def block(x: float, z: float, top: float, bottom: float, half: float, shade: float) -> None:
        tiny = 1e-3
        rings = np.array([(x, top, z, tiny, tiny), (x, top, z, half, half), (x, bottom, z, half, half),
                          (x, bottom, z, tiny, tiny)])  # fmt: skip
        build.tube("pelvis", rings, 4, shade * np.array(colour), squareness=1.0)

    for dx in (-1, 1):
        for dz in (-1, 1):
            block(x + dx * 0.13, middle + dz * 0.13, seat - 0.045, 0.0, 0.018, 0.7)
    block(x, middle, seat, seat - 0.05, 0.175, 1.0)
    mesh = build.mesh()
    return mesh.first, mesh.facets, mesh.colours
