"""The figure: proportions, skeleton and forward kinematics.

Conventions: metres, seconds, radians; right-handed axes, y up. In its own frame the actor stands on
y = 0 facing +z, with its left side at +x. Rotation matrices act on column vectors; a bone's local
-y axis points along it, its local +z axis to the front. Positive pitch leans forward, and
positive yaw turns to the actor's left, positive roll leans to the actor's right.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

SIDES = ("left", "right")
LIMBS = ("upper_arm", "forearm", "thigh", "shank", "foot")
BONES = (
    "place",
    "pelvis",
    "chest",
    "head",
    *(f"{side}_{limb}" for side in SIDES for limb in LIMBS),
)
INDEX = {name: i for i, name in enumerate(BONES)}
MIRRORED = np.array(
    [INDEX[b.replace("left", "?").replace("right", "left").replace("?", "right")] for b in BONES]
)

STANDING = 0.993  # hip height above the ankle of a standing figure, in leg lengths

Track = Float[np.ndarray, "T"]
Points = Float[np.ndarray, "T 3"]
Rotations = Float[np.ndarray, "T 3 3"]


@dataclass(frozen=True)
class Proportions:
    """Lengths of one body in metres, from its height and four relative deviations (1 = average)."""

    height: float
    legs: float = 1.0
    arms: float = 1.0
    shoulders: float = 1.0
    girth: float = 1.0

    @property
    def thigh(self) -> float:
        """Hip to knee."""
        return 0.243 * self.legs * self.height

    @property
    def shank(self) -> float:
        """Knee to ankle."""
        return 0.240 * self.legs * self.height

    @property
    def ankle(self) -> float:
        """Height of the ankle above the sole."""
        return 0.042 * self.height

    @property
    def leg(self) -> float:
        """Hip to ankle, stretched."""
        return self.thigh + self.shank

    @property
    def upper_arm(self) -> float:
        """Shoulder to elbow."""
        return 0.176 * self.arms * self.height

    @property
    def forearm(self) -> float:
        """Elbow to the middle of the fist."""
        return 0.190 * self.arms * self.height

    @property
    def arm(self) -> float:
        """Shoulder to the middle of the fist, stretched."""
        return self.upper_arm + self.forearm

    @property
    def trunk(self) -> float:
        """Hip height to shoulder height: what legs and head leave of the body."""
        return 0.815 * self.height - self.leg - self.ankle

    @property
    def hip_width(self) -> float:
        """Middle to hip joint."""
        return 0.052 * self.height * (0.5 + 0.5 * self.girth)

    @property
    def shoulder_width(self) -> float:
        """Middle to shoulder joint."""
        return 0.112 * self.height * self.shoulders

    @property
    def waist(self) -> float:
        """Hip height to the joint between pelvis and chest."""
        return 0.32 * self.trunk

    @property
    def neck(self) -> float:
        """Shoulder height to the joint on which the head nods."""
        return 0.045 * self.height


@dataclass
class Arm:
    """One arm over time, in the chest's frame, from the shoulder, in arm lengths; x is outwards."""

    hand: Points
    elbow: Points  # the direction in which the elbow points


@dataclass
class Leg:
    """One leg over time: the ankle's way from where it stands, in leg lengths; x is outwards."""

    ankle: Points
    knee: Points  # the direction in which the knee points
    toes: Track  # pitch of the foot, positive: toes down


@dataclass
class Pose:
    """What an action sets, over T frames, on a body whose main side is the right.

    `root` moves the hips from where they stand, in leg lengths. `pelvis`, `chest` and `head` hold
    pitch, yaw and roll; chest relative to pelvis, head relative to chest.
    """

    root: Points
    pelvis: Points
    chest: Points
    head: Points
    arms: dict[str, Arm] = field(default_factory=dict)
    legs: dict[str, Leg] = field(default_factory=dict)


@dataclass(frozen=True)
class Motion:
    """Where every bone is: origin in metres and rotation; bones in the order of BONES."""

    origin: Float[np.ndarray, "T B 3"]
    rotation: Float[np.ndarray, "T B 3 3"]

    def mirrored(self) -> "Motion":
        """The same motion with left and right exchanged."""
        flip = np.array([-1.0, 1.0, 1.0])
        return Motion(
            self.origin[:, MIRRORED] * flip,
            self.rotation[:, MIRRORED] * np.outer(flip, flip),
        )

    def placed(self, x: float, z: float, facing: float) -> "Motion":
        """The motion moved to (x, z) on the floor, facing (sin facing, 0, cos facing)."""
        turn = euler(np.array([[0.0, facing, 0.0]]))[0]
        return Motion(self.origin @ turn.T + np.array([x, 0.0, z]), turn @ self.rotation)


