"""From a moving figure to the frames of three cameras.

Facets are drawn from far to near, those that turn away left out, at twice the video's size, and averaged down.
"""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from tfds_builders.mannequin.actions import CLASSES, Style, perform
from tfds_builders.mannequin.body import INDEX, Motion, forward_kinematics
from tfds_builders.mannequin.figure import Mesh, Subject, build_figure, build_stool
from tfds_builders.mannequin.scene import (
    AZIMUTHS,
    HEIGHT,
    SUPERSAMPLING,
    WIDTH,
    Background,
    Camera,
    Light,
    make_background,
    make_setup,
)

SHIFT = 4  # fractional bits of the drawn corners
Frames = UInt8[np.ndarray, "T 120 160 3"]
SHADOW_BONES = (  # from joint, to joint, radius in heights
    ("pelvis", "chest", 0.085),
    ("chest", "head", 0.09),
    *(
        (f"{side}_{a}", f"{side}_{b}", radius)
        for side in ("left", "right")
        for a, b, radius in (
            ("thigh", "shank", 0.042),
            ("shank", "foot", 0.032),
            ("upper_arm", "forearm", 0.03),
        )
    ),
)


def draw_subject(seed: int, subject: int) -> Subject:
    """Subject `subject` of the data set of this seed."""
    return Subject.draw(np.random.default_rng([seed, 2, subject]))


def act(
    subject: Subject, action: str, facing: float, rng: np.random.Generator
) -> tuple[Motion, Motion, str]:
    """One trial in the world, facing about `facing` (radians).

    Returns:
        The motion, the place where the actor stands (one frame, one bone) and the main side.
    """
    motion = forward_kinematics(subject.body, perform(action, Style.draw(rng, subject.speed)))
    side = "right"
    if rng.uniform() < 0.5:
        motion, side = motion.mirrored(), "left"
    radius, angle = 0.45 * np.sqrt(rng.uniform()), rng.uniform(0, 2 * np.pi)
    place = radius * np.sin(angle), radius * np.cos(angle), facing + rng.uniform(-0.44, 0.44)
    here = Motion(np.zeros((1, 1, 3)), np.eye(3)[None, None])
    return motion.placed(*place), here.placed(*place), side


def render_activity(
    setup: int, subject: int, replication: int, action: int, seed: int
) -> dict[int, Frames]:
    """One activity as the three cameras see it, synchronised.

    Args:
        setup: number of the set-up, from 1.
        subject: number of the subject, from 1.
        replication: 1 faces about camera 3, 2 about camera 2.
        action: number of the action, from 1, as in the file names.
        seed: of the whole data set.

    Returns:
        Camera number to BGR frames, uint8 [T 120 160 3], 30 to 40 frames, equally many in all views.
    """
    rng = np.random.default_rng([seed, 3, setup, subject, replication, action])
    room, who = make_setup(seed, setup), draw_subject(seed, subject)
    motion, here, side = act(who, CLASSES[action - 1], AZIMUTHS[3 if replication == 1 else 2], rng)
    cup = tuple(rng.uniform(0.2, 0.95, 3)) if rng.uniform() < 0.5 else None
    mesh = build_figure(who, cup, side)
    stool, stool_facets, stool_colours = build_stool(who.body, room.stool)
    stool = stool @ here.rotation[0, 0].T + here.origin[0, 0]
    vertices = mesh.vertices(motion)
    vertices = np.concatenate(
        [vertices, np.broadcast_to(stool, (len(vertices), *stool.shape))], 1
    ).astype(np.float32)
    facets = np.concatenate([mesh.facets, stool_facets + len(mesh.first)])
    colours = shade(vertices, facets, np.concatenate([mesh.colours, stool_colours]), room.light)
    grain = rng.normal(0, room.noise, (2 * HEIGHT, 3 * WIDTH, 3)).round().astype(np.int16)
    out = {}
    for number, camera in room.cameras.items():
        background = make_background(seed, setup, number)
        scene = Canvas(background, camera, here.origin[0, 0])
        scene.add_shadow(cast_shadow(motion, room.light, camera), who.body.height)
        out[number] = scene.draw(*project(vertices, facets, colours, camera), grain, rng)
    return out


def shade(
    vertices: Float[np.ndarray, "T V 3"], facets: np.ndarray, colours: np.ndarray, light: Light
) -> Float[np.ndarray, "T F 3"]:
    """The colour of every facet under the light, 0 to 255."""
    corners = vertices[:, facets]
    normal = np.cross(corners[:, :, 2] - corners[:, :, 0], corners[:, :, 3] - corners[:, :, 1])
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)
    return np.clip(255 * colours * light.shade(normal), 0, 255)


