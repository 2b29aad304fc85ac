"""From a moving figure to the frames of three cameras.

Facets are drawn from far to near, those that turn away left out, at `SUPERSAMPLING` times the size
of the video, and averaged down. What does not depend on the camera is done once for all three, and
over all frames at once.
"""

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from tfds_builders.mannequin.actions import CLASSES, Style, perform
from tfds_builders.mannequin.background import Background, make_background
from tfds_builders.mannequin.balls import draw_balls
from tfds_builders.mannequin.body import INDEX, SIDES, Motion, forward_kinematics
from tfds_builders.mannequin.figure import Subject, Surface, join, make_figure, make_stool, merge
from tfds_builders.mannequin.scene import (
    AZIMUTHS,
    HEIGHT,
    MARGIN,
    SUPERSAMPLING,
    WIDTH,
    Camera,
    Light,
    make_setup,
)
from tfds_builders.mannequin.staging import CENTRED, Staging

SHIFT = 4  # fractional bits of drawn corners
PLACE = INDEX["place"]
WRAP = 0.3  # softness of the light on the figure: hides the edges between facets
SHADOW = 0.52  # brightness of the floor in full shadow
SHADOWS = (  # from joint, to joint, radius in metres
    ("pelvis", "chest", 0.15),
    ("chest", "head", 0.16),
    *((f"{side}_thigh", f"{side}_shank", 0.075) for side in SIDES),
    *((f"{side}_shank", f"{side}_foot", 0.055) for side in SIDES),
    *((f"{side}_upper_arm", f"{side}_forearm", 0.05) for side in SIDES),
)
STOOL_SHADOW = 0.2

Frames = UInt8[np.ndarray, "T 120 160 3"]
Shapes = list[Int[np.ndarray, "N 4 2"]]
Paints = list[list[list[float]]]


def draw_subject(seed: int, subject: int, pale: bool) -> Subject:
    """Subject `subject` of the data set of this seed, in dark or in pale clothes."""
    return Subject.draw(np.random.default_rng([seed, 2, subject]), pale)


def act(
    who: Subject,
    action: str,
    facing: float,
    staging: Staging,
    rng: np.random.Generator,
) -> tuple[Motion, str]:
    """One trial in the world, facing about `facing` (radians): the motion and its main side."""
    motion = forward_kinematics(who.body, perform(action, Style.draw(rng, who.speed, staging)))
    side = "right"
    if rng.uniform() < 0.5:
        motion, side = motion.mirrored(), "left"
    radius, angle = np.sqrt(rng.uniform()), rng.uniform(0, 2 * np.pi)
    wide, deep = staging.area
    facing += rng.uniform(-staging.turn, staging.turn)
    x, z = wide * radius * np.sin(angle), deep * radius * np.cos(angle) - staging.back
    return motion.placed(x, z, facing), side


def choose_frame(
    camera: Camera,
    feet: Float[np.ndarray, "3"],
    height: float,
    staging: Staging,
    rng: np.random.Generator,
) -> tuple[int, int]:
    """Where the frame begins, in pixels from the middle one: the actor in view."""
    column, low, _ = camera.project(feet)
    _, high, _ = camera.project(feet + np.array([0.0, 1.06 * height, 0.0]))

    def draw_from(first: float, last: float, margin: int) -> int:
        first, last = (np.clip(end, -margin, margin) for end in (first, last))
        return round(rng.uniform(first, last) if first < last else (first + last) / 2)

    middle, aside = column - 0.5 * WIDTH, staging.aside * WIDTH
    left = draw_from(middle - aside, middle + aside, MARGIN[0])
    highest, lowest = low + 4 - HEIGHT, high - 2  # feet and raised head just in view
    slack = staging.slack * (lowest - highest)
    return left, draw_from(highest + slack, lowest - slack, MARGIN[1])


def render_activity(
    setup: int,
    subject: int,
    replication: int,
    action: int,
    seed: int,
    staging: Staging = CENTRED,
) -> dict[int, Frames]:
    """One activity as the three cameras see it, synchronised.

    Args:
      setup: number of the set-up, from 1.
      subject: number of the subject, from 1.
      replication: 1 faces about camera 3, 2 about camera 2.
      action: number of the action, from 1, as in the file names.
      seed: of the whole data set.
      staging: how much of it is left to chance.

    Returns:
      Camera number to BGR frames, uint8 [T 120 160 3], the same T in all views.
    """
    rng = np.random.default_rng([seed, 3, setup, subject, replication, action])
    room = make_setup(seed, setup)
    who = draw_subject(seed, subject, pale=room.dark)
    facing = AZIMUTHS[3 if replication == 1 else 2]
    motion, side = act(who, CLASSES[action - 1], facing, staging, rng)
    cup = tuple(rng.uniform(0.2, 0.95, 3)) if rng.uniform() < 0.5 else None
    stool = make_stool(who.body, room.stool)
    figure = join([make_figure(who, cup, side), stool]).surface(motion)
    balls = draw_balls(
        staging, len(figure.vertices), [seed, 4, setup, subject, replication, action]
    )
    surface = merge([figure, *(ball.surface() for ball in balls)])
    colours = shade(surface, room.light)
    seat = stool.vertices(motion)[0, -16:].mean(0)
    grain = rng.normal(0, room.noise, (2 * HEIGHT, 3 * WIDTH, 3)).round().astype(np.int16)
    views = {}
    for number, camera in room.cameras.items():
        frame = choose_frame(camera, motion.origin[0, PLACE], who.body.height, staging, rng)
        camera = camera.framed(*frame)
        background = make_background(seed, setup, number).framed(*frame)
        lines, widths = cast_shadow(motion, seat, room.light, camera)
        views[number] = draw(
            background,
            find_cover(background, camera, motion.origin[0, PLACE]),
            draw_shadows(background, lines, widths),
            *project(surface, colours, camera),
            grain,
            rng,
        )
    return views


