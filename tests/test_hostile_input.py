"""Whatever is given, the answer is right or one line: hypothesis makes what nobody would.

HOSTILE_TIMES=10 runs so many times as many cases, other ones at every run.
"""

import contextlib
import copy
import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest
import torch
from absl import flags
from flax import nnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save
from videos import moving_pattern, write_video

from configs.base import get_config
from configs.mannequin import get_config as mannequin
from mv2mae_jax import main
from mv2mae_jax.check import check, fields, stored_config
from mv2mae_jax.data.augment import crop_box
from mv2mae_jax.data.records import Activity, RecordSource, load_index, parse_record
from mv2mae_jax.data.samples import draw_pretraining
from mv2mae_jax.errors import InputError, is_name
from mv2mae_jax.evaluation.confusion import draw_confusion
from mv2mae_jax.interop.card import measured, model_card
from mv2mae_jax.interop.files import Origin, read_stored
from mv2mae_jax.interop.models import load_model
from mv2mae_jax.interop.names import to_tensors
from mv2mae_jax.model import build
from mv2mae_jax.training.checkpoints import Checkpoints, load_parameters
from mv2mae_jax.training.optimizer import learning_rate
from mv2mae_jax.training.parameters import split
from mv2mae_jax.training.sharding import make_mesh
from mv2mae_jax.training.step import Learner, create_state
from mv2mae_jax.training.workdir import opened
from mv2mae_jax.visualize.contact_sheet import contact_sheet
from tfds_builders.manifest_data.layout import read_csv
from tfds_builders.manifest_data.manifest_data_dataset_builder import Builder

TIMES = int(os.environ.get("HOSTILE_TIMES", "1"))
MARKUP = "<b onclick='x'>$x^$ `a` [l](u) | *e*</b> \"q\", é😀 ../../x /etc; $(rm) \\frac{"


def cases(count: int) -> Callable[[Any], Any]:
    """So many cases, the same at every run unless HOSTILE_TIMES says otherwise."""
    return settings(
        max_examples=count * TIMES,
        derandomize=TIMES == 1,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@contextlib.contextmanager
def refused_or_right(*names: str) -> Iterator[None]:
    """InputError, in one line with one of the names, is as good as success."""
    try:
        yield
    except InputError as error:
        assert str(error).isprintable()
        assert any(name in str(error) for name in names), str(error)


# What stands for a JSON value, a field or a part of a file.
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 2**31, 2**63, 10**30]),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from([[], {}, [1], {"a": 1}, "", "../../x", "\ud800", MARKUP]),
)


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """A JSON value in which one place is replaced, removed or renamed."""
    value = node = copy.deepcopy(value)
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = draw(st.sampled_from(keys))
        if isinstance(node[key], dict | list) and node[key] and draw(st.booleans()):
            node = node[key]
            continue
        how = draw(st.sampled_from(["replace", "replace", "remove", "rename"]))
        if how == "rename" and isinstance(node, dict):
            node[draw(st.text(max_size=5))] = node.pop(key)
        elif how == "remove":
            del node[key]
        else:
            node[key] = draw(ODD)
        return value


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes that are cut, or have others put in or in place of some; often near the beginning."""
    near = draw(st.sampled_from([16, 300, len(content)]))
    place = draw(st.integers(0, max(0, min(near, len(content)) - 1)))
    rest = draw(st.integers(0, 300))
    how = draw(st.sampled_from(["cut", "replace", "insert", "remove", "flip"]))
    if how == "cut":
        return content[:place]
    if how == "flip":
        return content[:place] + bytes([content[place] ^ 1 << rest % 8]) + content[place + 1 :]
    put = b"" if how == "remove" else draw(st.binary(min_size=1, max_size=20))
    return content[:place] + put + content[place + (0 if how == "insert" else rest) :]


# Config overrides


ABSURD = (
    *("", "0", "-1", "1", "nan", "inf", "-inf", "1e300", "1e-300", "True", "None", "many", "0x10"),
    *("2147483648", "4294967296", "99999999999999999999", "9" * 5000, "100000", "1000000007"),
    *("()", "('a',)", "(1,2,3)", "(0,0,0)", "(1e-9,1e-9)", "(nan,)", "(1,[2],3)", "((1,2),3)"),
    *("(1e-320,1e300)", "(-1,-1,-1)", "(True,)", "(None,)", "('\\x00',)", "{'a':1}", "[", "("),
    *("../../etc", "/etc/passwd", "\n", "a\nb", "é😀", "$x$", "a,b", "'", MARKUP, "x" * 5000),
)


@cases(400)
@given(
    config=st.sampled_from(["mannequin.py", "mannequin.py:finetune", "ntu60.py", "nucla.py"]),
    field=st.sampled_from([name for name, _ in fields(get_config())]),
    value=st.one_of(
        st.sampled_from(ABSURD),
        st.integers().map(str),
        st.floats().map(str),
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
    ),
)
def test_an_override_is_possible_or_named(config: str, field: str, value: str) -> None:
    words = ["main", f"--config=configs/{config}", "--workdir=x", f"--config.{field}={value}"]
    with refused_or_right(field), parsed(words) as config:
        try:
            config = config()
        except flags.Error as error:
            raise InputError(error) from error
        check(config)
        use(config)


@contextlib.contextmanager
def parsed(words: list[str]) -> Iterator[Callable[[], Any]]:
    """The command line's own parser, which defines flags as it goes and reads sys.argv."""
    before, sys.argv = sys.argv, words
    try:
        yield lambda: main.parse(words)[0]
    finally:
        sys.argv = before
        for name in [name for name in flags.FLAGS if name.startswith("config.")]:
            delattr(flags.FLAGS, name)
        flags.FLAGS.unparse_flags()


