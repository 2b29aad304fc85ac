"""The twelve actions: each turns time and a random style into a pose of the figure.

Every action starts from the same standing figure, whose idle motion (breathing, sway, small turns
of the head, drifting arms, a fidget) never stops, and moves what it needs. Actions share limbs on
purpose, so that the order and the direction of a movement tell them apart and not its place: sit
down / stand up, throw / pull, wave / drink, squat / jump, bow / squat, kick / walk in place. The
main side is the right; mirroring comes later.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tfds_builders.mannequin.body import SIDES, Arm, Leg, Pose, Track
from tfds_builders.mannequin.staging import Staging

FRAME_RATE = 15
SEATED = (0.0, -0.43, -0.51)  # the hips on the stool, from where they stand, in leg lengths


@dataclass(frozen=True)
class Style:
    """How one trial is performed.

    Attributes:
      time: seconds since the first frame, [T].
      progress: 0 at the onset of the action, 1 at its end, clipped, [T].
      amplitude: size of the movement, 1 = average.
      tempo: speed of periodic movements, 1 = average.
      rng: for everything else an action wants to vary.
    """

    time: Track
    progress: Track
    amplitude: float
    tempo: float
    rng: np.random.Generator

    @classmethod
    def draw(cls, rng: np.random.Generator, speed: float, staging: Staging) -> "Style":
        """A style for a subject of this speed (1 = average)."""
        mean, most = staging.frames
        drawn = round(mean / speed + rng.uniform(1 - most, most - 1))
        frames = int(np.clip(drawn, mean - most, mean + most))
        position = np.arange(frames) / (frames - 1)
        onset, end = rng.uniform(*staging.onset), rng.uniform(*staging.end)
        return cls(
            time=np.arange(frames) / FRAME_RATE,
            progress=np.clip((position - onset) / (end - onset), 0.0, 1.0),
            amplitude=float(rng.uniform(0.8, 1.2)),
            tempo=float(speed * rng.uniform(0.85, 1.15)),
            rng=rng,
        )

    def cycle(self, rate: float) -> Track:
        """The angle of a periodic movement of about `rate` cycles a second, from a random phase."""
        return 2 * np.pi * (rate * self.tempo * self.time + self.rng.uniform())

    def envelope(self) -> Track:
        """How far a periodic movement has set in: always fully, or rising and falling."""
        if self.rng.uniform() < 0.5:
            return np.ones_like(self.time)
        return keys(self.progress, (0, 0), (0.18, 1), (0.82, 1), (1, 0))


def keys(at: Track, *frames: tuple[float, float | tuple[float, ...]]) -> Float[np.ndarray, "T ..."]:
    """Interpolates key frames (time, value) smoothly, at rest at both ends and where it holds.

    Args:
      at: the times asked for, [T].
      frames: at least two, of rising time; all values numbers or all of them tuples.
    """
    times = np.array([float(t) for t, _ in frames])
    values = np.array([v for _, v in frames], dtype=float)
    slope = np.zeros_like(values)
    step = np.diff(values, axis=0)
    across = (values[2:] - values[:-2]).T / (times[2:] - times[:-2])
    slope[1:-1] = np.where(step[1:] * step[:-1] > 0, across.T, 0.0)
    k = np.clip(np.searchsorted(times, at, side="right") - 1, 0, len(times) - 2)
    width = times[k + 1] - times[k]
    s = np.clip((at - times[k]) / width, 0, 1)
    s, width = (a.reshape((-1,) + (1,) * (values.ndim - 1)) for a in (s, width))
    return (
        values[k] * (1 + 2 * s) * (1 - s) ** 2
        + slope[k] * width * s * (1 - s) ** 2
        + values[k + 1] * s**2 * (3 - 2 * s)
        + slope[k + 1] * width * s**2 * (s - 1)
    )


RESTS = (  # hand and elbow of an arm that hangs, rests on the hip, or lies before the belly
    ((0.08, -0.975, 0.07), (0.3, 0.0, -1.0)),
    ((0.04, -0.58, 0.02), (1.0, 0.0, -0.45)),
    ((-0.12, -0.55, 0.42), (0.35, -0.3, -1.0)),
)


def stand(style: Style) -> Pose:
    """The figure standing, with its idle motion."""
    rng, time = style.rng, style.time

    def drift(size: float, slowest: float = 0.15, fastest: float = 0.5) -> Track:
        rates = rng.uniform(slowest, fastest, 2)
        waves = np.sin(2 * np.pi * (rates[:, None] * time + rng.uniform(size=(2, 1))))
        return size * waves.sum(0) / 2

    breath = np.sin(2 * np.pi * (rng.uniform(0.25, 0.4) * time + rng.uniform()))
    weight = drift(0.06) + rng.uniform(-0.02, 0.02)
    root = np.stack([weight, -np.abs(weight) * 0.3, drift(0.03)], -1)
    pelvis = np.stack([drift(0.03), drift(0.1), -weight * 0.8], -1)
    chest = np.stack(
        [0.015 * breath + drift(0.03) + rng.uniform(-0.02, 0.06), drift(0.1), weight * 0.8], -1
    )
    gaze = rng.uniform(-0.25, 0.25)
    head = np.stack([drift(0.06) + rng.uniform(-0.05, 0.12), drift(0.15) + gaze, drift(0.04)], -1)
    pose = Pose(root, pelvis, chest, head)
    stance = rng.uniform(0.02, 0.1)
    for side in SIDES:
        hand, elbow = RESTS[rng.choice(3, p=(0.8, 0.1, 0.1))]
        rest = np.array(hand) + rng.uniform(-0.06, 0.06, 3) * (1, 0, 1)
        swing = np.stack([drift(0.06), 0.006 * breath, drift(0.08)], -1)
        out = rng.uniform(0.08, 0.3)
        pose.arms[side] = Arm(rest + swing, np.tile(elbow, (len(time), 1)))
        pose.legs[side] = Leg(
            np.tile((stance, 0.0, rng.uniform(-0.04, 0.04)), (len(time), 1)),
            np.tile((out, 0.0, 1.0), (len(time), 1)),
            np.zeros(len(time)),
        )
    return pose


def reach(
    arm: Arm,
    share: Track,
    hand: Float[np.ndarray, "T 3"] | tuple[float, float, float],
    elbow: Float[np.ndarray, "T 3"] | tuple[float, float, float],
) -> None:
    """Moves `share` (0 to 1) of the arm's pose to a hand position and elbow direction."""
    s = share[:, None]
    arm.hand = arm.hand + s * (np.asarray(hand) - arm.hand)
    arm.elbow = arm.elbow + s * (np.asarray(elbow) - arm.elbow)