def shade(surface: Surface, light: Light) -> Float[np.ndarray, "T F 3"]:
    """The colour of every facet under the light, 0 to 255."""
    corners = surface.vertices[:, surface.facets]
    normal = np.cross(corners[:, :, 2] - corners[:, :, 0], corners[:, :, 3] - corners[:, :, 1])
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)
    return np.clip(255 * surface.colours * light.shade(normal, WRAP), 0, 255)


def project(
    surface: Surface, colours: Float[np.ndarray, "T F 3"], camera: Camera
) -> tuple[Shapes, Paints]:
    """What to draw in every frame: corners (fixed point) and colours of facets, far to near."""
    seen = camera.project(surface.vertices)
    fixed = np.round((seen[..., :2] * SUPERSAMPLING - 0.5) * (1 << SHIFT)).astype(np.int32)
    corners = fixed[:, surface.facets]
    a, b = corners[:, :, 2] - corners[:, :, 0], corners[:, :, 3] - corners[:, :, 1]
    in_view = a[..., 0] * b[..., 1] < a[..., 1] * b[..., 0]
    depth = seen[..., 2][:, surface.facets].mean(-1)
    shapes, paints = [], []
    for t, visible in enumerate(in_view):
        near = np.flatnonzero(visible)
        order = near[np.argsort(-depth[t, near], kind="stable")]
        shapes.append(corners[t, order])
        paints.append(colours[t, order].tolist())
    return shapes, paints


def find_cover(
    background: Background, camera: Camera, actor: Float[np.ndarray, "3"]
) -> UInt8[np.ndarray, "H W"]:
    """1 where something of the room stands between the camera and the actor."""
    nearer = background.depth < camera.project(actor)[2] - 0.35
    return (nearer & ~background.floor).astype(np.uint8)


def cast_shadow(
    motion: Motion, seat: Float[np.ndarray, "3"], light: Light, camera: Camera
) -> tuple[Float[np.ndarray, "T N 2 2"], list[int]]:
    """The shadow on the floor as thick lines: end points and widths in pixels of the video."""
    ends = np.array([[INDEX[a], INDEX[b]] for a, b, _ in SHADOWS])
    joints = motion.origin[:, ends]
    stool = np.broadcast_to(seat, (len(joints), 1, 2, 3))
    points = np.concatenate([joints, stool], 1)
    slope = light.direction / light.direction[1]
    seen = camera.project(points - slope * points[..., 1:2])
    scale = 2 * camera.focal / float(np.median(seen[..., 2]))
    radii = [radius for _, _, radius in SHADOWS] + [STOOL_SHADOW]
    return seen[..., :2], [max(1, round(scale * radius)) for radius in radii]


def draw_shadows(
    background: Background, lines: Float[np.ndarray, "T N 2 2"], widths: list[int]
) -> list[UInt8[np.ndarray, "H W 3"]]:
    """The background with the soft shadow of every frame."""
    size = np.array([WIDTH, HEIGHT])
    points = lines.reshape(-1, 2)
    low = np.clip(np.floor(points.min(0)) - 20, 0, size - 2).astype(int)
    high = np.clip(np.ceil(points.max(0)) + 20, low + 2, size).astype(int)
    big = tuple(
        slice(SUPERSAMPLING * int(a), SUPERSAMPLING * int(b))
        for a, b in zip(low[::-1], high[::-1], strict=True)
    )
    bright = background.image[big]
    dark = np.where(background.floor[big][..., None], SHADOW * bright, bright).astype(np.uint8)
    wide, tall = (int(n) for n in high - low)
    fixed = np.round((lines - low) * (1 << SHIFT)).astype(np.int32).tolist()
    images = []
    for frame in fixed:
        mask = np.zeros((tall, wide), np.uint8)
        for (start, end), width in zip(frame, widths, strict=True):
            cv2.line(mask, start, end, 255, width, cv2.LINE_8, SHIFT)
        soft = cv2.blur(cv2.blur(mask, (5, 5)), (5, 5))
        large = cv2.resize(soft, (bright.shape[1], bright.shape[0]))
        weight = large.astype(np.float32) / 255
        image = background.image.copy()
        image[big] = cv2.blendLinear(dark, bright, weight, 1 - weight)
        images.append(image)
    return images


def draw(
    background: Background,
    cover: UInt8[np.ndarray, "H W"],
    canvases: list[UInt8[np.ndarray, "H W 3"]],
    shapes: Shapes,
    paints: Paints,
    grain: Int[np.ndarray, "A B 3"],
    rng: np.random.Generator,
) -> Frames:
    """Every frame: the figure on its canvas, then what stands in front, then the sensor's noise."""
    frames = np.empty((len(canvases), HEIGHT, WIDTH, 3), np.uint8)
    spots = rng.integers(0, (grain.shape[0] - HEIGHT, grain.shape[1] - WIDTH), (len(canvases), 2))
    covered = cover.any()
    for t, canvas in enumerate(canvases):
        for corners, colour in zip(shapes[t], paints[t], strict=True):
            cv2.fillConvexPoly(canvas, corners, colour, cv2.LINE_8, SHIFT)
        if covered:
            cv2.copyTo(background.image, cover, canvas)
        small = cv2.resize(canvas, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        y, x = spots[t]
        cv2.add(small, grain[y : y + HEIGHT, x : x + WIDTH], frames[t], dtype=cv2.CV_8U)
    return frames