def use(config: Any) -> None:
    """What is cheap of what a run does with it."""
    stored = json.loads(config.to_json())
    assert json.loads(stored_config(stored).to_json()) == stored
    np.testing.assert_array_equal(jax.jit(learning_rate(config, 1000))(0).shape, ())
    jax.random.key(config.seed)
    activity = Activity(0, "a", 0, "", "", {str(view): 30 for view in range(3)})
    if config.data.num_views > 3 or config.data.target_view or config.data.source_views:
        return  # such views are asked for when the data are read
    draw = draw_pretraining(config.data, config.seed, 7, activity)
    assert len(draw.times) == config.data.num_frames and draw.times.max() < 30
    for views in draw.augmentations:
        for augmentation in views:
            box = crop_box(augmentation.crop, 36, 48, config.data.image_size)
            assert 0 < box.width <= 48 - box.x and 0 < box.height <= 36 - box.y


@pytest.mark.parametrize("path", ["data.mean[0]", "data.mean[x]", "data.mean[7]", "", ".x", "data"])
def test_what_is_no_field_is_named(path: str) -> None:
    words = ["main", "--config=configs/ntu60.py", "--workdir=x", f"--config.{path}=1"]
    with parsed(words) as config, pytest.raises(flags.Error, match=r"--config\."):
        config()


# Manifests, the index and records made of them


@pytest.fixture(scope="module")
def raw_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    for name in ("a.mkv", "$b$ <i>;é.mkv"):
        write_video(folder / name, moving_pattern(6, 32, 48), "ffv1")
    (folder / "broken.zip").write_text("no archive")
    return folder


HEADER = "activity,view,path,label,subject,setup,first,last"
CELL = st.one_of(
    st.sampled_from(["a", "b", "a.mkv", "", "0", "5", "-1", "9" * 30, "9" * 5000, "1e3", "nan"]),
    st.sampled_from(["../x", "/etc/passwd", "..", "broken.zip/a.mkv", "x" * 300, "a/" * 3000]),
    st.sampled_from(['"x\ny"', '"', '"a,""b"', "\0", "<b>", "$x$", "\x1b[2J", "=1+1", "é😀"]),
    st.text(max_size=10),
)