def lean(
    angles: Float[np.ndarray, "T 3"], pitch: Track | float = 0.0, yaw: Track | float = 0.0
) -> None:
    """Adds to a pitch and a yaw, in place."""
    angles[:, 0] += pitch
    angles[:, 1] += yaw


def fidget(pose: Pose, style: Style) -> None:
    """Three small things people do besides: turn, shift their weight, look round, move an arm."""
    rng, position = style.rng, style.time / style.time[-1]
    for kind in rng.choice(["turn", "shift", "dip", "look", "arm", "heel"], 3, replace=False):
        start, length = rng.uniform(-0.1, 0.7), rng.uniform(0.2, 0.4)
        returns = float(rng.uniform() < 0.5)
        share = rng.uniform(0.6, 1.3) * keys(
            position, (start, 0), (start + length, 1), (start + 2 * length, 1 - returns)
        )
        way, side = rng.choice([-1, 1]), SIDES[rng.integers(2)]
        if kind == "turn":
            lean(pose.pelvis, 0.0, 0.25 * way * share)
            lean(pose.chest, 0.0, 0.25 * way * share)
        elif kind == "shift":
            pose.root[:, 0] += 0.09 * way * share
            pose.root[:, 1] -= 0.01 * share
            pose.chest[:, 2] += 0.1 * way * share
        elif kind == "dip":
            pose.root[:, 1] -= 0.06 * share
            lean(pose.pelvis, 0.1 * share)
        elif kind == "look":
            lean(pose.head, 0.15 * share, 0.7 * way * share)
        elif kind == "arm":
            reach(pose.arms[side], share, *RESTS[rng.integers(len(RESTS))])
        else:  # the ball of the foot stays on the floor
            pose.legs[side].ankle[:, 1] += 0.1 * share
            pose.legs[side].toes += 0.45 * share


