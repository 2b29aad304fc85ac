"""Data and work directory in a bucket, by the commands themselves; the bucket is served here."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import processes
import pytest
from etils import epath
from object_store import ObjectStore

import mv2mae_jax
from configs.mannequin import get_config
from mv2mae_jax import prepare
from mv2mae_jax.data.records import RecordSource, find_datasets, load_index
from mv2mae_jax.data.staging import staged
from mv2mae_jax.errors import InputError
from mv2mae_jax.interop.export import export
from mv2mae_jax.storage import GrowingFiles, to_path
from mv2mae_jax.tasks.finetune import finetune
from mv2mae_jax.training.metrics import MetricsWriter
from mv2mae_jax.visualize.__main__ import main as visualize
from mv2mae_jax.visualize.rows import Section, save

SMALL = {
    "data.data_dir": "gs://bucket/data",
    "data.image_size": 32,
    "data.num_frames": 4,
    "model.patch_size": (2, 16, 16),
    "batch_size": 4,
    "log_every": 1,
    "optimizer.warmup_epochs": 1.0,
    "probe.every_epochs": 0.0,
    "pictures_every_epochs": 0.0,
}
PRETRAIN = ("--config.epochs=3", "--config.checkpoint_every=6")  # 18 steps
CHECKPOINTS = "runs/pretrain/checkpoints"


@pytest.fixture(scope="module")
def store(mannequin_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with ObjectStore() as store, pytest.MonkeyPatch.context() as patch:
        store.upload(mannequin_dir, "data")
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        compiled = tmp_path_factory.mktemp("compiled")  # the second command compiles nothing anew
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(compiled))
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        for name, value in store.environment.items():
            patch.setenv(name, value)
        yield store


def command(config: str, workdir: str, *overrides: str) -> list[str]:
    flags = (f"--config=configs/{config}", f"--workdir=gs://bucket/{workdir}", *overrides)
    small = (f"--config.{name}={value}" for name, value in SMALL.items())
    return [sys.executable, "-m", "mv2mae_jax.main", *flags, *small]


def metrics(store: ObjectStore, workdir: str) -> list[dict]:
    return [json.loads(line) for line in store.text(f"{workdir}/metrics.jsonl").splitlines()]


def committed(store: ObjectStore) -> list[int]:
    """Steps of the complete checkpoints."""
    names = store.names(CHECKPOINTS)
    found = (re.fullmatch(rf"{CHECKPOINTS}/(\d+)/commit_success.txt", name) for name in names)
    return sorted(int(step[1]) for step in found if step)


@pytest.fixture(scope="module")
def killed(store: ObjectStore) -> str:
    """What a run printed that was killed when it had a checkpoint, before it had another."""
    process = subprocess.Popen(
        command("mannequin.py", "runs/pretrain", *PRETRAIN),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    processes.until(lambda: committed(store) == [6], [process])
    process.kill()
    printed = process.communicate()[0]
    # What a kill in the middle of a save leaves.
    for name in store.names(f"{CHECKPOINTS}/6/"):
        if not name.endswith("commit_success.txt"):
            store.write(name.replace("/6/", "/12/"), store.objects[name].content)
    return printed


@pytest.fixture(scope="module")
def pretrained(store: ObjectStore, killed: str) -> str:
    """A run that was killed and has continued; what it printed then."""
    assert [line["step"] for line in metrics(store, "runs/pretrain")][:6] == list(range(1, 7))
    words = command("mannequin.py", "runs/pretrain", *PRETRAIN)
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_killed_run_continues_as_if_it_had_never_stopped(
    store: ObjectStore, killed: str, pretrained: str
):
    assert "continuing gs://bucket/runs/pretrain from step 6 of 18" in pretrained
    lines = metrics(store, "runs/pretrain")
    assert [line["step"] for line in lines] == list(range(1, 19))
    printed = re.findall(r"pretrain (\d+)/18 · loss ([\d.]+)", killed)
    assert len(printed) >= 6
    assert [loss for _, loss in printed] == [f"{x['loss']:.4f}" for x in lines[: len(printed)]]
    assert committed(store)[-1] == 18
    names = {name.removeprefix("runs/pretrain/") for name in store.names("runs/pretrain/")}
    assert {"config.json", "parameters.txt"} < names
    assert sum(name.startswith("events.out.tfevents") for name in names) == 2
    assert not Path("gs:").exists()  # what becomes of a bucket that is taken for a folder


def test_lines_are_there_while_a_run_goes_on(store: ObjectStore, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mv2mae_jax.training.metrics.PUBLISH_SECONDS", 0)
    with MetricsWriter(to_path("gs://bucket/runs/lines"), 0) as writer:
        writer.write(1, {"loss": 2.0})
        assert metrics(store, "runs/lines") == [{"step": 1, "loss": 2.0}]
        writer.write(2, {"loss": 1.0})
    with MetricsWriter(to_path("gs://bucket/runs/lines"), 1) as writer:  # step 2 comes again
        writer.write(2, {"loss": 0.5})
    assert [line["loss"] for line in metrics(store, "runs/lines")] == [2.0, 0.5]


def test_a_bucket_that_goes_away_is_one_line(store: ObjectStore):
    files = GrowingFiles(epath.Path("gs://gone/runs"))
    (files.path / "metrics.jsonl").write_text("")
    with pytest.raises(InputError, match=r"gs://gone/runs cannot be written .* same command"):
        files.close()
    assert not files.path.exists()


def test_an_encoder_is_the_same_from_the_bucket_and_from_a_copy(
    store: ObjectStore, pretrained: str, tmp_path: Path
):
    for name in store.names("runs/pretrain/"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(store.objects[name].content)
    encoder = mv2mae_jax.load_encoder("gs://bucket/runs/pretrain")
    clips = np.random.default_rng(0).integers(0, 256, (2, *encoder.clip_shape), np.uint8)
    features = encoder.encode(clips)
    copied = mv2mae_jax.load_encoder(tmp_path / "runs/pretrain")
    np.testing.assert_array_equal(features, copied.encode(clips))


def test_what_is_made_of_a_run_in_the_bucket(store: ObjectStore, pretrained: str, tmp_path: Path):
    places = ["--workdir=gs://bucket/runs/pretrain", "--out=gs://bucket/pictures/motion.png"]
    assert visualize(["motion", *places, "--samples=1"]) == 0
    assert store.objects["pictures/motion.png"].content.startswith(b"\x89PNG")
    clip = np.random.default_rng(0).random((2, 16, 16, 3))
    for suffix, start in ((".gif", b"GIF89a"), (".mp4", b"ftyp")):
        save(
            [Section("a clip", {"clip": clip})], 1, "it plays", f"gs://bucket/pictures/clip{suffix}"
        )
        assert start in store.objects[f"pictures/clip{suffix}"].content[:10]
    export("gs://bucket/runs/pretrain", "pytorch", tmp_path / "exported")
    assert (tmp_path / "exported" / "README.md").exists()
    with pytest.raises(InputError, match="gs://bucket/out is not on this machine; choose a local"):
        export("gs://bucket/runs/pretrain", "pytorch", "gs://bucket/out")


def test_finetune_and_evaluate(
    store: ObjectStore, pretrained: str, capsys: pytest.CaptureFixture[str]
):
    config = get_config("finetune")
    config.update_from_flattened_dict(SMALL)
    config.finetune.init_from = "gs://bucket/runs/pretrain"
    config.evaluation.clips, config.evaluation.crops, config.epochs = 2, 1, 1
    finetune(config, "gs://bucket/runs/finetune")
    assert "from gs://bucket/runs/pretrain" in capsys.readouterr().out
    assert len(json.loads(store.text("runs/finetune/classes.json"))) == 12
    results = json.loads(store.text("runs/finetune/results.json"))
    rows = list(csv.DictReader(io.StringIO(store.text("runs/finetune/predictions.csv"))))
    assert len(rows) == results["num_videos"] == 24
    right = sum(int(row["correct"]) for row in rows)
    assert right / 24 == pytest.approx(results["top1_single_view"])
    assert store.objects["runs/finetune/confusion.png"].content.startswith(b"\x89PNG")
    runs = ["--workdirs", "gs://bucket/runs/pretrain", "gs://bucket/runs/finetune/"]
    assert visualize(["curves", *runs, "--out=gs://bucket/pictures/curves.pdf"]) == 0
    assert store.objects["pictures/curves.pdf"].content.startswith(b"%PDF")


def test_records_are_those_of_the_folder(store: ObjectStore, mannequin_dir: Path):
    assert find_datasets("gs://bucket/data") == find_datasets(mannequin_dir) == ["mannequin"]
    ours = RecordSource(load_index("gs://bucket/data", "mannequin"))
    theirs = RecordSource(load_index(mannequin_dir, "mannequin"))
    activities = load_index(mannequin_dir, "mannequin").activities
    assert len(activities) == 24
    for activity in activities:
        for view, length in activity.views.items():
            place = (activity.position, view, np.arange(length))
            assert ours.frames(*place) == theirs.frames(*place)
    assert prepare.main(["verify", "--data-dir", "gs://bucket/data"]) == 0


@pytest.fixture
def shards(store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[epath.Path]:
    """Three files of a data set in the bucket; copies go into a cache that is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    names = [f"staged/ntu/1.0.0/{number}" for number in range(3)]
    for name in names:
        store.write(name, name.encode() * 100_000)
    store.downloads.clear()
    return [to_path(f"gs://bucket/{name}") for name in names]


