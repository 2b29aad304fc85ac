"""What the builder wrote is what is read, and damage is told in one line."""

import json
import pickle
import shutil

import numpy as np
import pytest
import simplejpeg
from colours import ACTIVITIES, LABELS, ONE_VIEW, VIEWS, frames_of, where_from
from damage import copied

from mv2mae_jax.data import records
from mv2mae_jax.data.records import RecordSource, fingerprint, load_index, parse_record
from mv2mae_jax.errors import InputError


@pytest.fixture
def copy(data_dir, tmp_path):
    return copied(data_dir, "colours", tmp_path)


def test_index_lists_what_was_built(data_dir):
    index = load_index(data_dir, "colours")
    assert index.classes == LABELS and index.views == VIEWS
    assert [a.id for a in index.activities] == [f"a{n:02}" for n in range(ACTIVITIES)]
    for n, activity in enumerate(index.activities):
        assert activity.position == n and index.classes[activity.label] == LABELS[n % 3]
        views = VIEWS[:1] if n == ONE_VIEW else VIEWS
        assert activity.views == {view: frames_of(n, view) for view in views}


def test_records_hold_every_frame_of_every_view_in_order(data_dir):
    index = load_index(data_dir, "colours")
    source = RecordSource(index)
    for activity in index.activities:
        for view, length in activity.views.items():
            frames = source.frames(activity.position, view, np.arange(length))
            shown = [where_from(simplejpeg.decode_jpeg(frames[time])) for time in range(length)]
            assert shown == [(activity.position, view, time) for time in range(length)]


def test_a_clip_is_read_from_one_record_and_others_from_as_few_as_hold_them(data_dir, monkeypatch):
    read = []
    monkeypatch.setattr(
        records, "parse_record", lambda text: read.append(parse_record(text)) or read[-1]
    )
    source = RecordSource(load_index(data_dir, "colours"))
    for times, phases in (([3, 7, 11], [3]), ([8, 8, 0], [0]), ([2, 4, 6], [0, 2]), ([], [])):
        read.clear()
        frames = source.frames(2, "2", np.array(times, int))
        assert set(frames) == set(times)
        assert [(r.id, r.view, r.first) for r in read] == [("a02", "2", p) for p in phases]


def test_source_can_be_pickled(data_dir):
    source = RecordSource(load_index(data_dir, "colours"))
    first = source.frames(3, "1", np.arange(2))
    assert pickle.loads(pickle.dumps(source)).frames(3, "1", np.arange(2)) == first


def test_a_fingerprint_follows_the_content(data_dir, copy):
    """Not the place; another label, or a longer shard, is another data set."""
    whole = fingerprint(data_dir, "colours")
    assert fingerprint(copy.parents[1], "colours") == whole
    index = copy / "index.json"
    text = index.read_text()
    relabelled = json.loads(text)
    relabelled["activities"][0]["label"] += 1
    index.write_text(json.dumps(relabelled))
    seen = {whole, fingerprint(copy.parents[1], "colours")}
    index.write_text(text)
    assert fingerprint(copy.parents[1], "colours") == whole
    with next(copy.glob("*.array_record-*")).open("ab") as shard:
        shard.write(b"1")
    seen.add(fingerprint(copy.parents[1], "colours"))
    assert len(seen) == 3


def test_the_newest_finished_version_is_read(copy):
    def version(name, dataset):
        folder = copy.parent / name
        shutil.copytree(copy, folder)
        stored = json.loads((folder / "index.json").read_text())
        (folder / "index.json").write_text(json.dumps(stored | {"classes": [dataset, "b", "c"]}))
        return folder

    version("9.0.0", "older")
    newest = version("10.0.0", "newer")
    version("11.0.0.incompleteX", "unfinished")
    (copy.parent / "12.0.0").mkdir()
    assert load_index(copy.parent.parent, "colours").folder == newest


@pytest.mark.parametrize(
    ("dataset", "command"),
    [
        ("ntu", "prepare ntu --raw-dir"),
        ("mine", "prepare manifest --manifest FILE.csv --name mine"),
    ],
)
def test_missing_data_set_names_the_command_that_builds_it(tmp_path, dataset, command):
    with pytest.raises(InputError, match=command) as error:
        load_index(tmp_path, dataset)
    assert str(tmp_path / dataset) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"classes": []}', '{"activities": [{"id": 1}]}']
)
def test_damaged_index(copy, content):
    (copy / "index.json").write_text(content)
    with pytest.raises(InputError, match=r"index.json is damaged"):
        load_index(copy.parent.parent, "colours")


def test_records_of_the_older_layout_are_to_be_built_again(copy):
    old = copy.rename(copy.with_name("1.0.0"))
    with pytest.raises(InputError, match=r"older layout.*build it: python -m mv2mae") as error:
        load_index(copy.parents[1], "colours")
    assert str(old) in str(error.value) and "\n" not in str(error.value)


def test_missing_records(copy):
    index = load_index(copy.parent.parent, "colours")
    for shard in copy.glob("*.array_record*"):
        shard.unlink()
    with pytest.raises(InputError, match=f"holds 0 records.*lists {index.num_records}"):
        RecordSource(index)