def drink(pose: Pose, style: Style) -> None:
    """A hand goes to the mouth, stays, tips with the head, and comes down."""
    u, rng, arm = style.progress, style.rng, pose.arms["right"]
    up, down = rng.uniform(0.25, 0.38), rng.uniform(0.68, 0.8)
    tip = (
        keys(u, (0, 0), (up, 0.0), (up + 0.12, 1), (down - 0.1, 1), (down, 0), (1, 0))
        * style.amplitude
    )
    share = keys(u, (0, 0), (up, 1), (down, 1), (1, 0))
    mouth = np.stack([-0.27 + 0 * tip, 0.13 + 0.05 * tip, 0.36 - 0.02 * tip], -1)
    mouth[:, 2] += 0.22 * np.sin(np.pi * share)
    elbow = np.stack([0.5 + 0.3 * tip, -1.0 + 0.3 * tip, 0.3 + 0 * tip], -1)
    reach(arm, share, mouth, elbow)
    lean(pose.head, -0.3 * tip + 0.08 * share)
    lean(pose.chest, -0.06 * tip)


def throw(pose: Pose, style: Style) -> None:
    """A hand swings back behind the head, slowly, then fast to the front and down."""
    u, rng, arm, a = style.progress, style.rng, pose.arms["right"], style.amplitude
    back = rng.uniform(0.35, 0.48)
    go = back + rng.uniform(0.08, 0.14)
    hand = keys(
        u,
        (0, (0.1, -0.95, 0.1)),
        (back * 0.5, (0.45, -0.25, -0.1)),
        (back, (0.4, 0.4, -0.28)),
        (go, (0.1, 0.5, 0.3)),
        (go + 0.08, (-0.1, 0.15, 0.95)),
        (go + 0.2, (-0.4, -0.6, 0.55)),
        (1, (0.1, -0.95, 0.1)),
    )
    elbow = keys(
        u,
        (0, (0.3, 0.0, -1.0)),
        (back, (1.0, -0.3, -0.1)),
        (go, (0.9, -0.1, 0.4)),
        (go + 0.08, (0.8, -0.8, 0.0)),
        (1, (0.3, 0.0, -1.0)),
    )
    reach(arm, keys(u, (0, 0), (0.12, 1), (0.88, 1), (1, 0)), hand, elbow)
    turn = a * keys(u, (0, 0), (back, -0.5), (go + 0.08, 0.45), (go + 0.25, 0.35), (1, 0))
    lean(pose.chest, a * keys(u, (0, 0), (back, -0.12), (go + 0.1, 0.25), (1, 0)), 0.7 * turn)
    lean(pose.pelvis, 0.0, 0.4 * turn)
    lean(pose.head, 0.0, -0.9 * turn)
    pose.root[:, 2] += a * keys(u, (0, 0), (back, -0.06), (go + 0.1, 0.08), (1, 0))
    reach(
        pose.arms["left"],
        keys(u, (0, 0), (back, 1), (go + 0.05, 0.3), (1, 0)),
        (0.3, -0.35, 0.7),
        (0.6, -1, 0),
    )