def euler(angles: Points) -> Rotations:
    """Rotation matrices of [T 3] pitch, yaw, roll: yaw outermost, then pitch, then roll."""
    (cp, cy, cr), (sp, sy, sr) = np.cos(angles).T, np.sin(angles).T
    return np.stack(
        [
            np.stack([cy * cr + sy * sp * sr, -cy * sr + sy * sp * cr, sy * cp], -1),
            np.stack([cp * sr, cp * cr, -sp], -1),
            np.stack([-sy * cr + cy * sp * sr, sy * sr + cy * sp * cr, cy * cp], -1),
        ],
        -2,
    )


def unit(v: Float[np.ndarray, "... 3"]) -> Float[np.ndarray, "... 3"]:
    """Vectors scaled to length 1."""
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def two_bones(
    start: Points, target: Points, bend: Points, first: float, second: float, forward: float
) -> tuple[Points, Rotations, Rotations]:
    """Two-bone inverse kinematics, lengths kept exactly.

    Args:
      start: where the first bone is hung up.
      target: what the second bone's end should reach; beyond reach, it points there.
      bend: the direction in which the middle joint points.
      first: length of the first bone.
      second: length of the second bone.
      forward: 1 if the middle joint bends to the front (knee), -1 if to the back (elbow).

    Returns:
      The middle joint, and the rotations of both bones.
    """
    way = target - start
    distance = np.linalg.norm(way, axis=-1, keepdims=True)
    along = way / np.maximum(distance, 1e-9)
    reach = np.clip(distance, abs(first - second) + 0.12 * first, 0.9985 * (first + second))
    cos = (first**2 + reach**2 - second**2) / (2 * first * reach)
    out = unit(bend - (bend * along).sum(-1, keepdims=True) * along)
    middle = start + first * (cos * along + np.sqrt(1 - cos**2) * out)
    end = start + reach * along
    x_axis = unit(np.cross(-along, forward * out))

    def rotation(direction: Points) -> Rotations:
        return np.stack([x_axis, -direction, np.cross(x_axis, -direction)], -1)

    return middle, rotation((middle - start) / first), rotation((end - middle) / second)


def forward_kinematics(body: Proportions, pose: Pose) -> Motion:
    """Places every bone of `body` in the actor's own frame."""
    stand = np.array([0.0, body.leg * STANDING + body.ankle, 0.0])
    hips = stand + pose.root * body.leg
    pelvis = euler(pose.pelvis)
    chest = pelvis @ euler(pose.chest)
    head = chest @ euler(pose.head)

    def up(length: float) -> Points:
        return np.array([0.0, length, 0.0])

    waist = hips + pelvis @ up(body.waist)
    shoulders = waist + chest @ up(body.trunk - body.waist)
    still = np.zeros_like(hips)
    where = {
        "place": (still, euler(still)),  # the floor on which the actor stands
        "pelvis": (hips, pelvis),
        "chest": (waist, chest),
        "head": (shoulders + chest @ up(body.neck), head),
    }
    for side, sign in (("left", 1.0), ("right", -1.0)):
        outwards = np.array([sign, 1.0, 1.0])
        arm, leg = pose.arms[side], pose.legs[side]

        shoulder = shoulders + chest @ np.array([sign * body.shoulder_width, 0.0, 0.0])
        elbow, upper, lower = two_bones(
            shoulder,
            shoulder + np.einsum("tij,tj->ti", chest, arm.hand * outwards * body.arm),
            np.einsum("tij,tj->ti", chest, arm.elbow * outwards),
            body.upper_arm,
            body.forearm,
            -1.0,
        )
        where[f"{side}_upper_arm"] = (shoulder, upper)
        where[f"{side}_forearm"] = (elbow, lower)

        hip = hips + pelvis @ np.array([sign * body.hip_width, 0.0, 0.0])
        ankle = np.array([sign * body.hip_width, body.ankle, 0.0])
        knee, thigh, shank = two_bones(
            hip,
            ankle + leg.ankle * outwards * body.leg,
            leg.knee * outwards,
            body.thigh,
            body.shank,
            1.0,
        )
        heading = np.arctan2(leg.knee[:, 0] * sign, leg.knee[:, 2])
        where[f"{side}_thigh"] = (hip, thigh)
        where[f"{side}_shank"] = (knee, shank)
        where[f"{side}_foot"] = (
            knee - shank[..., 1] * body.shank,
            euler(np.stack([leg.toes, heading, np.zeros_like(heading)], -1)),
        )
    return Motion(
        np.stack([where[name][0] for name in BONES], 1),
        np.stack([where[name][1] for name in BONES], 1),
    )
