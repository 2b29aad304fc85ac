"""Small raw trees in the official layouts: a mannequin instead of the people, 160 x 120 pixels.

Each function of `TREES` writes one and notes what is to be found in it. The trees hold what is
particular about their data set: missing views, labels with mistakes, files with wrong names.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

from videos import Frame, write_video

from tfds_builders.mannequin.generate import render_activity

LENGTH = 20


class Tree:
    """A raw directory and what is in it.

    Attributes:
        raw_dir: The directory.
        videos: Activity and view -> the frames that were filmed.
        odd: Files that belong to no activity, or not wholly: they are to be named.
    """

    def __init__(self, raw_dir: Path) -> None:
        self.raw_dir = raw_dir
        self.videos: dict[tuple[str, str], list[Frame]] = {}
        self.odd: set[str] = set()

    def add(self, path: str, activity: str, view: str, frames: list[Frame]) -> None:
        self.write(path, frames)
        self.videos[activity, view] = frames

    def add_odd(self, path: str) -> None:
        self.write(path, film(0, 0))
        self.odd.add(path)

    def write(self, path: str, frames: list[Frame]) -> None:
        (self.raw_dir / path).parent.mkdir(parents=True, exist_ok=True)
        codec = "mpeg4" if path.lower().endswith(".avi") else "libx264"
        write_video(self.raw_dir / path, frames, codec)

    def write_text(self, path: str, text: str) -> None:
        (self.raw_dir / path).parent.mkdir(parents=True, exist_ok=True)
        (self.raw_dir / path).write_text(text)


def film(action: int, camera: int) -> list[Frame]:
    """One of two actions, seen by one of three cameras."""
    return _render(1 + action % 2)[1 + camera % 3]


@cache
def _render(action: int) -> dict[int, list[Frame]]:
    views = render_activity(1, 1, 1, action, 0)
    return {camera: list(view[:LENGTH, ..., ::-1]) for camera, view in views.items()}


def ntu(tree: Tree) -> None:
    for setup, subject, action in ((1, 1, 1), (1, 3, 1), (2, 3, 60), (17, 9, 60)):
        for camera in (1, 2, 3):
            tree.add(
                f"nturgb+d_rgb/S{setup:03}C{camera:03}P{subject:03}R002A{action:03}_rgb.avi",
                f"S{setup:03}P{subject:03}R002A{action:03}",
                str(camera),
                film(action, camera),
            )
    tree.add_odd("nturgb+d_rgb/S001C001P001R002A001_rgb (1).avi")


def etri(tree: Tree) -> None:
    for subject, action in ((1, 1), (2, 2), (3, 55)):
        for camera in (1, 2, 7, 8):
            tree.add(
                f"P001-P010/P{subject:03}/A{action:03}_P{subject:03}_G001_C{camera:03}.mp4",
                f"A{action:03}P{subject:03}G001",
                str(camera),
                film(action, camera),
            )
    tree.add_odd("P001-P010/P001/A056_P001_G001_C001.mp4")


def synadl(tree: Tree) -> None:
    for character, action in ((101, 1), (115, 2)):
        for camera in (1, 2, 10, 28):
            tree.add(
                f"RGB/A{action:03}_P{character}_G004_C{camera:03}.avi",
                f"A{action:03}P{character}G004",
                str(camera),
                film(action, camera),
            )
    tree.add_odd("RGB/A001_P001_G001_C001.avi")


def nucla(tree: Tree) -> None:
    views = {"a01_s01_e00": "123", "a12_s10_e01": "123", "a04_s04_e05": "12", "a01_s03_e05": "3"}
    for activity, present in views.items():
        action, take = activity.split("_", 1)
        for view in present:
            path = f"multiview_action_videos/{action}/v0{view}_{take}.avi"
            tree.add(path, activity, view, film(int(action[1:]), int(view)))
    tree.add_odd("multiview_action_videos/a07/v01_s01_e00.avi")


def pku_mmd2(tree: Tree) -> None:
    """Each video shows action 33 and then action 34; the second of them is labelled first."""
    for sequence, views in (("A01N01", "LMR"), ("A05N04", "LR"), ("A01N02", "LMR")):
        for camera, view in enumerate(views):
            first, second = film(33, camera), film(34, camera)
            path = f"RGB_VIDEO/{sequence}-{view}.avi"
            tree.write(path, first + second)
            labels = f"34,{2 * LENGTH},{LENGTH + 1},1\n\n33,1,{LENGTH}\n"
            tree.write_text(f"Label/{sequence}-{view}.txt", labels)
            tree.videos[f"{sequence}S001", view] = first
            tree.videos[f"{sequence}S002", view] = second
    tree.write_text("Label/A05N04-R.txt", f"33,1,{LENGTH},2\n34,{LENGTH + 1},no end,1\n")
    del tree.videos["A05N04S002", "R"]
    tree.odd.add("Label/A05N04-R.txt")
    tree.add_odd("RGB_VIDEO/A02N01-M.avi")  # without labels


def rocog_v2(tree: Tree) -> None:
    clips = {  # setup, view and name without the suffix -> folder of its class
        "real_ground_S01_10m_ground_label5_start1462": "Halt",
        "real_ground_S02_10m_ground_2_label7_start2363": "MoveInReverse",
        "real_ground_S04b_10m_ground_label5_start930": "Halt",
        "real_air_S05_15m_hover_label1_start2368": "Advance",
        "syn_ground_Scene1_0_Advance_30_1_2022_17_3_43": "Advance",
        "syn_air_Scene1_0_Advance_30_1_2022_17_3_43": "Advance",
    }
    for number, (clip, name) in enumerate(clips.items()):
        setup, view, stem = clip.split("_", 2)
        tree.add(f"{setup}/{view}/{name}/{stem}.mp4", clip, view, film(number, number))
    tree.add_odd("real/ground/Rally/S01_10m_ground_label5_start1500.mp4")


TREES: dict[str, Callable[[Tree], None]] = {
    "ntu": ntu,
    "etri": etri,
    "synadl": synadl,
    "nucla": nucla,
    "pku_mmd2": pku_mmd2,
    "rocog_v2": rocog_v2,
}