def pull(pose: Pose, style: Style) -> None:
    """A hand reaches out to the front, slowly, grips, and is torn back past the waist."""
    u, rng, a = style.progress, style.rng, style.amplitude
    grip = rng.uniform(0.3, 0.4)
    go = grip + rng.uniform(0.1, 0.18)
    height = rng.uniform(-0.2, 0.25)
    hand = keys(
        u,
        (0, (0.1, -0.95, 0.1)),
        (grip * 0.5, (0.0, -0.45, 0.5)),
        (grip, (-0.08, height, 0.93)),
        (go, (-0.08, height, 0.93)),
        (go + 0.14, (0.18, -0.42, 0.08)),
        (go + 0.28, (0.2, -0.45, 0.0)),
        (1, (0.1, -0.95, 0.1)),
    )
    elbow = keys(
        u,
        (0, (0.3, 0.0, -1.0)),
        (go, (0.6, -0.8, -0.3)),
        (go + 0.14, (0.4, 0.1, -1)),
        (1, (0.3, 0, -1.0)),
    )
    share = keys(u, (0, 0), (0.12, 1), (0.88, 1), (1, 0))
    both = rng.uniform() < 0.5
    for side in SIDES if both else ("right",):
        reach(pose.arms[side], share, hand, elbow)
    pull_back = a * keys(u, (0, 0), (grip, 1), (go, 1), (go + 0.16, -1), (go + 0.3, -0.8), (1, 0))
    turn = 0.0 if both else 0.4 * pull_back
    lean(pose.chest, 0.16 * pull_back, turn)
    lean(pose.pelvis, 0.05 * pull_back, 0.3 * turn)
    lean(pose.head, -0.1 * pull_back, -turn)
    pose.root[:, 2] += 0.07 * pull_back
    pose.root[:, 1] -= 0.03 * np.abs(pull_back)


def seat(pose: Pose, style: Style, down: Track) -> None:
    """Brings `down` (0 to 1) of the way from standing to sitting on the stool."""
    rng = style.rng
    pose.root = pose.root * (1 - 0.5 * down)[:, None]
    pose.root[:, 1] += SEATED[1] * down
    pose.root[:, 2] += SEATED[2] * (down + 0.25 * np.sin(np.pi * down) * (1 - down))
    bend = np.sin(np.pi * np.clip(down, 0, 1)) * style.amplitude
    lean(pose.pelvis, 0.32 * bend)
    lean(pose.chest, 0.42 * bend + 0.08 * down)
    lean(pose.head, -0.3 * bend)
    hold = rng.uniform(0.5, 0.75)
    for side in SIDES:
        reach(pose.arms[side], down, (-0.08, -hold, 0.42), (0.6, -0.2, -1.0))
        swing = np.zeros((len(bend), 3))
        swing[:, 2] = rng.uniform(0.1, 0.35) * bend
        pose.arms[side].hand = pose.arms[side].hand + swing


def sit_down(pose: Pose, style: Style) -> None:
    """From standing to sitting on the stool behind."""
    start, end = style.rng.uniform(0.0, 0.25), style.rng.uniform(0.65, 0.95)
    seat(pose, style, keys(style.progress, (start, 0), (end, 1)))


def stand_up(pose: Pose, style: Style) -> None:
    """From sitting on the stool to standing."""
    start, end = style.rng.uniform(0.05, 0.35), style.rng.uniform(0.75, 1.0)
    seat(pose, style, keys(style.progress, (start, 1), (end, 0)))


def clap(pose: Pose, style: Style) -> None:
    """Both hands meet in front, again and again."""
    share = style.envelope()
    apart = 0.5 - 0.5 * np.cos(style.cycle(1.9))
    height, front = style.rng.uniform(-0.3, 0.1), style.rng.uniform(0.45, 0.6)
    width = style.amplitude * style.rng.uniform(0.3, 0.5)
    hand = np.stack([-0.255 + width * apart, height + 0 * apart, front - 0.08 * apart], -1)
    for side in SIDES:
        reach(pose.arms[side], share, hand, (0.8, -0.9, -0.2))


def wave(pose: Pose, style: Style) -> None:
    """A raised hand swings from side to side."""
    share = style.envelope()
    swing = style.amplitude * np.sin(style.cycle(1.5))
    out, high = style.rng.uniform(0.3, 0.5), style.rng.uniform(0.4, 0.65)
    hand = np.stack([out + 0.3 * swing, high - 0.08 * np.abs(swing), 0.22 + 0 * swing], -1)
    hand[:, 2] += 0.35 * np.sin(np.pi * share)
    reach(pose.arms["right"], share, hand, (0.8, -1.0, -0.15))
    pose.chest[:, 2] -= 0.05 * share


