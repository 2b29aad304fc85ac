"""What the builder wrote is what is read, and damage is told in one line."""

import json
import pickle
import shutil

import pytest
import simplejpeg
from colours import ACTIVITIES, LABELS, ONE_VIEW, VIEWS, frames_of, where_from

from mv2mae_jax.data.records import RecordSource, load_index
from mv2mae_jax.errors import InputError


@pytest.fixture
def copy(data_dir, tmp_path):
    """A copy of the data set that a test may damage: the folder of its version."""
    shutil.copytree(data_dir / "colours", tmp_path / "colours")
    (folder,) = (tmp_path / "colours").glob("[0-9]*")
    return folder


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
    assert len(source) == ACTIVITIES
    for activity in index.activities:
        record = source[activity.position]
        assert (record.id, record.label) == (activity.id, activity.label)
        assert {view: len(frames) for view, frames in record.views.items()} == activity.views
        for view, frames in record.views.items():
            shown = [where_from(simplejpeg.decode_jpeg(frame)) for frame in frames]
            assert shown == [(activity.position, view, time) for time in range(len(frames))]


def test_source_can_be_pickled(data_dir):
    source = RecordSource(load_index(data_dir, "colours"))
    first = source[3]
    assert pickle.loads(pickle.dumps(source))[3] == first


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


def test_missing_records(copy):
    index = load_index(copy.parent.parent, "colours")
    for shard in copy.glob("*.array_record*"):
        shard.unlink()
    with pytest.raises(InputError, match=f"holds 0 records.*lists {ACTIVITIES}"):
        RecordSource(index)
