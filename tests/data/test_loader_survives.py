"""Worker processes that are killed or left alone, and records that cannot be read."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from batches import assert_same, take
from colours import where_from
from damage import copied, damaged_mannequin, spoil
from grain.sources import ArrayRecordDataSource
from processes import finish, metrics, start, until
from tensorflow_datasets.proto import tf_example_pb2

from benchmarks.soak import loader_workers
from mv2mae_jax.data import loader, process, workers
from mv2mae_jax.data.records import DamagedRecord, load_index
from mv2mae_jax.data.splits import split_videos
from mv2mae_jax.errors import InputError
from mv2mae_jax.visualize.contact_sheet import contact_sheet
from mv2mae_jax.visualize.training_clips import first_clips

SHARED_MEMORY = Path("/dev/shm")


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].startswith("Z")
    except (FileNotFoundError, ProcessLookupError):
        return True


# --- Processes --------------------------------------------------------------------------------


@pytest.fixture
def memory(monkeypatch):
    """How the names of shared memory begin, known beforehand."""
    name = process.new_shared_memory_name()
    monkeypatch.setattr(workers, "new_shared_memory_name", lambda: name)
    return name


def evaluation(config):
    return loader.evaluation_batches(config, "train", clips=2, crops=5)


@pytest.mark.parametrize("make", [loader.pretraining_batches, evaluation])
def test_killed_workers_change_no_batch(config, memory, caplog, make):
    expected = take(make(config), 8)
    config.data.workers = 2
    with make(config) as running:
        batches = list(islice(running, 2))
        os.kill(loader_workers(os.getpid())[1], signal.SIGKILL)
        batches += islice(running, 6)
        assert running.counts()["worker_restarts"] == 1
        assert "a loader worker was killed (SIGKILL, as when memory runs out)" in caplog.text
        assert len(loader_workers(os.getpid())) == 2
    assert_same(batches, expected)
    assert not loader_workers(os.getpid())
    assert not list(SHARED_MEMORY.glob(f"{memory}*"))


def test_workers_that_die_again_and_again_are_given_up(config, memory):
    config.data.workers = 1
    over = threading.Event()

    def kill():
        while not over.wait(0.02):
            for worker in loader_workers(os.getpid()):
                os.kill(worker, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with (
            loader.pretraining_batches(config) as batches,
            pytest.raises(InputError, match=r"3 times a loader worker was killed") as error,
        ):
            next(batches)
    finally:
        over.set()
        killer.join()
    assert "config.data.workers=1" in str(error.value) and "memory" in str(error.value)
    assert not list(SHARED_MEMORY.glob(f"{memory}*"))


@contextmanager
def loading(config, folder):
    """The loader in a process, and process group, of its own."""
    config.data.workers = 2
    (folder / "config.json").write_text(config.to_json())
    program = Path(__file__).with_name("loading.py")
    running = subprocess.Popen(
        [sys.executable, program, folder / "config.json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def batch_of(running):
    running.stdin.write("\n")
    return json.loads(running.stdout.readline())


def test_signals_to_all_do_not_reach_workers_at_any_moment(config, tmp_path):
    with loading(config, tmp_path) as running:
        first = {}
        asking = threading.Thread(target=lambda: first.update(batch_of(running)))
        asking.start()
        until(lambda: loader_workers(running.pid) or not asking.is_alive(), [running])
        sent = 0
        while asking.is_alive():  # all the time that workers start
            for number in (signal.SIGINT, signal.SIGTERM):
                os.killpg(running.pid, number)
            sent += 1
            time.sleep(0.02)
        assert sent > 10
        for step in range(1, 4):
            for number in (signal.SIGINT, signal.SIGTERM):
                os.killpg(running.pid, number)
            batch = batch_of(running)
            assert batch["index"] == list(range(4 * step, 4 * step + 4))
            assert sorted(batch["workers"]) == sorted(first["workers"])
            assert batch["worker_restarts"] == 0
        stdout, stderr = running.communicate(timeout=60)  # its input ends
        assert (running.returncode, stdout, stderr.count("\n")) == (0, "", 2)
        assert "have fewer than 2 views" in stderr and "that a clip spans" in stderr
        assert all(gone(worker) for worker in first["workers"])
        assert not list(SHARED_MEMORY.glob(f"{first['memory']}*"))


def test_workers_and_their_memory_end_with_a_killed_parent(config, tmp_path):
    with loading(config, tmp_path) as running:
        batch_of(running)
        batch = batch_of(running)
        assert len(batch["workers"]) == 2
        assert list(SHARED_MEMORY.glob(f"{batch['memory']}*"))  # made ahead
        running.kill()
        until(lambda: all(gone(worker) for worker in batch["workers"]), [], timeout=10)
        until(lambda: not list(SHARED_MEMORY.glob(f"{batch['memory']}*")), [], timeout=10)


DIES_AS_IT_MAKES_MEMORY = """
import os, signal, sys
from multiprocessing import shared_memory
from types import SimpleNamespace
from mv2mae_jax.data.process import start_worker
start_worker(sys.argv[1])
made = shared_memory._posixshmem.shm_open
def dying(*args, **options):
    made(*args, **options)
    os.kill(os.getpid(), signal.SIGKILL)
