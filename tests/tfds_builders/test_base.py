"""What was built holds what was filmed: records, index and report of real small videos."""

import json
import os
import re
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import simplejpeg
from grain.sources import ArrayRecordDataSource
from tensorflow_datasets.proto import tf_example_pb2
from videos import moving_pattern, write_csv, write_video

from mv2mae_jax.data.records import RecordSource, load_index
from mv2mae_jax.data.verify import verify
from mv2mae_jax.errors import InputError
from tfds_builders import base, encoding
from tfds_builders.manifest_data.manifest_data_dataset_builder import Builder
from tfds_builders.ntu.ntu_dataset_builder import Builder as NTUBuilder
from tfds_builders.report import duration
from tfds_builders.video import Frames, VideoError

HEADER = "activity,view,path,label,subject,setup,first,last"
ROWS = [  # activity, view, seed of the pattern, label, subject, setup, first, last
    ("pour", "left", 1, "pour", "Ann", "kitchen", "", ""),
    ("pour", "right", 2, "pour", "Ann", "kitchen", "", ""),
    ("stir-1", "left", 3, "stir", "Ben", "kitchen", 0, 9),
    ("stir-1", "right", 4, "stir", "Ben", "kitchen", 0, 9),
    ("stir-2", "left", 3, "stir", "Ben", "kitchen", 10, 19),
    ("stir-2", "right", 4, "stir", "Ben", "kitchen", 11, 17),
]
LENGTH = 20


@pytest.fixture(scope="module")
def raw_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    for seed in range(1, 5):
        write_video(folder / f"{seed}.mp4", moving_pattern(LENGTH, 80, 120, seed))
    (folder / "broken.mp4").write_text("no video")
    return folder


def manifest(path: Path, rows: list[Any]) -> Path:
    return write_csv(path, [(*row[:2], f"{row[2]}.mp4", *row[3:]) for row in rows], HEADER)


def builder(raw_dir: Path, data_dir: Path, rows: list[Any] = ROWS, **options: Any) -> Builder:
    """The builder of a data set named kitchen."""
    path = manifest(data_dir.parent / f"{data_dir.name}.csv", rows)
    options = {"short_side": 40, "jobs": 1, **options}
    return Builder(manifest_csv=path, name="kitchen", raw_dir=raw_dir, data_dir=data_dir, **options)