@cases(200)
@given(
    header=st.one_of(st.just(HEADER), st.permutations(HEADER.split(",")).map(",".join), CELL),
    rows=st.lists(st.lists(CELL, min_size=7, max_size=9), max_size=4),
    sound=st.booleans(),
    encoding=st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"]),
)
def test_a_manifest_is_read_or_its_line_named(
    raw_dir: Path, header: str, rows: list[list[str]], sound: bool, encoding: str
) -> None:
    lines = [header, *(",".join(row) for row in rows)]
    lines += ["z,1,a.mkv,l,,,,"] if sound else []
    file = raw_dir / "m.csv"
    file.write_bytes("\n".join(lines).encode(encoding, "replace"))
    before = sorted(raw_dir.iterdir())
    with refused_or_right(str(file)):
        manifest = read_csv(file, raw_dir)
        assert manifest.rows and all(is_name(row.label) for row in manifest.rows)
    assert sorted(raw_dir.iterdir()) == before


@pytest.fixture(scope="module")
def data_dir(raw_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set whose every name is hostile, built and drawn beside a file that must stay."""
    folder = tmp_path_factory.mktemp("data")
    cell = '"' + MARKUP.replace('"', '""') + '"'
    rows = [f"{cell},{view},$b$ <i>;é.mkv,{cell},{cell},{cell},," for view in ("../1", "$2$")]
    rows += ["../../y,../1,a.mkv,$\\foo$,,,,"]
    (raw_dir / "hostile.csv").write_text("\n".join([HEADER, *rows]))
    name = {"manifest_csv": raw_dir / "hostile.csv", "name": "hostile"}
    Builder(**name, data_dir=folder / "data", jobs=1).build()
    index = load_index(folder / "data", "hostile")
    contact_sheet(index, folder / "data" / "sheet.png")
    assert [path.name for path in folder.iterdir()] == ["data"]
    assert {path.name for path in (folder / "data").iterdir()} == {"hostile", "sheet.png"}
    return folder / "data"


def test_names_come_back_as_they_were(data_dir: Path) -> None:
    index = load_index(data_dir, "hostile")
    records = RecordSource(index)
    for activity in index.activities:
        for view in activity.views:
            assert records.frames(activity.position, view, np.zeros(1, int))
    assert set(index.classes) == {MARKUP, "$\\foo$"} and index.views == ("$2$", "../1")


@pytest.fixture(scope="module")
def copy_dir(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built data set, to be damaged."""
    return Path(shutil.copytree(data_dir, tmp_path_factory.mktemp("damaged") / "data"))


def test_a_folder_that_no_disk_can_have_is_named() -> None:
    with pytest.raises(InputError, match=r"no data set in x+/hostile; build it"):
        load_index("x" * 5000, "hostile")


@cases(150)
@given(st.data())
def test_an_index_is_read_or_called_damaged(data_dir: Path, copy_dir: Path, data: Any) -> None:
    sound = (load_index(data_dir, "hostile").folder / "index.json").read_bytes()
    file = copy_dir / "hostile" / "2.0.0" / "index.json"
    as_json = st.just(json.loads(sound)).flatmap(changed).map(lambda x: json.dumps(x).encode())
    file.write_bytes(data.draw(st.one_of(as_json, as_json, damaged(sound))))
    with refused_or_right(str(file)):
        index = load_index(copy_dir, "hostile")
        for activity in index.activities:
            assert is_name(index.classes[activity.label]) and is_name(activity.id)
            assert min(activity.views.values()) > 0


@cases(100)
@given(st.data())
def test_a_record_is_what_the_index_says_or_named(
    data_dir: Path, copy_dir: Path, data: Any
) -> None:
    index = load_index(data_dir, "hostile")
    (shard,) = index.folder.glob("*.array_record-*")
    (copy_dir / "hostile" / "2.0.0" / "index.json").write_bytes(
        (index.folder / "index.json").read_bytes()
    )
    file = copy_dir / "hostile" / "2.0.0" / shard.name
    file.write_bytes(data.draw(damaged(shard.read_bytes())))
    with refused_or_right(str(copy_dir), *(activity.id for activity in index.activities)):
        records = RecordSource(load_index(copy_dir, "hostile"))
        for activity in index.activities:
            for view, length in activity.views.items():
                frames = records.frames(activity.position, view, np.arange(length))
                assert set(frames) == set(range(length))


@cases(100)
@given(st.data())
def test_bytes_are_a_record_or_refused(data_dir: Path, data: Any) -> None:
    source = RecordSource(load_index(data_dir, "hostile"))
    serialized = source._records[1]
    try:
        record = parse_record(data.draw(damaged(serialized)))
    except Exception as error:  # `RecordSource` says which record it was
        assert type(error).__name__ in ("ValueError", "DecodeError", "UnicodeDecodeError")
    else:
        assert isinstance(record.id, str)


# Checkpoints


class Line(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.slope = nnx.Param(jax.random.normal(rngs.params(), (40, 70)))


@pytest.fixture(scope="module")
def state() -> Any:
    learner = Learner(Line, lambda model, *_: (model.slope[...].sum(), {}))
    return create_state(learner, lambda _: optax.adam(0.1), 0, make_mesh(1), averaged=True)[1]


@pytest.fixture(scope="module")
def workdir(state: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of steps 1 and 2."""
    folder = tmp_path_factory.mktemp("run")
    with Checkpoints(folder) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, state, mannequin())
    return folder


@cases(60)
@given(st.data())
def test_a_damaged_checkpoint_is_named_with_those_before_it(
    workdir: Path, state: Any, tmp_path_factory: pytest.TempPathFactory, data: Any
) -> None:
    folder = tmp_path_factory.mktemp("damaged") / "run"
    shutil.copytree(workdir, folder)
    newest = folder / "checkpoints" / "2"
    # Where the arrays are is named at random: sorted by size, to do the same at every run.
    paths = sorted(newest.rglob("*"), key=lambda path: (len(path.parts), path.stat().st_size))
    path = data.draw(st.sampled_from(paths))
    numbers = path.is_file() and path.stat().st_size > 5000
    how = data.draw(st.sampled_from(["remove", "garbage", "damage"]))
    if path.is_dir():
        shutil.rmtree(path)
    elif how == "remove":
        path.unlink()
    else:
        content = path.read_bytes()
        path.write_bytes(data.draw(damaged(content) if how == "damage" else st.binary()))
    with (
        refused_or_right(f"{newest} is damaged", "of another model"),
        Checkpoints(folder) as checkpoints,
    ):
        if checkpoints.latest_step == 2:  # else the whole folder is gone
            same = jax.tree.map(np.array_equal, checkpoints.restore(state), state)
            assert numbers or all(jax.tree.leaves(same))  # nothing checks the numbers themselves
    with refused_or_right(f"{newest} is damaged"):
        parameters, config = load_parameters(folder)
        assert parameters["slope"].shape == (40, 70) and config.task in ("pretrain", "finetune")
    shutil.rmtree(folder)


@cases(30)
@given(st.data())
def test_a_work_directory_is_claimed_or_its_file_named(
    tmp_path_factory: pytest.TempPathFactory, data: Any
) -> None:
    folder = tmp_path_factory.mktemp("claimed")
    config = mannequin()
    sound = json.loads(config.to_json())
    as_json = st.just(sound).flatmap(changed).map(lambda x: json.dumps(x).encode())
    content = data.draw(st.one_of(as_json, damaged(json.dumps(sound).encode())))
    (folder / "config.json").write_bytes(content)
    with refused_or_right(str(folder)), opened(folder, config):
        assert json.loads((folder / "config.json").read_text()) == sound


# Files of weights


@pytest.fixture(scope="module")
def exported() -> bytes:
    """An export, as safetensors, of an encoder that has no values."""
    config = mannequin()
    model = jax.eval_shape(lambda: split(build.pretraining_model(config, nnx.Rngs(0)))[1])
    zeros = {name: np.zeros(x.shape, np.float32) for name, x in model.items()}
    tensors = to_tensors(zeros, "videomae", tuple(config.model.patch_size))
    whole = {name: np.ascontiguousarray(x) for name, x in tensors.items()}
    return save(whole, {"mv2mae": Origin(config, ()).to_json()})


@cases(150)
@given(st.data())
def test_a_file_of_weights_is_read_or_named(exported: bytes, tmp_path_factory, data: Any) -> None:
    length = struct.unpack("<Q", exported[:8])[0]
    header, values = json.loads(exported[8 : 8 + length]), exported[8 + length :]
    origin = json.loads(header["__metadata__"]["mv2mae"])
    what = data.draw(st.sampled_from(["bytes", "header", "origin"]))
    if what == "bytes":
        content = data.draw(damaged(exported))
    else:
        if what == "header":
            header = data.draw(changed(header))
        else:
            header["__metadata__"]["mv2mae"] = json.dumps(data.draw(changed(origin)))
        text = json.dumps(header).encode()
        content = struct.pack("<Q", len(text)) + text + values
    file = tmp_path_factory.getbasetemp() / "weights.safetensors"
    file.write_bytes(content)
    with refused_or_right(str(file)):
        stored = read_stored(file)
        assert all(x.dtype != np.float16 for x in stored.tensors.values())


@cases(60)
@given(st.data())
def test_a_pickle_of_pytorch_is_read_or_named(tmp_path_factory, data: Any) -> None:
    file = tmp_path_factory.getbasetemp() / "weights.pth"
    torch.save({"model": {"a": torch.ones(40), "b": torch.ones(3, 4)}, "epoch": 3}, file)
    file.write_bytes(data.draw(damaged(file.read_bytes())))
    with refused_or_right(str(file)):
        assert all(isinstance(x, np.ndarray) for x in read_stored(file).tensors.values())


@cases(4)
@given(
    options=st.just(
        {"model_type": "videomae", "num_frames": 8, "image_size": 56, "hidden_size": 128}
        | {"id2label": {"0": "a", "1": "b"}, "num_attention_heads": 4, "norm_pix_loss": True}
    ).flatmap(changed)
)
def test_a_folder_of_hugging_face_is_a_model_or_named(
    exported: bytes, tmp_path_factory, options: dict
) -> None:
    folder = tmp_path_factory.mktemp("hf")
    length = struct.unpack("<Q", exported[:8])[0]
    header = json.loads(exported[8 : 8 + length])
    del header["__metadata__"]
    text = json.dumps(header).encode()
    content = struct.pack("<Q", len(text)) + text + exported[8 + length :]
    (folder / "model.safetensors").write_bytes(content)
    (folder / "config.json").write_text(json.dumps(options))
    with refused_or_right(str(folder)):
        assert load_model(folder).parameters


# What is written


def test_pictures_take_names_as_they_are(tmp_path: Path) -> None:
    names = (MARKUP, "$\\foo$", "x" * 300, "$x^$")
    draw_confusion(np.array([0, 1, 2]), np.array([1, 1, 3]), names, tmp_path / "confusion.png")
    assert (tmp_path / "confusion.png").stat().st_size > 1000


def test_the_card_escapes_names() -> None:
    config = mannequin("finetune")
    config.finetune.init_from = "<script>"
    results = measured({"protocol": "a|b\n# c", "top1": 0.5})
    card = model_card(Origin(config, (MARKUP, "a")), "mv2mae-jax", "", 2, results)
    for markup in ("<b", "</b", "<script", "`a", "[l", "| *e"):
        assert card.count(markup) == card.count(f"\\{markup}"), markup
    assert "\\<script\\>" in card and "a\\|b \\# c" in card and "0. " in card and "é😀" in card


@pytest.mark.slow
def test_many_more_cases() -> None:
    times = os.environ | {"HOSTILE_TIMES": "10"}
    words = [sys.executable, "-m", "pytest", "-q", __file__]
    done = subprocess.run(words, env=times, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:]
