"""Damage done to real records is found and named."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from damage import copied

from mv2mae_jax.data.records import Record, load_index
from mv2mae_jax.data.verify import record_findings, verify
from mv2mae_jax.prepare import main


@pytest.fixture
def folder(data_dir: Path, tmp_path: Path) -> Path:
    """A built data set that may be damaged."""
    return copied(data_dir, "colours", tmp_path / "data")


def findings(folder: Path) -> list[str]:
    return verify(load_index(folder.parents[1], "colours"))


def shard(folder: Path) -> Path:
    return next(folder.glob("*.array_record-*"))


def test_a_sound_data_set_has_no_findings(folder: Path) -> None:
    assert findings(folder) == []


def test_a_flipped_byte_names_its_record_and_no_other(folder: Path) -> None:
    content = bytearray(shard(folder).read_bytes())
    jpeg = content.find(b"\xff\xd8\xff", len(content) // 3)
    content[jpeg + 200] ^= 0xFF
    shard(folder).write_bytes(content)
    (finding,) = findings(folder)
    assert finding.startswith(f"{shard(folder).name}, record ") and "cannot be read" in finding


def test_a_cut_shard_is_named(folder: Path) -> None:
    content = shard(folder).read_bytes()
    shard(folder).write_bytes(content[: len(content) // 2])
    assert findings(folder)[0].startswith(f"{shard(folder).name}: cannot be opened: ")


def test_a_missing_shard_is_missed(folder: Path) -> None:
    shard(folder).unlink()
    (finding,) = findings(folder)
    assert finding.startswith("0 records, but index.json lists ")


def test_a_shard_that_is_missing_among_others_is_named(folder: Path) -> None:
    """And the others are not blamed for it."""
    other = shard(folder).name.replace("00000-of-00001", "00001-of-00002")
    assert other != shard(folder).name
    shard(folder).rename(folder / other)
    assert findings(folder) == [f"{other.replace('00001-of', '00000-of')}: it is missing"]


def test_names_in_a_record_are_escaped(folder: Path) -> None:
    index = load_index(folder.parents[1], "colours")
    activity = index.activities[0]
    view, length = next(iter(activity.views.items()))
    record = Record("\x1b[31mx\ny", activity.label, view, 0, 4, [b""] * len(range(0, length, 4)))
    found = next(iter(record_findings(index, activity, view, 0, record)))
    assert found.isprintable()


def test_an_index_of_other_records_is_named(folder: Path) -> None:
    path = folder / "index.json"
    stored = json.loads(path.read_text())
    first, second = stored["activities"][:2]
    first["label"] += 1
    second["id"] = first["id"]
    second["views"][next(iter(second["views"]))] += 1
    path.write_text(json.dumps(stored))
    found = findings(folder)
    assert found[0] == "index.json: 1 activities have the name of another"
    said = {" ".join(finding.split("): ")[1].split(" ")[:3]) for finding in found[1:]}
    assert said == {"its label is", "it is view", "it has 5"}


def test_frames_are_decoded(folder: Path) -> None:
    index = load_index(folder.parents[1], "colours")
    activity = index.activities[0]
    large = simplejpeg.encode_jpeg(np.zeros((300, 400, 3), np.uint8))
    for frame, reason in ((b"no jpeg", "is damaged"), (large, "400 x 300, more than the short")):
        view, length = next(iter(activity.views.items()))
        frames = [frame] * len(range(1, length, 4))
        record = Record(activity.id, activity.label, view, 1, 4, frames)
        (finding,) = record_findings(index, activity, view, 1, record)
        assert reason in finding


def test_the_command_says_so_and_fails(folder: Path) -> None:
    command = [sys.executable, "-m", "mv2mae_jax.prepare", "verify"]
    command += [f"--data-dir={folder.parents[1]}"]
    good = subprocess.run(command, capture_output=True, text=True)
    assert good.returncode == 0
    assert good.stdout == f"{folder}: every record is as the index says\n"
    shard(folder).unlink()
    bad = subprocess.run(command, capture_output=True, text=True)
    assert bad.returncode == 1
    assert bad.stdout.endswith(f"{folder}: 1 findings\n")
    assert bad.stderr.splitlines()[-1].startswith("error: delete what is damaged")


def test_a_damaged_index_does_not_hide_the_other_data_sets(folder: Path, capfd) -> None:
    damaged = folder.parents[1] / "another" / folder.name
    shutil.copytree(folder, damaged)
    (damaged / "index.json").write_text("no index")
    assert main(["verify", f"--data-dir={folder.parents[1]}"]) == 1
    said = capfd.readouterr().out.splitlines()
    assert said[0].startswith(f"{damaged / 'index.json'} is damaged")
    assert said[1] == f"{folder}: every record is as the index says"
