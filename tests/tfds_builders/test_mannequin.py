"""The generator of the mannequin data set: geometry, movement, files."""

import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mv2mae_jax.data.sampling import spaced_clips
from mv2mae_jax.errors import InputError
from mv2mae_jax.evaluation.probes import motion_map, ridge_predictions, sparse_pixels
from tfds_builders.mannequin import generate as generator
from tfds_builders.mannequin.actions import CLASSES, Style, keys, perform
from tfds_builders.mannequin.background import make_background
from tfds_builders.mannequin.balls import FLOOR, draw_balls
from tfds_builders.mannequin.body import BONES, INDEX, Proportions, euler, forward_kinematics
from tfds_builders.mannequin.figure import make_figure
from tfds_builders.mannequin.generate import generate, plan, render_activity
from tfds_builders.mannequin.mannequin_dataset_builder import Builder
from tfds_builders.mannequin.render import PLACE, act, choose_frame, draw_subject
from tfds_builders.mannequin.scene import AZIMUTHS, MARGIN, Camera, make_setup
from tfds_builders.mannequin.staging import ALONE, CENTRED, ROAMING, Staging

SEEDS = st.integers(0, 2**31)


def motion_of(action: str, seed: int, body: Proportions | None = None):
    rng = np.random.default_rng(seed)
    body = body or Proportions(float(rng.uniform(1.5, 1.95)), girth=float(rng.uniform(0.9, 1.3)))
    style = Style.draw(rng, float(rng.uniform(0.9, 1.1)), CENTRED)
    return body, forward_kinematics(body, perform(action, style))


