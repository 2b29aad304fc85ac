"""The command line that turns raw videos into records, run as people run it."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes import finish, start, until
from videos import moving_pattern, write_csv, write_video

from benchmarks.soak import loader_workers

CUTS = 16
HEADER = "activity,view,path,label,first,last"


def prepare(*args: object) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end."""
    return subprocess.run(command(*args), capture_output=True, text=True, check=False)


def command(*args: object) -> list[str]:
    return [sys.executable, "-m", "mv2mae_jax.prepare", *map(str, args)]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV that cuts two videos, which take a while to decode, into many activities."""
    folder = tmp_path_factory.mktemp("raw")
    frames = moving_pattern(5 * CUTS, 480, 640)
    for name in ("left.avi", "right.avi"):
        write_video(folder / name, frames, "mpeg4", keyframe_every=1000)
    rows = [
        (f"cut{cut:02}", name.split(".")[0], name, f"label {cut % 3}", 5 * cut, 5 * cut + 4)
        for cut in range(CUTS)
        for name in ("left.avi", "right.avi")
    ]
    return write_csv(folder / "videos.csv", rows, HEADER)


@pytest.fixture(scope="module")
def built(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The data directory of an undisturbed build, and what the command printed."""
    data_dir = tmp_path_factory.mktemp("data")
    result = prepare("manifest", *arguments(manifest, data_dir), "--jobs=2")
    assert result.returncode == 0, result.stderr
    return data_dir, result.stdout


def arguments(manifest: Path, data_dir: Path) -> list[str]:
    return [f"--manifest={manifest}", "--name=cuts", f"--data-dir={data_dir}", "--short-side=64"]