def test_records_are_copied_once(store: ObjectStore, shards: list[epath.Path]):
    with ThreadPoolExecutor(4) as pool:
        copies = list(pool.map(staged, [shards] * 4))
    assert copies == [copies[0]] * 4
    for shard, copy in zip(shards, copies[0], strict=True):
        assert copy.read_bytes() == shard.read_bytes()
    store.downloads.clear()
    assert staged(shards) == copies[0]
    assert not store.downloads
    store.write("staged/ntu/1.0.0/1", b"built anew")
    assert staged(shards)[1].read_bytes() == b"built anew"
    assert copies[0][1].read_bytes() != b"built anew"  # which another process may be reading


def test_what_a_kill_left_is_not_taken_for_records(store: ObjectStore, shards: list[epath.Path]):
    whole, cut, none = staged(shards)
    cut.replace(cut.with_name("1.part"))
    cut.with_name("1.part").write_bytes(b"sta")
    none.unlink()
    store.downloads.clear()
    assert [copy.read_bytes() for copy in staged(shards)] == [s.read_bytes() for s in shards]
    assert "staged/ntu/1.0.0/1" in store.downloads
    assert sorted(path.name for path in whole.parent.iterdir()) == ["0", "1", "2", "lock"]


def test_a_disk_that_is_too_small_is_one_line(
    shards: list[epath.Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(InputError, match=r"gs://bucket/staged/ntu/1\.0\.0 .* XDG_CACHE_HOME"):
        staged(shards)


def test_what_others_write_is_seen(store: ObjectStore):
    folder = to_path("gs://bucket/seen")
    (folder / "first").write_text("1")
    assert [path.name for path in folder.iterdir()] == ["first"]
    store.write("seen/second", b"2")
    assert [path.name for path in folder.iterdir()] == ["first", "second"]
    assert (folder / "second").exists()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("gs://nobody/runs", "gs://nobody: no such bucket"),
        ("s3://bucket/runs", "s3://bucket/runs is not on this machine; download it first"),
    ],
)
def test_a_path_that_cannot_be_reached_is_one_line(store: ObjectStore, path: str, message: str):
    with pytest.raises(InputError, match=message):
        mv2mae_jax.load_encoder(path)


def test_what_is_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(InputError, match="gs://unasked needs gcsfs, not installed: pip install"):
        to_path("gs://unasked/runs")


def test_records_are_built_locally(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stopped:
        prepare.main(["ntu", "--raw-dir", "raw", "--data-dir", "gs://bucket/data"])
    assert stopped.value.code == 2
    assert "gs://bucket/data is not on this machine" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_share_a_run_in_the_bucket(store: ObjectStore):
    words = command("mannequin.py", "runs/together", "--config.epochs=1")[3:]
    for ended in processes.finish(processes.start_together(2, 1, words)):
        assert ended.code == 0, ended.stderr
    assert [line["step"] for line in metrics(store, "runs/together")] == list(range(1, 7))
    assert "runs/together/checkpoints/6/state/ocdbt.process_1/manifest.ocdbt" in store.objects
    assert mv2mae_jax.load_encoder("gs://bucket/runs/together").clip_shape == (4, 32, 32, 3)