def empty_room(view: np.ndarray, setup: int, camera: int) -> np.ndarray:
    """The part of the empty room that is behind this view, found by comparing."""
    whole = make_background(0, setup, camera).image
    small = cv2.resize(whole, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    median = np.median(view, axis=0)[::4, ::4]

    def distance(at: tuple[int, int]) -> float:  # clipped: the figure must not decide
        top, left = at
        part = small[top : top + 120 : 4, left : left + 160 : 4]
        return float(np.minimum(np.abs(part - median), 10).mean())

    places = [(y, x) for y in range(2 * MARGIN[1] + 1) for x in range(2 * MARGIN[0] + 1)]
    top, left = min(places, key=distance)
    return small[top : top + 120, left : left + 160]


def test_camera_projects_known_points():
    camera = Camera.looking(np.array([0.0, 1.0, 4.0]), np.array([0.0, 1.0, 0.0]), 200.0)
    np.testing.assert_allclose(camera.project(np.array([0.0, 1.0, 0.0])), [80, 60, 4], atol=1e-9)
    # 1 m to the right and 0.5 m up at 4 m: 200 / 4 = 50 pixels a metre; rows count downwards.
    np.testing.assert_allclose(camera.project(np.array([1.0, 1.5, 0.0])), [130, 35, 4], atol=1e-9)
    # The same point twice as near: twice as far from the middle.
    np.testing.assert_allclose(camera.project(np.array([1.0, 1.5, 2.0])), [180, 10, 2], atol=1e-9)
    # A pixel's ray leads back to where the point was.
    rays = camera.rays().reshape(2 * (120 + 2 * MARGIN[1]), 2 * (160 + 2 * MARGIN[0]), 3)
    ray = rays[2 * (35 + MARGIN[1]), 2 * (130 + MARGIN[0])]
    np.testing.assert_allclose(camera.position + 4 * ray, [1.0, 1.5, 0.0], atol=0.02)
    # A frame that begins 7 pixels to the right and 3 further down shows it that much to the left.
    framed = camera.framed(7, 3).project(np.array([1.0, 1.5, 0.0]))
    np.testing.assert_allclose(framed, [123, 32, 4], atol=1e-9)


def test_cameras_stand_at_their_azimuths():
    setup = make_setup(0, 1)
    for number, azimuth in AZIMUTHS.items():
        x, _, z = setup.cameras[number].position
        assert np.arctan2(x, z) == pytest.approx(azimuth)
        assert setup.cameras[number].project(np.zeros(3))[0] == pytest.approx(80, abs=15)
    # World +x lies to the right in camera 1, and camera 2 stands on that side.
    assert setup.cameras[1].project(np.array([0.5, 1.0, 0.0]))[0] > 90
    assert setup.cameras[2].position[0] > 1


def test_rotations_by_hand():
    quarter = np.pi / 2
    pitch, yaw, roll = euler(quarter * np.eye(3))
    np.testing.assert_allclose(pitch @ [0, 1, 0], [0, 0, 1], atol=1e-12)  # up goes to the front
    np.testing.assert_allclose(yaw @ [0, 0, 1], [1, 0, 0], atol=1e-12)  # the front goes to the left
    np.testing.assert_allclose(roll @ [0, 1, 0], [-1, 0, 0], atol=1e-12)  # up goes to the right


def test_keys_pass_through_the_frames_and_hold():
    at = np.linspace(0, 1, 101)
    curve = keys(at, (0, 0.0), (0.3, 2.0), (0.6, 2.0), (1, -1.0))
    np.testing.assert_allclose(curve[[0, 30, 60, 100]], [0, 2, 2, -1], atol=1e-9)
    np.testing.assert_allclose(curve[30:61], 2.0, atol=1e-9)
    assert keys(at, (0, (0.0, 1.0, 2.0)), (1, (1.0, 1.0, 0.0))).shape == (101, 3)


@settings(deadline=None, max_examples=40)
@given(action=st.sampled_from(CLASSES), seed=SEEDS)
def test_bones_keep_their_lengths(action, seed):
    body, motion = motion_of(action, seed)
    for side in ("left", "right"):
        for upper, lower, length in (
            ("thigh", "shank", body.thigh),
            ("shank", "foot", body.shank),
            ("upper_arm", "forearm", body.upper_arm),
        ):
            ends = motion.origin[:, [INDEX[f"{side}_{upper}"], INDEX[f"{side}_{lower}"]]]
            np.testing.assert_allclose(np.linalg.norm(ends[:, 1] - ends[:, 0], axis=-1), length)
    turned = motion.rotation @ motion.rotation.swapaxes(-1, -2)
    np.testing.assert_allclose(turned, np.broadcast_to(np.eye(3), turned.shape), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(motion.rotation), 1.0)


@settings(deadline=None, max_examples=40)
@given(action=st.sampled_from(CLASSES), seed=SEEDS)
def test_knees_and_elbows_bend_the_right_way_and_feet_stay_above_the_floor(action, seed):
    _, motion = motion_of(action, seed)
    for side in ("left", "right"):
        for upper, lower, way in (("thigh", "shank", 1), ("upper_arm", "forearm", -1)):
            first = motion.rotation[:, INDEX[f"{side}_{upper}"]]
            second = motion.rotation[:, INDEX[f"{side}_{lower}"]]
            # Both share the hinge (x); the second bone turns around it to the back (knee) or front.
            np.testing.assert_allclose(first[..., 0], second[..., 0], atol=1e-9)
            turn = np.einsum("ti,ti->t", np.cross(-first[..., 1], -second[..., 1]), first[..., 0])
            assert (way * turn > -1e-6).all()
    who = draw_subject(0, 1 + seed % 20, pale=seed % 2 == 0)
    _, motion = motion_of(action, seed, who.body)
    lowest = make_figure(who, None, "right").vertices(motion)[..., 1].min(1)
    assert lowest.min() > -0.03
    if action == "jump":
        assert lowest.max() > 0.03
    else:
        assert lowest.max() < 0.03  # the floor carries the body


def test_mirroring_exchanges_the_sides():
    _, motion = motion_of("wave", 3)
    mirrored = motion.mirrored()
    left, right = INDEX["left_forearm"], INDEX["right_forearm"]
    np.testing.assert_allclose(mirrored.origin[:, left], motion.origin[:, right] * [-1, 1, 1])
    np.testing.assert_allclose(np.linalg.det(mirrored.rotation), 1.0)
    np.testing.assert_allclose(mirrored.mirrored().origin, motion.origin)
    assert len(BONES) == motion.origin.shape[1]


def test_actions_of_a_pair_differ():
    """Stand up is no copy of sit down: hips end high in one, low in the other; and so on."""

    def height(action: str, bone: str) -> np.ndarray:
        tracks = [motion_of(action, seed, Proportions(1.75))[1] for seed in range(12)]
        return np.stack(
            [np.interp(np.linspace(0, 1, 40), np.linspace(0, 1, len(t)), t)
             for t in (m.origin[:, INDEX[bone], 1] for m in tracks)]
        )  # fmt: skip

    sit, stand = height("sit down", "pelvis"), height("stand up", "pelvis")
    assert (sit[:, 0] - sit[:, -1] > 0.3).all() and (stand[:, -1] - stand[:, 0] > 0.3).all()
    # A squat keeps the feet down, a jump lifts both.
    feet = {a: [height(a, f"{s}_foot") for s in ("left", "right")] for a in CLASSES}
    lower = {action: np.minimum(*both) for action, both in feet.items()}
    assert lower["squat"].max() < 0.1 < 0.15 < lower["jump"].max(1).min()
    # A bow lowers the head as a squat does, but hardly the hips.
    assert height("bow", "head").min(1).max() < 1.35
    assert height("squat", "pelvis").min(1).max() < 0.72 < height("bow", "pelvis").min(1).min()
    # A kick lifts one foot, walking in place both, one after the other.
    kick, walk = (np.max(feet[action], axis=2) for action in ("kick", "walk in place"))
    assert (kick.min(0) < 0.17).all() and (kick.max(0) > 0.25).all() and (walk.min(0) > 0.17).all()


def test_background_is_the_same_for_all_actions():
    """But for the figure and its stool, a view is a frame of one and the same room, up to noise."""
    for action in (1, 5, 8):
        for camera, view in render_activity(2, 1, 1, action, 0).items():
            median, empty = np.median(view, axis=0), empty_room(view, 2, camera)
            away = np.abs(median - empty).max(-1)
            assert np.mean(away < 8) > 0.75


def test_views_are_synchronised():
    """The moment of greatest height of a jump is the same in all views."""
    views = render_activity(1, 1, 1, 1 + CLASSES.index("jump"), 0)
    assert set(views) == {1, 2, 3}
    assert len({view.shape for view in views.values()}) == 1
    assert views[1].shape[1:] == (120, 160, 3) and 30 <= len(views[1]) <= 40
    tops = []
    for camera, frames in views.items():
        room = empty_room(frames, 1, camera)
        figure = np.abs(frames.astype(int) - room).max(-1) > 40
        tops.append(int(np.argmin((figure.sum(2) > 2).argmax(1))))  # frame of the highest row
    assert max(tops) - min(tops) <= 1


def test_files_are_deterministic_complete_and_decodable(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(
        generator, "plan", lambda *a: [x for x in plan(*a) if x[2] == 1 and x[3] in (4, 9)]
    )
    one = generate(tmp_path / "one", subjects=1, replications=1, seed=5, jobs=1)
    seen: list[tuple[int, int]] = []
    two = generate(
        tmp_path / "two", subjects=1, replications=1, seed=5, jobs=2,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert seen == [(1, 2), (2, 2)]
    assert [p.name for p in one] == [p.name for p in two] and len(one) == 6
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(one, two, strict=True))
    assert sorted((tmp_path / "one").rglob("*.avi")) == one
    for path in one:
        with av.open(str(path)) as container:
            assert container.streams.video[0].average_rate == 15
            frames = [f.to_ndarray(format="bgr24") for f in container.decode(video=0)]
        assert frames[0].shape == (120, 160, 3) and 30 <= len(frames) <= 40
        capture = cv2.VideoCapture(str(path))
        count = 0
        while capture.read()[0]:
            count += 1
        assert count == len(frames)
        setup, camera, subject, replication, action = (
            int(path.name[k : k + 3]) for k in (1, 5, 9, 13, 17)
        )
        rendered = render_activity(setup, subject, replication, action, 5)[camera]
        assert np.abs(np.stack(frames).astype(int) - rendered).mean() < 6

    path, *_ = generate(tmp_path / "3", subjects=1, replications=1, seed=5, staging="roaming")
    with av.open(str(path)) as container:
        frames = [f.to_ndarray(format="bgr24") for f in container.decode(video=0)]
    setup, _, subject, replication, action = (int(path.name[k : k + 3]) for k in (1, 5, 9, 13, 17))
    rendered = render_activity(setup, subject, replication, action, 5, ROAMING)[1]
    assert np.abs(np.stack(frames).astype(int) - rendered).mean() < 6

    one[0].unlink()
    stamps = [p.stat().st_mtime_ns for p in one[1:]]
    generate(tmp_path / "one", subjects=1, replications=1, seed=5, jobs=1)
    assert one[0].read_bytes() == two[0].read_bytes()
    assert stamps == [p.stat().st_mtime_ns for p in one[1:]]
    for other in ({"seed": 6}, {"seed": 5, "staging": "roaming"}):
        with pytest.raises(InputError, match="holds videos of seed 5, centred, not of seed"):
            generate(tmp_path / "one", subjects=1, **other)


def test_a_video_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch):
    def fills_the_disk(part: Path, frames: object) -> None:
        part.write_bytes(b"RIFF")
        raise OSError("No space left on device")

    monkeypatch.setattr(generator, "_write_whole", fills_the_disk)
    with pytest.raises(OSError, match="No space left"):
        generator.write_video(tmp_path / "a.avi", np.zeros((2, 8, 8, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_balls_stay_in_the_room_and_are_seen_from_outside():
    counts = set()
    for number in range(20):
        balls = draw_balls(ROAMING, 50, [number])
        counts.add(len(balls))
        for ball in balls:
            low = ball.middle.min(axis=0)
            assert (low >= (FLOOR[0][0], ball.radius - 1e-9, FLOOR[1][0])).all()
            assert (ball.middle.max(axis=0)[[0, 2]] <= (FLOOR[0][1], FLOOR[1][1])).all()
            steps = np.linalg.norm(np.diff(ball.middle[:, [0, 2]], axis=0), axis=-1)
            assert 0 < steps.max() < 0.11  # at most 1.5 m/s, 15 frames a second
            surface = ball.surface()
            corners = surface.vertices[:, surface.facets]
            normal = np.cross(
                corners[:, :, 2] - corners[:, :, 0], corners[:, :, 3] - corners[:, :, 1]
            )
            outward = corners.mean(axis=2) - ball.middle[:, None]
            assert ((normal * outward).sum(axis=-1) > 0).all()
            reach = np.linalg.norm(surface.vertices - ball.middle[:, None], axis=-1)
            np.testing.assert_allclose(reach, ball.radius, rtol=1e-3)
    assert counts == {1, 2, 3}
    assert draw_balls(CENTRED, 50, [0]) == draw_balls(ALONE, 50, [0]) == []


@pytest.mark.parametrize(
    ("staging", "area", "back", "turn", "aside"),
    [(CENTRED, (0.5, 0.5), 0.0, 15, 0.04), (ROAMING, (0.9, 0.95), 0.55, 40, 0.2)],
)
def test_people_stand_and_face_as_the_staging_says(
    staging: Staging, area: tuple[float, float], back: float, turn: float, aside: float
):
    """Drawn often, they come near every bound and never beyond one."""
    rng = np.random.default_rng(0)
    camera, who = make_setup(0, 1).cameras[1], draw_subject(0, 1, pale=False)
    places, columns = [], []
    for _ in range(200):
        motion, _ = act(who, "clap", 0.3, staging, rng)
        feet = motion.origin[0, PLACE]
        facing = motion.rotation[0, PLACE, :, 2]
        places.append([feet[0], feet[2] + back, np.arctan2(facing[0], facing[2]) - 0.3])
        column, *_ = camera.project(feet)
        left, _ = choose_frame(camera, feet, who.body.height, staging, rng)
        if abs(column - 80) < MARGIN[0] - aside * 160:  # the frame is drawn on both sides
            columns.append((column - left) / 160 - 0.5)
    x, z, facing = np.abs(places).max(axis=0)
    assert 0.9 < x / area[0] <= 1 and 0.9 < z / area[1] <= 1
    assert 0.9 < facing / np.deg2rad(turn) <= 1
    assert 0.8 * aside < np.abs(columns).max() <= aside + 0.5 / 160


def test_alone_is_roaming_without_its_balls():
    """The same performance from the same cameras: nearly all of the picture is the same."""
    roaming, alone = (render_activity(1, 2, 1, 3, 0, staging) for staging in (ROAMING, ALONE))
    for camera, view in roaming.items():
        assert view.shape == alone[camera].shape
        differs = np.abs(view.astype(int) - alone[camera]).max(axis=-1) > 20
        assert 0 < differs.mean() < 0.1


def test_a_ball_that_bounces_falls_as_things_fall():
    """Between bounces its height is a parabola, by a share of gravity that is drawn."""
    ball = draw_balls(ROAMING, 50, [3])[0]
    bend = np.diff(ball.middle[:, 1], n=2) * 15**2
    usual = np.median(bend)
    assert -9.81 < usual < 0
    assert (np.abs(bend - usual) < 1e-6).mean() > 0.6 and (bend >= usual - 1e-6).all()


def linear_controls(activities, staging) -> dict[str, float]:
    """xview accuracy of ridge classifiers: on pixels, on the motion map, and on it over time."""
    labels = np.array([activity[3] for activity in activities])
    clips = {camera: [] for camera in AZIMUTHS}
    for activity in activities:
        for camera, view in render_activity(*activity, 0, staging).items():
            [times] = spaced_clips(len(view), num_frames=8, stride=4, clips=1)
            clips[camera].append([cv2.resize(view[t], (75, 56))[:, 9:65] for t in times])
    whole = {camera: np.array(clip) for camera, clip in clips.items()}
    motion = {camera: motion_map(clip, (2, 14, 14)) for camera, clip in whole.items()}

    def accuracy(features: dict[int, np.ndarray]) -> float:
        flat = {camera: x.reshape(len(x), -1) for camera, x in features.items()}
        train = np.concatenate([flat[2], flat[3]])
        return np.mean(ridge_predictions(train, np.tile(labels, 2), flat[1]) == labels)

    return {
        "pixels": accuracy({camera: sparse_pixels(clip) for camera, clip in whole.items()}),
        "motion map": accuracy({camera: x.mean(axis=1) for camera, x in motion.items()}),
        "motion map over time": accuracy(motion),
    }


@pytest.mark.slow
def test_roaming_leaves_little_to_linear_classifiers():
    """Centred, pixels and the motion map tell the action; roaming, they hardly do (chance 8 %)."""
    activities = plan(20, 2, 0)
    centred, roaming = (linear_controls(activities, staging) for staging in (CENTRED, ROAMING))
    print(f"\ncentred {centred}\nroaming {roaming}")
    assert roaming["pixels"] < 0.15 < 0.4 < centred["pixels"]
    assert roaming["motion map"] < 0.35 < 0.4 < centred["motion map"]
    assert roaming["motion map over time"] < 0.45 < 0.65 < centred["motion map over time"]


def test_plan_says_nothing_about_the_action():
    activities = plan(20, 2, 0)
    assert len(set(activities)) == len(activities) == 20 * 12 * 2
    for subject in range(1, 21):
        assert 2 <= len({a[0] for a in activities if a[1] == subject}) <= 3
    assert {a[0] for a in activities} == set(range(1, generator.SETUPS + 1))
    assert set(plan(3, 1, 0)) <= set(activities)  # more subjects change nothing for the first


def test_a_complete_build_is_compared_and_nothing_rendered(mannequin_dir: Path):
    raw_dir = mannequin_dir.parent / "raw"
    before = sorted(raw_dir.rglob("*"))
    same = {"subjects": 2, "replications": 1, "raw_dir": raw_dir, "data_dir": mannequin_dir}
    removed = raw_dir.with_name("removed")  # the videos need not be there
    assert Builder(**same).predict() is None
    assert Builder(**same | {"raw_dir": removed}).predict() is None
    for other, said in (
        ({"subjects": 3}, "built with subjects 2, not 3"),
        ({"staging": "roaming"}, "built with staging centred, not roaming"),
        ({"seed": 5}, "built with seed 0, not 5"),
    ):
        for folder in (raw_dir, removed):
            with pytest.raises(InputError, match=said):
                Builder(**same | other | {"raw_dir": folder}).predict()
    assert sorted(raw_dir.rglob("*")) == before and not removed.exists()


def test_impossible_numbers_are_named(tmp_path: Path):
    with pytest.raises(InputError, match="subjects"):
        generate(tmp_path, subjects=0)
    with pytest.raises(InputError, match="replications"):
        generate(tmp_path, replications=3)
    for name in ("seed", "jobs"):
        with pytest.raises(InputError, match=f"{name} is -1"):
            generate(tmp_path, **{name: -1})
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_speed(tmp_path: Path):
    """At least 100 frames a second and core are promised; half of that is asserted."""
    render_activity(1, 1, 1, 1, 0)  # the set-up's backgrounds
    start, frames = time.process_time(), 0
    for action in (3, 5, 8):
        for camera, view in render_activity(1, 1, 1, action, 0).items():
            generator.write_video(tmp_path / f"{action}{camera}.avi", view)
            frames += len(view)
    assert frames / (time.process_time() - start) > 50
