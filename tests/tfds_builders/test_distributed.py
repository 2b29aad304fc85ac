"""Activities encoded by a Beam pipeline: the same records, and clear words where it fails."""

import hashlib
import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from videos import moving_pattern, write_csv, write_video

from mv2mae_jax.errors import InputError
from tfds_builders import encoding
from tfds_builders.manifest_data.manifest_data_dataset_builder import Builder

CUTS = 6
# The second option keeps DirectRunner from downloading another runner and trying that first.
HERE = "--runner=DirectRunner --allow_unsafe_triggers"
TWO_WORKERS = f"{HERE} --direct_running_mode=multi_processing --direct_num_workers=2"


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV that cuts two videos into activities, with a third one that is broken."""
    folder = tmp_path_factory.mktemp("raw")
    for seed, name in enumerate(("left.avi", "right.avi")):
        write_video(folder / name, moving_pattern(5 * CUTS, 96, 128, seed))
    (folder / "broken.avi").write_text("no video")
    for path in folder.iterdir():
        os.utime(path, (0, 0))  # so that names in the folder of activities are always the same
    rows = [
        (f"cut{cut}", name.split(".")[0], name, f"label {cut % 2}", 5 * cut, 5 * cut + 4)
        for cut in range(CUTS)
        for name in ("left.avi", "right.avi")
    ]
    rows.append(("cut0", "broken", "broken.avi", "label 0", "", ""))
    return write_csv(folder / "videos.csv", rows, "activity,view,path,label,first,last")


@pytest.fixture(scope="module")
def built(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a build without a pipeline makes."""
    build = builder(manifest, tmp_path_factory.mktemp("data"))
    build.build()
    return contents(build)


def builder(manifest: Path, data_dir: Path, beam_options: str | None = None) -> Builder:
    return Builder(
        manifest_csv=manifest,
        name="cuts",
        data_dir=data_dir,
        short_side=64,
        jobs=1,
        max_broken=0.5,
        beam_options=beam_options,
    )


def contents(build: Builder) -> dict[str, str]:
    """Digests of the files that must not depend on how the build went."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in Path(build.data_path).iterdir()
        if path.name != "report.json"  # holds times
    }


def test_two_workers_make_the_same_files(
    built: dict[str, str], manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(encoding, "encode_activity")  # other processes still have it
    build = builder(manifest, tmp_path, TWO_WORKERS)
    report = build.build()
    assert contents(build) == built
    assert report is not None and (report.activities, report.frames) == (CUTS, 10 * CUTS)
    assert [item.path for item in report.broken] == ["broken.avi"]
    assert [path.name for path in (tmp_path / "cuts").iterdir()] == ["2.0.0"]


@pytest.mark.parametrize("then", [None, HERE])
def test_a_failed_pipeline_is_one_line_and_the_build_continues(
    built: dict[str, str], manifest: Path, tmp_path: Path, then: str | None
) -> None:
    build = builder(manifest, tmp_path, HERE)
    raw_dir = manifest.parent
    first, *_, last = build.manifest(raw_dir).activities()
    encoded, blocked = (
        encoding.cache_path(build._cache, raw_dir, rows, build.settings) for rows in (first, last)
    )
    encoding.encode_activity(encoded, raw_dir, first, build.settings)
    blocked.parent.touch()  # a file where a folder is to be made
    with pytest.raises(InputError, match=r"^the Beam pipeline failed: .*File exists.*$"):
        build.build()
    done = sum(not encoding.load(path).broken for path in build._cache.glob("*/*"))
    assert 1 <= done < CUTS
    blocked.parent.unlink()
    build = builder(manifest, tmp_path, then)
    report = build.build()
    assert report is not None and report.resumed == done
    assert contents(build) == built


def test_a_video_that_could_not_be_read_is_tried_again(
    built: dict[str, str], manifest: Path, tmp_path: Path
) -> None:
    build = builder(manifest, tmp_path, HERE)
    for rows in build.manifest(manifest.parent).activities():
        path = encoding.cache_path(build._cache, manifest.parent, rows, build.settings)
        elsewhere = Path(shutil.copytree(manifest.parent, tmp_path / "raw", dirs_exist_ok=True))
        (elsewhere / "left.avi").write_text("no video")
        encoding.encode_activity(path, elsewhere, rows, build.settings)
        assert encoding.load(path).broken
    assert build.build() is not None and contents(build) == built


def test_workers_that_see_other_files_are_noticed(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = itertools.count()
    monkeypatch.setattr("tfds_builders.files.fingerprint", lambda path: [next(numbers)])
    with pytest.raises(InputError, match=rf"\(DONE\) without {CUTS} of {CUTS} activities; its"):
        builder(manifest, tmp_path, HERE).build()


@pytest.mark.parametrize(
    "options, reason",
    [
        ("--runner=Nobody", "Unexpected pipeline runner: Nobody"),
        ("--runner=DataflowRunner", "Missing required option: project"),
        ("--runner='DirectRunner", "No closing quotation"),
    ],
)
def test_options_are_checked_at_once(
    manifest: Path, tmp_path: Path, options: str, reason: str
) -> None:
    with pytest.raises(InputError, match=rf"^Beam options .*{reason}.*$"):
        builder(manifest, tmp_path, options)


def test_a_wrong_value_of_an_option_is_wrong_usage(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        builder(manifest, tmp_path, "--direct_num_workers=two")
    assert "invalid int value: 'two'" in capsys.readouterr().err.splitlines()[-1]


def test_without_beam_it_says_what_to_install(manifest: Path, tmp_path: Path) -> None:
    hidden = "import sys; sys.modules['apache_beam'] = None; import mv2mae_jax.prepare as prepare; "
    words = ["manifest", f"--manifest={manifest}", "--name=cuts", f"--data-dir={tmp_path}"]
    words.append(f"--beam-options={HERE}")
    done = subprocess.run(
        [sys.executable, "-c", hidden + "sys.exit(prepare.main())", *words],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr == "error: Apache Beam is not installed; pip install -e '.[beam]'\n"