def kick(pose: Pose, style: Style) -> None:
    """A leg swings back, then fast to the front."""
    u, rng, a, leg = style.progress, style.rng, style.amplitude, pose.legs["right"]
    back = rng.uniform(0.3, 0.42)
    hit = back + rng.uniform(0.13, 0.18)
    high = np.clip(a * rng.uniform(0.3, 0.55), 0.2, 0.6)
    far = np.sqrt(0.96 - (0.985 - high) ** 2)
    ankle = keys(
        u,
        (0, (0, 0, 0)),
        (back, (0.0, 0.24, -0.42)),
        ((back + hit) / 2, (-0.02, 0.14, 0.1)),
        (hit, (-0.04, high, far)),
        (hit + 0.16, (0.0, 0.22, 0.3)),
        (min(hit + 0.34, 0.98), (0, 0, 0)),
        (1, (0, 0, 0)),
    )
    leg.ankle = leg.ankle + ankle
    leg.toes += keys(u, (0, 0), (back, 0.9), (hit, -0.45), (hit + 0.34, 0), (1.01, 0))
    sway = keys(u, (0, 0), (back, 0.18), (hit, -0.3), (hit + 0.34, 0), (1.01, 0)) * a
    lean(pose.pelvis, 0.6 * sway, -0.5 * sway)
    lean(pose.chest, -0.1 * sway, 0.9 * sway)
    lean(pose.head, -0.3 * sway, -0.4 * sway)
    over = keys(u, (0, 0), (back * 0.6, 1), (hit + 0.2, 1), (hit + 0.4, 0), (1.05, 0))
    pose.root[:, 0] += 0.07 * over
    pose.root[:, 1] -= 0.015 * over
    reach(pose.arms["left"], 0.8 * np.clip(-sway / 0.3, -1, 1), (0.35, -0.75, 0.5), (0.4, 0, -1))
    reach(pose.arms["right"], 0.8 * np.clip(-sway / 0.3, -0.5, 1), (0.5, -0.7, -0.35), (0.4, 0, -1))


def jump(pose: Pose, style: Style) -> None:
    """A short crouch, both feet leave the floor, a soft landing."""
    u, rng, a = style.progress, style.rng, style.amplitude
    seconds = max(float(np.ptp(style.time)) * 0.8, 1e-6)
    rise = np.clip(0.2 * a * rng.uniform(0.8, 1.3), 0.14, 0.3)  # leg lengths
    flight = 2 * np.sqrt(2 * rise * 0.85 / 9.81) / seconds
    off = rng.uniform(0.36, 0.5)
    land = off + flight
    crouch = rng.uniform(0.16, 0.26) * a
    depth = keys(
        u,
        (0, 0),
        (off - 0.14, crouch),
        (off, -0.01),
        (land, 0.02),
        (land + 0.1, 0.75 * crouch),
        (1.02, 0),
    )
    s = np.clip((u - off) / flight, 0, 1)
    air = 4 * rise * s * (1 - s)
    pose.root[:, 1] += air - depth
    pose.root[:, 2] -= 0.3 * np.maximum(depth, 0)
    bend = np.maximum(depth, 0) / 0.2
    lean(pose.pelvis, 0.25 * bend)
    lean(pose.chest, 0.2 * bend)
    lean(pose.head, -0.25 * bend)
    tuck = rng.uniform(0.1, 0.5)
    swing = keys(
        u, (0, 0), (off - 0.14, -1), (off + 0.06, 1), (land, 0.5), (land + 0.12, -0.2), (1.02, 0)
    )
    high = rng.uniform(-0.3, 0.6)
    for side in SIDES:
        leg = pose.legs[side]
        leg.ankle = leg.ankle + np.stack([0 * air, air * (1 + 0.3 * tuck), -0.4 * tuck * air], -1)
        leg.toes += np.minimum(2.2 * air, 0.5)
        reach(pose.arms[side], np.maximum(-swing, 0), (0.15, -0.75, -0.5), (0.3, 0.3, -1))
        reach(pose.arms[side], np.maximum(swing, 0), (0.2, high, 0.6), (0.8, -0.6, -0.4))