def project(
    vertices: Float[np.ndarray, "T V 3"], facets: np.ndarray, colours: np.ndarray, camera: Camera
) -> tuple[list[np.ndarray], list[list[list[float]]]]:
    """What to draw in every frame: corners (fixed point) and colours of the facets in view, far to near."""
    seen = camera.project(vertices)
    flat = np.round((seen[..., :2] * SUPERSAMPLING - 0.5) * (1 << SHIFT)).astype(np.int32)
    corners = flat[:, facets]
    across, down = corners[:, :, 2] - corners[:, :, 0], corners[:, :, 3] - corners[:, :, 1]
    to_camera = across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0] < 0
    depth = seen[..., 2][:, facets].mean(-1)
    shapes, paints = [], []
    for t in range(len(vertices)):
        front = np.flatnonzero(to_camera[t])
        order = front[np.argsort(-depth[t, front], kind="stable")]
        shapes.append(corners[t, order])
        paints.append(colours[t, order].tolist())
    return shapes, paints


def cast_shadow(
    motion: Motion, light: Light, camera: Camera
) -> tuple[Float[np.ndarray, "T N 2 2"], np.ndarray]:
    """The shadow on the floor as thick lines: end points [T N 2 2] in pixels, thickness [N] in pixels for 1 m."""
    ends = np.array([[INDEX[a], INDEX[b]] for a, b, _ in SHADOW_BONES])
    joints = motion.origin[:, ends]
    slope = light.direction / light.direction[1]
    ground = joints - slope * joints[..., 1:2]
    seen = camera.project(ground.astype(np.float32))
    return seen[..., :2], 2 * camera.focal / np.median(seen[..., 2])


class Canvas:
    """Draws the frames of one camera in front of its background."""

    def __init__(
        self, background: Background, camera: Camera, actor: Float[np.ndarray, "3"]
    ) -> None:
        """`actor`: where the actor stands; whatever is nearer to the camera hides it."""
        self.image = background.image
        self.floor = background.floor
        nearer = background.depth < camera.project(actor)[2] - 0.35
        self.cover = (nearer & ~background.floor).astype(np.uint8)

    def add_shadow(self, lines: tuple[np.ndarray, float], height: float) -> None:
        """Takes the shadow's lines and prepares the darkened floor."""
        self.lines = np.round(lines[0] * 4).astype(np.int32)
        self.widths = [max(1, round(r * height * lines[1])) for _, _, r in SHADOW_BONES]
        dark = np.where(self.floor[..., None], 0.52, 1.0) * self.image
        self.dark = dark.astype(np.uint8)

    def shadow(self, t: int) -> np.ndarray:
        """How much of the shadow lies on each supersampled pixel, 0 to 1."""
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        for (a, b), width in zip(self.lines[t].tolist(), self.widths, strict=True):
            cv2.line(mask, a, b, 255, width, cv2.LINE_8, 2)
        mask = cv2.blur(cv2.blur(mask, (5, 5)), (5, 5))
        return (
            cv2.resize(mask, (WIDTH * SUPERSAMPLING, HEIGHT * SUPERSAMPLING)).astype(np.float32)
            / 255
        )

    def draw(
        self,
        shapes: list[np.ndarray],
        paints: list[list[list[float]]],
        grain: np.ndarray,
        rng: np.random.Generator,
    ) -> Frames:
        """Every frame: background, shadow, figure, what stands in front, then the sensor."""
        frames = np.empty((len(shapes), HEIGHT, WIDTH, 3), np.uint8)
        covered = self.cover.any()
        places = rng.integers(0, (HEIGHT, 2 * WIDTH), (len(shapes), 2))
        for t, (corners, colours) in enumerate(zip(shapes, paints, strict=True)):
            weight = self.shadow(t)
            canvas = cv2.blendLinear(self.dark, self.image, weight, 1 - weight)
            for points, colour in zip(corners, colours, strict=True):
                cv2.fillConvexPoly(canvas, points, colour, cv2.LINE_8, SHIFT)
            if covered:
                cv2.copyTo(self.image, self.cover, canvas)
            small = cv2.resize(canvas, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
            y, x = places[t]
            cv2.add(small, grain[y : y + HEIGHT, x : x + WIDTH], frames[t], dtype=cv2.CV_8U)
        return frames