@pytest.fixture(scope="module")
def kitchen(raw_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built data set."""
    data_dir = tmp_path_factory.mktemp("data")
    builder(raw_dir, data_dir).build()
    return data_dir / "kitchen" / "2.0.0"


def records(folder: Path) -> list[dict[str, Any]]:
    """Fields of all records, read as the loader reads them."""
    shards = sorted(map(str, folder.glob("*.array_record-*")))
    source = ArrayRecordDataSource(shards)
    result = []
    for position in range(len(source)):
        feature = tf_example_pb2.Example.FromString(source[position]).features.feature
        kinds = {name: feature[name].WhichOneof("kind") for name in feature}
        result.append({name: list(getattr(feature[name], kinds[name]).value) for name in feature})
    return result


def test_builds_and_reads_without_tensorflow(raw_dir: Path, tmp_path: Path) -> None:
    """The tests have none installed: one that ends the program stands in for it."""
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('tensorflow is imported')")
    rows = f"--manifest={manifest(tmp_path / 'rows.csv', ROWS)}"
    for words in (
        ("manifest", rows, "--name=kitchen", f"--raw-dir={raw_dir}", "--short-side=40", "--jobs=2"),
        ("verify",),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "mv2mae_jax.prepare", *words, f"--data-dir={tmp_path / 'data'}"],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(tmp_path)},
        )
        assert done.returncode == 0, done.stderr


def test_the_index_lists_the_activities_in_order(kitchen: Path) -> None:
    text = (kitchen / "index.json").read_text()
    kitchens = {"setup": "kitchen"}
    assert json.loads(text) == {
        "dataset": "kitchen",
        "version": "2.0.0",
        "classes": ["pour", "stir"],
        "short_side": 40,
        "phases": 4,
        "activities": [
            {"id": "pour", "label": 0, "subject": "Ann", **kitchens}
            | {"views": {"left": 20, "right": 20}},
            {"id": "stir-1", "label": 1, "subject": "Ben", **kitchens}
            | {"views": {"left": 10, "right": 10}},
            {"id": "stir-2", "label": 1, "subject": "Ben", **kitchens}
            | {"views": {"left": 10, "right": 7}},
        ],
    }
    assert [line.count('"id"') for line in text.splitlines()] == [0, 1, 1, 1, 0]


def test_records_match_the_index(kitchen: Path) -> None:
    index = json.loads((kitchen / "index.json").read_text())
    expected = [
        (activity, view, length, first)
        for activity in index["activities"]
        for view, length in activity["views"].items()
        for first in range(4)
    ]
    for record, (activity, view, length, first) in zip(records(kitchen), expected, strict=True):
        assert record["activity"] == [activity["id"].encode()]
        assert record["label"] == [activity["label"]]
        assert record["subject"] == [activity["subject"].encode()]
        assert record["setup"] == [b"kitchen"]
        assert (record["view"], record["first"], record["step"]) == ([view.encode()], [first], [4])
        assert len(record["frames"]) == len(range(first, length, 4))


def test_frames_are_those_that_were_filmed(kitchen: Path) -> None:
    """The drawn pictures, averaged over blocks of 2 x 2 pixels, come back in every record."""
    stored = records(kitchen)
    assert len(stored) == 4 * len(ROWS)
    for place, record in enumerate(stored):
        row = ROWS[place // 4]
        drawn = moving_pattern(LENGTH, 80, 120, row[2])[row[6] or 0 :]
        for frame, picture in zip(record["frames"], drawn[record["first"][0] :: 4], strict=False):
            image = simplejpeg.decode_jpeg(frame)
            expected = picture.reshape(40, 2, 60, 2, 3).mean((1, 3))
            assert image.shape == (40, 60, 3)
            assert 10 * np.log10(255**2 / np.mean((image - expected) ** 2)) > 30


def test_a_view_of_few_frames_has_as_many_records(raw_dir: Path, tmp_path: Path) -> None:
    rows = [
        ("pour", "left", 1, "pour", "Ann", "kitchen", 0, 1),
        ("pour", "right", 2, "pour", "Ann", "kitchen", 0, 4),
    ]
    builder(raw_dir, tmp_path / "data", rows).build()
    index = load_index(tmp_path / "data", "kitchen")
    assert verify(index) == []
    stored = records(index.folder)
    assert [len(record["frames"]) for record in stored] == [1, 1, 2, 1, 1, 1]
    source = RecordSource(index)
    assert list(source.frames(0, "left", np.array([1, 1])).values()) == stored[1]["frames"]
    frames = source.frames(0, "right", np.array([4, 0, 3]))
    assert [frames[0], frames[4]] == stored[2]["frames"] and [frames[3]] == stored[5]["frames"]


def test_tfds_can_read_what_was_built(kitchen: Path) -> None:
    import tensorflow_datasets as tfds

    read = tfds.builder_from_directory(kitchen)
    assert read.info.splits["all"].num_examples == 4 * len(ROWS)
    assert read.info.features["label"].names == ["pour", "stir"]


def test_the_report_counts_and_names(raw_dir: Path, tmp_path: Path) -> None:
    rows = [
        *ROWS,
        ("half", "left", 1, "pour", "Ann", "kitchen", "", ""),
        ("half", "right", "broken", "pour", "Ann", "kitchen", "", ""),
        ("none", "left", "broken", "stir", "Ann", "kitchen", "", ""),
    ]
    build = builder(raw_dir, tmp_path / "data", rows, max_broken=0.5)
    build.predict()
    report = build.build()
    assert report is not None and report.resumed == 0 and report.apart == ()
    assert (report.activities, report.views, report.frames) == (4, 7, 97)
    assert [item.path for item in report.broken] == ["broken.mp4"]
    assert report.dropped == ("none",)
    assert report.uneven == ("stir-2: {'left': 10, 'right': 7}",)
    stored = json.loads((Path(build.data_path) / "report.json").read_text())
    assert stored["broken"] == [{"path": "broken.mp4", "reason": report.broken[0].reason}]
    assert stored["frames"] == 97 and stored["dropped"] == ["none"]
    frames = [len(frame) for record in records(Path(build.data_path)) for frame in record["frames"]]
    assert (len(frames), sum(frames)) == (97, report.bytes)
    names = [record["activity"][0] for record in records(Path(build.data_path))]
    assert list(dict.fromkeys(names)) == [b"pour", b"stir-1", b"stir-2", b"half"]
    text = str(report)
    for part in ("broken.mp4: not a video", "dropped: none", "stir-2", "4 activities, 7 views"):
        assert part in text


def test_views_that_are_out_of_step_are_named(tmp_path: Path) -> None:
    """A camera dropped frames; another runs at another rate; one has lost a single frame."""
    shown = {
        "even": (30, []),
        "gap": (30, [*range(10, 14)]),
        "slow": (27, []),
        "one": (30, [20]),
    }
    for name, (rate, lost) in shown.items():
        with av.open(str(tmp_path / f"{name}.mp4"), "w") as container:
            stream = container.add_stream("mpeg4", rate=rate)
            stream.height, stream.width, stream.pix_fmt = 80, 120, "yuv420p"
            stream.codec_context.time_base = Fraction(1, rate)
            for number, picture in enumerate(moving_pattern(40, 80, 120)):
                if number not in lost:
                    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                    frame.pts, frame.time_base = number, Fraction(1, rate)
                    container.mux(stream.encode(frame))
            container.mux(stream.encode())
    rows = [("pour", view, view, "pour", "Ann", "kitchen", "", "") for view in shown]
    rows += [("before", view, view, "pour", "Ann", "kitchen", 0, 9) for view in ("even", "gap")]
    rows += [("after", view, view, "pour", "Ann", "kitchen", 20, 35) for view in ("even", "gap")]
    rows += [("mended", "even", "even", "pour", "Ann", "kitchen", 24, 35)]  # as its maker knows
    rows += [("mended", "gap", "gap", "pour", "Ann", "kitchen", 20, 31)]
    report = builder(tmp_path, tmp_path / "data", rows).build()
    assert report is not None and report.apart == (
        "pour: from frame 10 on gap is up to 0.13 s later than even",
        "pour: from frame 14 on slow is up to 0.14 s later than even",
        "after: from frame 0 on gap is up to 0.13 s later than even",
    )
    assert "views out of step by their time stamps: pour: from frame 10 on gap" in str(report)


def test_too_many_broken_videos_fail_and_can_be_allowed_later(
    raw_dir: Path, tmp_path: Path
) -> None:
    rows = [*ROWS, ("half", "right", "broken", "pour", "Ann", "kitchen", "", "")]
    build = builder(raw_dir, tmp_path / "data", rows, max_broken=0.14)  # 1 of 7 is more
    with pytest.raises(InputError, match="1 of 7 videos of kitchen are broken"):
        build.build()
    assert build.report is not None and build.report.broken[0].path == "broken.mp4"
    assert not build.data_path.exists()
    report = builder(raw_dir, tmp_path / "data", rows, max_broken=0.15).build()
    assert report is not None and report.resumed == 3  # all but what has the broken one


def test_all_videos_broken_is_never_allowed(raw_dir: Path, tmp_path: Path) -> None:
    rows = [("half", "right", "broken", "pour", "Ann", "kitchen", "", "")]
    with pytest.raises(InputError, match="1 of 1 videos"):
        builder(raw_dir, tmp_path / "data", rows, max_broken=1.0).build()


def test_many_shards_hold_the_same_records(
    kitchen: Path, raw_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "SHARD_BYTES", 20_000)
    build = builder(raw_dir, tmp_path / "data", jobs=2)
    build.build()
    assert len(list(Path(build.data_path).glob("*.array_record-*"))) == 3
    assert records(Path(build.data_path)) == records(kitchen)


def test_nothing_but_the_result_is_left(kitchen: Path) -> None:
    assert [path.name for path in kitchen.parent.iterdir()] == ["2.0.0"]
    assert [path.name for path in kitchen.parent.parent.iterdir()] == ["kitchen"]


def test_a_finished_build_is_kept_unless_it_would_differ(kitchen: Path, raw_dir: Path) -> None:
    data_dir = kitchen.parent.parent
    before = {path: path.stat().st_mtime_ns for path in kitchen.iterdir()}
    assert builder(raw_dir, data_dir).build() is None
    with pytest.raises(InputError, match="built with short_side 40, not 50"):
        builder(raw_dir, data_dir, short_side=50).build()
    with pytest.raises(InputError, match="built with quality 90, not 80"):
        builder(raw_dir, data_dir, quality=80).build()
    with pytest.raises(InputError, match="built from other videos"):
        builder(raw_dir, data_dir, ROWS[:4]).build()
    assert {path: path.stat().st_mtime_ns for path in kitchen.iterdir()} == before


@pytest.mark.parametrize("report", [None, "{}", "[]", "not JSON"])
def test_a_folder_that_is_no_build_is_left_alone(
    raw_dir: Path, tmp_path: Path, report: str | None
) -> None:
    folder = tmp_path / "data/kitchen/2.0.0"
    folder.mkdir(parents=True)
    if report:
        (folder / "report.json").write_text(report)
    with pytest.raises(InputError, match="no complete build"):
        builder(raw_dir, tmp_path / "data").build()


def test_paths_that_were_swapped_are_other_videos(kitchen: Path, raw_dir: Path) -> None:
    first, second, *others = ROWS
    swapped = [(*first[:2], second[2], *first[3:]), (*second[:2], first[2], *second[3:]), *others]
    with pytest.raises(InputError, match="built from other videos"):
        builder(raw_dir, kitchen.parent.parent, swapped).build()


def test_what_a_killed_build_did_not_remove_is_removed(raw_dir: Path, tmp_path: Path) -> None:
    build = builder(raw_dir, tmp_path / "data")
    build.build()
    with base._locked(build._cache, ""):
        (build._cache / "frames").touch()
    assert builder(raw_dir, tmp_path / "data").build() is None
    assert not build._cache.exists()


def test_videos_need_not_be_kept(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_video(raw_video(raw), moving_pattern(4, 48, 64))
    assert NTUBuilder(raw_dir=raw, data_dir=tmp_path / "data", jobs=1).build() is not None
    raw_video(raw).unlink()  # its folder stays, and what came with it
    (raw / "licence.txt").write_text("")
    assert NTUBuilder(raw_dir=raw, data_dir=tmp_path / "data", jobs=1).build() is None
    shutil.rmtree(raw)
    assert NTUBuilder(raw_dir=raw, data_dir=tmp_path / "data", jobs=1).build() is None


def test_videos_in_a_linked_folder_are_there(tmp_path: Path) -> None:
    raw, elsewhere = tmp_path / "raw", tmp_path / "elsewhere"
    write_video(raw_video(elsewhere), moving_pattern(4, 48, 64))
    raw.mkdir()
    (raw / "videos").symlink_to(elsewhere)
    assert NTUBuilder(raw_dir=raw, data_dir=tmp_path / "data", jobs=1).build() is not None
    raw_video(elsewhere).rename(elsewhere / "S001C002P001R001A001_rgb.avi")
    with pytest.raises(InputError, match="built from other videos"):
        NTUBuilder(raw_dir=raw, data_dir=tmp_path / "data", jobs=1).build()


def raw_video(raw: Path) -> Path:
    raw.mkdir(exist_ok=True)
    return raw / "S001C001P001R001A001_rgb.avi"


def test_a_video_that_could_not_be_read_is_tried_again(raw_dir: Path, tmp_path: Path) -> None:
    """Its size and time are the same; the permission, or the disk, is not."""
    raw = Path(shutil.copytree(raw_dir, tmp_path / "raw"))
    encode_frames = encoding.encode_frames

    def fails(path: Path, *arguments: Any, **options: Any) -> Frames:
        if path.name == "2.mp4":
            raise VideoError("Input/output error")
        return encode_frames(path, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "encode_frames", fails)
        for folder, row in encoded_here(builder(raw, tmp_path / "data")):
            encoding.encode_activity(folder, raw, row, encoding.Settings(40, 90))
    report = builder(raw, tmp_path / "data").build()
    assert report is not None and not report.broken and report.resumed == 2


def encoded_here(build: Builder) -> list[tuple[Path, Any]]:
    """Where the builder looks for finished activities, and their rows."""
    assert build.raw_dir is not None
    activities = build.manifest(build.raw_dir).activities()
    return list(zip(build._paths(activities, build.raw_dir), activities, strict=True))


def test_two_builds_of_the_same_data_do_not_mix(raw_dir: Path, tmp_path: Path) -> None:
    build = builder(raw_dir, tmp_path / "data")
    with base._locked(build._cache, ""), pytest.raises(InputError, match="another process"):
        build.build()


def test_a_changed_video_is_encoded_again(raw_dir: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "1.mp4").write_text("no video yet")
    rows = [("pour", "left", 1, "pour", "Ann", "kitchen", "", "")]
    with pytest.raises(InputError, match="broken"):
        builder(raw, tmp_path / "data", rows).build()
    (raw / "1.mp4").write_bytes((raw_dir / "1.mp4").read_bytes())
    report = builder(raw, tmp_path / "data", rows).build()
    assert report is not None and (report.frames, report.resumed) == (LENGTH, 0)


def test_ntu_becomes_records_with_its_own_labels(tmp_path: Path) -> None:
    folder = tmp_path / "raw" / "nturgb+d_rgb"
    folder.mkdir(parents=True)
    for camera in (1, 2, 3):
        write_video(
            folder / f"S002C{camera:03}P003R001A120_rgb.avi", moving_pattern(5, 54, 96, camera)
        )
    (folder / "S002C001P003R002A001_rgb.avi").touch()
    build = NTUBuilder(raw_dir=tmp_path / "raw", data_dir=tmp_path, jobs=1, max_broken=0.3)
    report = build.build()
    assert report is not None and report.dropped == ("S002P003R002A001",)
    index = json.loads((tmp_path / "ntu/2.0.0/index.json").read_text())
    assert index["activities"] == [
        {"id": "S002P003R001A120", "label": 119, "subject": "3", "setup": "2"}
        | {"views": {"1": 5, "2": 5, "3": 5}}
    ]
    assert len(index["classes"]) == 120
    last = records(tmp_path / "ntu/2.0.0")[-1]
    assert simplejpeg.decode_jpeg(last["frames"][0]).shape == (54, 96, 3)


@pytest.mark.parametrize("name", ["broken.mp4", "2.mp4"])
def test_a_video_that_was_replaced_since_is_not_passed_over(
    raw_dir: Path, tmp_path: Path, name: str
) -> None:
    raw = shutil.copytree(raw_dir, tmp_path / "raw")
    rows = [*ROWS, ("half", "right", "broken", "pour", "Ann", "kitchen", "", "")]
    assert builder(raw, tmp_path / "data", rows, max_broken=0.5).build() is not None
    assert builder(raw, tmp_path / "data", rows, max_broken=0.5).build() is None
    before, size = ((raw / file).stat().st_size for file in (name, "1.mp4"))
    shutil.copy(raw / "1.mp4", raw / name)
    says = f"when {raw / name} was another file, of {before:,} bytes, not {size:,}; delete it"
    with pytest.raises(InputError, match=re.escape(says)):
        builder(raw, tmp_path / "data", rows, max_broken=0.5).build()


def test_a_video_that_is_replaced_while_others_are_encoded_is_not_passed_over(
    raw_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = shutil.copytree(raw_dir, tmp_path / "raw")
    write = Builder._write_index

    def replaced_before_the_end(self: Builder) -> None:
        shutil.copy(raw / "1.mp4", raw / "2.mp4")
        write(self)

    monkeypatch.setattr(Builder, "_write_index", replaced_before_the_end)
    assert builder(raw, tmp_path / "data").build() is not None
    with pytest.raises(InputError, match=r"when .*2\.mp4 was another file"):
        builder(raw, tmp_path / "data").build()


def test_names_of_files_may_be_in_any_encoding(tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    write_video(folder / "S001C001P001R001A001_rgb.avi", moving_pattern(4, 48, 64))
    (folder / os.fsdecode("한글.avi".encode("euc-kr"))).touch()
    report = NTUBuilder(raw_dir=folder, data_dir=tmp_path, jobs=1).build()
    assert report is not None and len(report.unused) == 1
    str(report).encode()  # can be printed
    assert r"not read: \udcc7" in str(report)
    assert json.loads((tmp_path / "ntu/2.0.0/report.json").read_text())["unused"]


def test_tfds_itself_can_build_ntu(tmp_path: Path) -> None:
    """Without a raw directory, TFDS's directory for manual downloads takes its place."""
    import tensorflow_datasets as tfds

    (tmp_path / "manual").mkdir()
    write_video(tmp_path / "manual/S001C001P001R001A001_rgb.avi", moving_pattern(4, 48, 64))
    build = NTUBuilder(data_dir=tmp_path / "data", jobs=1)
    config = tfds.download.DownloadConfig(manual_dir=tmp_path / "manual")
    build.download_and_prepare(download_config=config, download_dir=tmp_path / "downloads")
    assert build.info.splits["all"].num_examples == 4
    assert [path.name for path in (tmp_path / "data/ntu").iterdir()] == ["2.0.0"]


def test_a_disk_that_is_too_small_stops_before_the_work(
    raw_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = builder(raw_dir, tmp_path / "data")
    prediction = build.predict()
    assert prediction is not None and prediction.needed == 2 * prediction.bytes > 0
    build = builder(raw_dir, tmp_path / "other")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(InputError, match=r"has 0\.0 MB free, and building kitchen takes"):
        build.predict()
    assert not build.data_path.exists()


def test_the_prediction_is_what_the_build_takes(raw_dir: Path, tmp_path: Path) -> None:
    build = builder(raw_dir, tmp_path / "data", jobs=2)
    prediction, report = build.predict(), build.build()
    assert prediction is not None and report is not None
    assert (prediction.activities, prediction.videos) == (report.activities, report.views)
    assert prediction.bytes == report.bytes  # so few that all are in the sample
    assert report.resumed == 0 and report.frames_per_second > 0
    assert build.predict() is None


@pytest.mark.parametrize(
    "seconds, text", [(40, "40 s"), (89, "89 s"), (720, "12 min"), (18_720, "5.2 h")]
)
def test_times_are_told_as_people_tell_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