def contents(data_dir: Path) -> dict[str, str]:
    """Digests of the files that must not depend on how the build went."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (data_dir / "cuts" / "2.0.0").iterdir()
        if path.name != "report.json"  # holds times
    }


def test_a_build_ends_with_a_report(built: tuple[Path, str]) -> None:
    data_dir, output = built
    prediction, *_, counts, place = output.splitlines()
    assert prediction.startswith(f"{2 * CUTS} videos of {CUTS} activities; judged from {CUTS}: ")
    assert counts.startswith(f"{CUTS} activities, {2 * CUTS} views, {10 * CUTS} frames, ")
    assert counts.endswith(" frames/s")
    assert place == f"written to {data_dir / 'cuts' / '2.0.0'}"
    report = json.loads((data_dir / "cuts/2.0.0/report.json").read_text())
    assert report["settings"] == {"short_side": 64, "quality": 90}
    assert report["frames"] == 10 * CUTS and report["frames_per_second"] > 0


def test_run_again_it_says_complete_or_what_is_in_the_way(
    built: tuple[Path, str], manifest: Path
) -> None:
    data_dir, _ = built
    again = prepare("manifest", *arguments(manifest, data_dir))
    assert again.returncode == 0
    assert again.stdout == f"{data_dir / 'cuts' / '2.0.0'} is complete already\n"
    other = prepare("manifest", *arguments(manifest, data_dir), "--short-side=100")
    assert other.returncode == 1
    assert "built with short_side 64, not 100" in other.stderr.splitlines()[-1]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_build_continues_to_the_same_files(
    built: tuple[Path, str], manifest: Path, tmp_path: Path, how: signal.Signals
) -> None:
    args = ["manifest", *arguments(manifest, tmp_path), "--jobs=2"]
    process = start(command(*args), start_new_session=True, **os.environ)
    cache = tmp_path / "cuts" / ".cache-2.0.0"
    until(lambda: len(finished(cache)) >= 2, [process], timeout=60)
    if how == signal.SIGINT:
        os.killpg(process.pid, how)  # as a terminal does
    else:
        process.send_signal(how)
    (end,) = finish([process], timeout=60)
    done = len(finished(cache))
    assert 2 <= done < CUTS, "stopped too late to show anything"
    if how == signal.SIGKILL:
        assert end.code == -how
    else:
        assert end.code == 128 + how
        assert end.stderr.splitlines()[-1] == "stopped; run the same command again to continue"
    assert "Traceback" not in end.stderr
    until(lambda: is_gone(process.pid), [], timeout=30)
    result = prepare(*args)
    assert result.returncode == 0, result.stderr
    resumed = int(result.stdout.split("(")[1].split()[0])
    assert done <= resumed < CUTS
    assert contents(tmp_path) == contents(built[0])
    assert [path.name for path in (tmp_path / "cuts").iterdir()] == ["2.0.0"]


def finished(cache: Path) -> list[Path]:
    """The activities that are encoded."""
    return [path for path in cache.glob("*/*") if not path.suffix]


def is_gone(session: int) -> bool:
    """The decoding processes end by themselves when their parent is killed."""
    try:
        os.killpg(session, 0)
    except ProcessLookupError:
        return True
    return False


def test_an_interrupted_rendering_says_so_in_one_line(tmp_path: Path) -> None:
    """Also while its processes start: Ctrl-C is of the command alone."""
    raw, data = f"--raw-dir={tmp_path / 'raw'}", f"--data-dir={tmp_path / 'data'}"
    words = command("mannequin", raw, data, "--subjects=999", "--jobs=2")
    process = start(words, start_new_session=True, **os.environ)
    until(lambda: loader_workers(process.pid), [process], timeout=60)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    (end,) = finish([process], timeout=60)
    assert end.code == 128 + signal.SIGINT
    assert end.stderr.splitlines()[-1] == "stopped; run the same command again to continue"
    assert "Traceback" not in end.stderr
    until(lambda: is_gone(process.pid), [], timeout=30)


def test_no_process_of_a_killed_rendering_goes_on(tmp_path: Path) -> None:
    raw, data = f"--raw-dir={tmp_path / 'raw'}", f"--data-dir={tmp_path / 'data'}"
    words = command("mannequin", raw, data, "--subjects=999", "--jobs=2")
    process = start(words, start_new_session=True, **os.environ)
    until(lambda: any(tmp_path.rglob("*.avi")), [process], timeout=60)
    process.kill()
    (end,) = finish([process], timeout=30)  # when all have closed its standard output
    assert end.code == -signal.SIGKILL
    until(lambda: is_gone(process.pid), [], timeout=30)


def test_a_dry_run_predicts_and_the_build_continues_from_it(
    built: tuple[Path, str], manifest: Path, tmp_path: Path
) -> None:
    args = ["manifest", *arguments(manifest, tmp_path), "--jobs=2"]
    dry = prepare(*args, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    (line,) = dry.stdout.splitlines()
    assert line.startswith(f"{2 * CUTS} videos of {CUTS} activities; judged from ")
    size = json.loads((built[0] / "cuts/2.0.0/report.json").read_text())["bytes"]
    assert f" in 2 processes, {size / 1e6:.1f} MB of records, {2 * size / 1e6:.1f} MB" in line
    assert not (tmp_path / "cuts/2.0.0").exists()
    assert prepare(*args).returncode == 0
    assert contents(tmp_path) == contents(built[0])


def test_a_full_disk_ends_with_one_line_and_the_build_continues(
    built: tuple[Path, str], manifest: Path, tmp_path: Path
) -> None:
    args = ["manifest", *arguments(manifest, tmp_path), "--jobs=2"]
    limited = ["bash", "-c", 'ulimit -f 20 && exec "$@"', "bash", *command(*args)]  # 20 KiB a file
    failed = subprocess.run(limited, capture_output=True, text=True)
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr
    assert failed.stderr.splitlines()[-1].startswith("error: [Errno 27] File too large")
    assert not list(tmp_path.rglob("*.partial"))
    assert prepare(*args).returncode == 0
    assert contents(tmp_path) == contents(built[0])


def test_broken_files_are_named_and_too_many_fail(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    good = write_video(
        raw / "S001C001P001R001A001_rgb.avi", moving_pattern(60, 48, 64), keyframe_every=1000
    ).read_bytes()
    middle = len(good) // 2
    damaged = {
        2: b"",
        3: b"no video",
        4: good[:middle],
        5: good[:middle] + bytes(2000) + good[middle + 2000 :],
    }
    for action, content in damaged.items():
        (raw / f"S001C001P001R001A{action:03}_rgb.avi").write_bytes(content)
    (raw / "holiday.mp4").write_bytes(good)
    args = ("ntu", f"--raw-dir={raw}", f"--data-dir={tmp_path}", "--jobs=1")
    failed = prepare(*args)
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].startswith("error: 4 of 5 videos of ntu are broken")
    allowed = prepare(*args, "--max-broken=0.8")
    assert allowed.returncode == 0, allowed.stderr
    assert "earlier run" not in failed.stdout
    assert "(1 activities from an earlier run)" in allowed.stdout
    for output in (failed.stdout, allowed.stdout):
        for action in damaged:
            assert f"could not use S001C001P001R001A{action:03}_rgb.avi: " in output
            assert f"activity dropped: S001P001R001A{action:03}\n" in output
        assert "not read: holiday.mp4: its name" in output
        assert "\n1 activities, 1 views, 60 frames" in output
    assert (tmp_path / "ntu/2.0.0/index.json").exists()


@pytest.mark.parametrize(
    "args, code, message",
    [
        ((), 2, "DATASET"),
        (("nothing",), 2, "invalid choice: 'nothing'"),
        (("manequin",), 2, "did you mean mannequin?"),
        (("ntu", "--data-dir=x"), 2, "--raw-dir"),
        (("ntu", "--raw-dir=x", "--data-dir=x", "--short-side=0"), 2, "from 16 to 4320"),
        (("ntu", "--raw-dir=x", "--data-dir=x", "--quality=high"), 2, "from 1 to 100"),
        (("ntu", "--raw-dir=x", "--data-dir=x", "--max-broken=2"), 2, "from 0 to 1"),
        (("ntu", "--raw-dir=x", "--data-dir=x", "--subjects=3"), 2, "--subjects"),
        (("manifest", "--manifest=x", "--data-dir=x", "--name=A b"), 2, "'A b' is not a name"),
        (("manifest", "--manifest=no.csv", "--data-dir=x", "--name=a"), 1, "error: no manifest no"),
        (("manifest", "--manifest=x", "--data-dir=x", "--name=etri"), 1, "choose another name"),
        (("ntu", "--raw-dir=gs://a/b", "--data-dir=x"), 2, "copy it here first"),
        (("ntu", "--raw-dir=x", "--data-dir=gs://a/b"), 2, "work here, then copy"),
        (("ntu", "--raw-dir=/nowhere", "--data-dir=x"), 1, "error: no directory /nowhere"),
        (("verify", "--data-dir=x", "--dataset=ntu"), 1, "error: no data set in x/ntu"),
    ],
)
def test_mistakes_end_with_one_clear_line(
    tmp_path: Path, args: tuple[str, ...], code: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    result = prepare(*args)
    assert result.returncode == code
    assert message in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