def squat(pose: Pose, style: Style) -> None:
    """The knees bend deeply and stretch again, the feet stay."""
    u, rng, a = style.progress, style.rng, style.amplitude
    if rng.uniform() < 0.35:
        down = keys(u, (0, 0), (0.25, 1), (0.48, 0.05), (0.74, 1), (1, 0))
    else:
        low = rng.uniform(0.35, 0.5)
        down = keys(u, (0, 0), (low, 1), (low + rng.uniform(0.05, 0.2), 1), (1, 0))
    deep = np.clip(0.42 * a, 0.32, 0.5)
    pose.root[:, 1] -= deep * down
    pose.root[:, 2] -= 0.2 * down
    lean(pose.pelvis, 0.5 * down)
    lean(pose.chest, 0.2 * down)
    lean(pose.head, -0.45 * down)
    hand, elbow = (
        ((-0.02, 0.15, 0.92), (0.5, -1.0, 0.0)),
        ((-0.2, -0.25, 0.4), (0.8, -0.7, 0.0)),
        ((0.1, -0.8, 0.45), (0.6, 0.0, -1.0)),
    )[rng.choice(3, p=(0.4, 0.25, 0.35))]
    for side in SIDES:
        leg = pose.legs[side]
        leg.knee = leg.knee + down[:, None] * np.array([0.25, 0.0, 0.0])
        reach(pose.arms[side], down, hand, elbow)


def bow(pose: Pose, style: Style) -> None:
    """The upper body bends forward from the hips, the legs stay straight."""
    u, rng, a = style.progress, style.rng, style.amplitude
    low = rng.uniform(0.3, 0.45)
    down = keys(u, (0, 0), (low, 1), (rng.uniform(low + 0.08, 0.72), 1), (1, 0))
    pose.root[:, 2] -= 0.17 * a * down
    pose.root[:, 1] -= 0.02 * down
    lean(pose.pelvis, 0.75 * a * down)
    lean(pose.chest, 0.5 * a * down)
    lean(pose.head, rng.uniform(-0.1, 0.3) * down)
    hand, elbow = (
        ((0.02, -0.9, 0.35), (0.4, 0.0, -1.0)),
        ((0.05, -0.95, 0.05), (0.4, 0.0, -1.0)),
        ((-0.18, -0.62, 0.36), (0.8, 0.0, -0.8)),
    )[rng.choice(3)]
    for side in SIDES:
        reach(pose.arms[side], down, hand, elbow)


def walk_in_place(pose: Pose, style: Style) -> None:
    """The feet are lifted in turn, the arms swing against them."""
    share, phase = style.envelope(), style.cycle(0.95)
    high = style.rng.uniform(0.18, 0.32) * style.amplitude
    swing = style.rng.uniform(0.2, 0.5) * style.amplitude
    pose.root[:, 0] += 0.04 * share * -np.sin(phase)
    pose.root[:, 1] += share * (0.012 * np.cos(2 * phase) - 0.012)
    for side, sign in (("right", -1.0), ("left", 1.0)):
        lift = share * np.maximum(sign * np.sin(phase), 0.0) ** 0.8
        leg, arm = pose.legs[side], pose.arms[side]
        leg.ankle = leg.ankle + np.stack([0 * lift, high * lift, -0.06 * lift], -1)
        leg.toes += 0.55 * lift
        forward = -sign * np.sin(phase) * swing
        reach(
            arm,
            share,
            np.stack(
                [0.12 + 0 * forward, -0.9 + 0.35 * np.maximum(forward, 0), 0.12 + 0.8 * forward], -1
            ),
            (0.3, 0.0, -1.0),
        )
    lean(pose.chest, 0.0, 0.1 * share * np.sin(phase))


ACTIONS: dict[str, Callable[[Pose, Style], None]] = {
    "drink": drink,
    "wave": wave,
    "throw": throw,
    "pull": pull,
    "sit down": sit_down,
    "stand up": stand_up,
    "squat": squat,
    "jump": jump,
    "kick": kick,
    "walk in place": walk_in_place,
    "bow": bow,
    "clap": clap,
}
CLASSES: tuple[str, ...] = tuple(ACTIONS)


def perform(action: str, style: Style) -> Pose:
    """The pose over time of one trial of an action."""
    pose = stand(style)
    fidget(pose, style)
    ACTIONS[action](pose, style)
    return pose