shared_memory._posixshmem = SimpleNamespace(shm_open=dying)
shared_memory.SharedMemory(create=True, size=10)
"""


def test_memory_of_a_worker_that_is_killed_as_it_makes_it_is_freed():
    name = process.new_shared_memory_name()
    done = subprocess.run([sys.executable, "-c", DIES_AS_IT_MAKES_MEMORY, name])
    assert done.returncode == -signal.SIGKILL
    until(lambda: not list(SHARED_MEMORY.glob(f"{name}*")), [], timeout=10)


# --- Records ----------------------------------------------------------------------------------

DAMAGED = (2, 5)


@pytest.fixture(scope="module")
def damaged_dir(data_dir, tmp_path_factory):
    """`colours` with frames of a02 cut off, and a byte of every record of a05 changed."""
    folder = load_index(data_dir, "colours").folder
    copy = tmp_path_factory.mktemp("damaged") / "colours" / folder.name
    copy.mkdir(parents=True)
    shutil.copy(folder / "index.json", copy)
    (shard,) = folder.glob("*.array_record*")
    path = copy / shard.name
    writer = ArrayRecordWriter(str(path), "group_size:1,uncompressed")
    for record in ArrayRecordDataSource(str(shard)):
        example = tf_example_pb2.Example.FromString(record)
        if example.features.feature["activity"].bytes_list.value == [f"a{DAMAGED[0]:02}".encode()]:
            frames = example.features.feature["frames"].bytes_list.value
            frames[:] = [frame[:40] for frame in frames]
            record = example.SerializeToString()
        writer.write(record)
    writer.close()
    spoil(path, f"a{DAMAGED[1]:02}")
    return copy.parents[1]


def activities(batch):
    return [where_from(clip.reshape(-1, *clip.shape[-3:])[0])[0] for clip in batch["clips"]]


@pytest.mark.parametrize("make", [loader.pretraining_batches, loader.finetuning_batches])
def test_damaged_activities_are_replaced_and_all_else_stays(config, damaged_dir, caplog, make):
    sound = take(make(config), 12)
    config.data.data_dir = str(damaged_dir)
    config.data.bad_records = 2
    with make(config) as batches:
        replaced = list(islice(batches, 12))
        assert batches.counts()["damaged_activities"] == 2
    for position in DAMAGED:
        assert caplog.text.count(f"activity a{position:02} is left out, it cannot be read: ") == 1
    stand_ins = set()
    for before, after in zip(sound, replaced, strict=True):
        assert before.keys() == after.keys()
        assert np.array_equal(before["index"], after["index"])
        shown = zip(activities(before), activities(after), strict=True)
        for row, (was, now) in enumerate(shown):
            if was in DAMAGED:
                assert now not in DAMAGED
                stand_ins.add(now)
            else:
                assert np.array_equal(before["clips"][row], after["clips"][row])
    assert len(stand_ins) > 2  # drawn anew for every sample
    assert_same(take(make(config, 7), 5), replaced[7:])
    shares = [take(make(config, 3, place, 2), 4) for place in range(2)]
    for step in range(4):
        for place in range(2):
            whole = {key: value[place::2] for key, value in replaced[3 + step].items()}
            assert_same([shares[place][step]], [whole])


def test_a_contact_sheet_names_what_cannot_be_decoded(damaged_dir, tmp_path):
    index = load_index(damaged_dir, "colours")
    with pytest.raises(DamagedRecord, match=r"activity a02 cannot be read: view .* decoded"):
        contact_sheet(index, tmp_path / "sheet.png", len(index.activities))


def test_pictures_pass_over_what_is_damaged(config, damaged_dir):
    usable = loader.num_samples(config)
    sound = [clip.activity for clip in first_clips(config, usable)]
    config.data.data_dir = str(damaged_dir)
    config.data.bad_records = 2
    damaged = {f"a{position:02}" for position in DAMAGED}
    expected = [activity for activity in sound if activity not in damaged]
    assert len(expected) == usable - 2
    assert [clip.activity for clip in first_clips(config, len(expected))] == expected
    config.data.bad_records = 1
    with pytest.raises(InputError, match=r"more activities than config\.data\.bad_records=1"):
        first_clips(config, len(expected))


def test_replacing_does_not_depend_on_workers(config, damaged_dir):
    config.data.data_dir = str(damaged_dir)
    config.data.bad_records = 2
    expected = take(loader.pretraining_batches(config), 6)
    config.data.workers = 2
    with loader.pretraining_batches(config) as batches:
        assert_same(list(islice(batches, 6)), expected)
        assert batches.counts() == {"damaged_activities": 2, "worker_restarts": 0}


@pytest.mark.parametrize(("allowed", "workers", "named"), [(0, 0, 1), (0, 1, 1), (1, 0, 2)])
def test_too_many_damaged_activities_are_named(config, damaged_dir, allowed, workers, named):
    config.data.data_dir = str(damaged_dir)
    config.data.bad_records, config.data.workers = allowed, workers
    with loader.pretraining_batches(config) as batches, pytest.raises(InputError) as error:
        list(islice(batches, 12))
    message = str(error.value)
    reasons = {
        "a02 (view ": "cannot be decoded (",
        "a05 (": "chunk data hash mismatch",
    }
    assert sum(name in message and why in message for name, why in reasons.items()) == named
    assert f"config.data.bad_records={allowed}" in message and "\n" not in message


def test_as_many_damaged_activities_as_there_are_is_an_input_error(config):
    config.data.bad_records = 13
    with pytest.raises(InputError, match="bad_records=13 but only 13 activities"):
        loader.pretraining_batches(config)


@pytest.mark.parametrize("workers", [0, 1])
def test_evaluation_replaces_nothing(config, damaged_dir, workers):
    config.data.data_dir = str(damaged_dir)
    config.data.bad_records, config.data.workers = 2, workers
    with evaluation(config) as batches, pytest.raises(DamagedRecord) as error:
        list(batches)
    assert str(error.value).startswith("activity a02 cannot be read: view 1 cannot be decoded (")
    assert "\n" not in str(error.value)


def test_evaluation_leaves_out_as_many_as_it_may(config, damaged_dir, caplog):
    make = partial(loader.evaluation_batches, config, "train", clips=2, crops=1)

    def videos(bad_records):
        return {
            int(video): clips
            for batch in take(make(bad_records=bad_records), None)
            for video, clips in zip(batch["video"], batch["clips"], strict=True)
            if video >= 0
        }

    sound = videos(0)
    config.data.data_dir = str(damaged_dir)
    left = videos(2)
    listed = split_videos(config, "train")
    missing = {listed[video].activity.position for video in sound.keys() - left.keys()}
    assert missing == set(DAMAGED)
    assert all(np.array_equal(clips, sound[video]) for video, clips in left.items())
    for position in DAMAGED:
        assert caplog.text.count(f"activity a{position:02} is left out, it cannot be read: ") == 1
    with pytest.raises(InputError, match=r"more activities than config\.data\.bad_records=1"):
        videos(1)


@pytest.fixture
def shard(config, tmp_path):
    """The only shard of a copy of `colours`."""
    (path,) = copied(config.data.data_dir, "colours", tmp_path).glob("*.array_record*")
    config.data.data_dir = str(tmp_path)
    return path


def started(config):
    with pytest.raises(InputError) as error:
        loader.pretraining_batches(config)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_missing_shard_is_named_at_the_start(config, shard):
    shard.rename(shard.with_name("colours-all.array_record-00001-of-00003"))
    message = started(config)
    assert f"{shard.parent} lacks colours-all.array_record-00000-of-00003, " in message
    assert "colours-all.array_record-00002-of-00003;" in message


@pytest.mark.parametrize("share", [0, 0.5, 0.999])
def test_a_cut_shard_is_named_at_the_start(config, shard, share):
    os.truncate(shard, int(share * shard.stat().st_size))
    assert started(config).startswith(f"{shard} is cut off or damaged (")


def test_a_record_of_another_activity_is_damaged(config, shard):
    index = json.loads((shard.parent / "index.json").read_text())
    index["activities"][3]["id"] = "another"
    (shard.parent / "index.json").write_text(json.dumps(index))
    with (
        loader.pretraining_batches(config) as batches,
        pytest.raises(InputError, match=r"cannot read another \(it is view \d of a03, not view"),
    ):
        list(islice(batches, 4))


# --- The command ------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_with_killed_workers_sigterm_to_all_and_a_damaged_record(mannequin_dir, tmp_path):
    """It saves, continues, and its numbers are those of a run to which nothing happened."""
    name = load_index(mannequin_dir, "mannequin").activities[3].id
    data_dir = damaged_mannequin(mannequin_dir, tmp_path / "data", name)

    def run(workdir, workers):
        words = ["--config=configs/mannequin.py", f"--workdir={workdir}", "--config.epochs=12"]
        words += [f"--config.data.data_dir={data_dir}", "--config.data.bad_records=1"]
        words += [f"--config.data.workers={workers}", "--config.log_every=1"]
        words += ["--config.pictures_every_epochs=0.0", "--config.probe.every_epochs=0"]
        command = [sys.executable, "-m", "mv2mae_jax.main", *words]
        return start(command, start_new_session=True, **os.environ)

    disturbed, calm = tmp_path / "disturbed", tmp_path / "calm"
    running = run(disturbed, workers=2)
    until(lambda: len(metrics(disturbed)) >= 2, [running])
    os.kill(loader_workers(running.pid)[0], signal.SIGKILL)
    so_far = len(metrics(disturbed))
    until(lambda: len(metrics(disturbed)) >= so_far + 5, [running])
    os.killpg(running.pid, signal.SIGTERM)
    (end,) = finish([running], timeout=60)
    said = end.stdout + end.stderr
    assert end.code == 143, said
    assert said.count("a loader worker was killed (SIGKILL") == 1
    assert said.count(f"activity {name} is left out, it cannot be read: ") == 1
    assert "the same command continues" in said and "Traceback" not in said

    for workdir, count in ((disturbed, 2), (calm, 0)):
        (end,) = finish([run(workdir, count)], timeout=400)
        assert end.code == 0, end.stderr
    losses = [
        {line["step"]: line["loss"] for line in metrics(workdir)} for workdir in (disturbed, calm)
    ]
    assert losses[0] == losses[1] and len(losses[1]) == 12 * 6
    assert metrics(calm)[-1]["damaged_activities"] == 1
