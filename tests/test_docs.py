"""The documents keep their word: what they name exists, and configs in their commands build."""

import ast
import importlib
import re
import runpy
import subprocess
import sys
from functools import reduce
from pathlib import Path

import pytest

from configs.base import get_config
from mv2mae_jax.check import check
from mv2mae_jax.training.workdir import FREE_FIELDS
from tfds_builders.manifest_data.layout import read_csv

PAPER = Path("docs/paper.md").read_text()
TERMS = sorted(set(re.findall(r"`([^`\n]+)`", PAPER)))
FIELDS = [term for term in TERMS if term.startswith("config.")]
CONFIGS = sorted(set(re.findall(r"--config=(configs/[^`\s]+)", PAPER)))
PLACES = [term for term in TERMS if re.match(r"[\w/]+\.py\b", term)]
CHANGES = re.findall(
    r"^\| (?!change|---)(.+?) \| (.+) \| (.+) \| (.+) \| (.+) \|$",
    Path("docs/architecture.md").read_text().partition("## Where a change goes")[2],
    re.MULTILINE,
)
ENTRY_POINTS = ("convert", "demo", "main", "prepare")
ITEMS = [f"Table {n}" for n in (*range(1, 12), 17, 18)] + [f"Figure {n}" for n in range(2, 7)]


def test_the_tables_are_found():
    assert min(len(FIELDS), len(CONFIGS), len(PLACES)) >= 15
    assert len(CHANGES) == 11


@pytest.mark.parametrize("place", PLACES)
def test_a_place_exists(place: str):
    file, _, name = place.partition(": ")
    inside = Path("mv2mae_jax", file)
    path = inside if inside.is_file() else Path(file)
    assert path.is_file()
    if name:
        module = importlib.import_module(".".join(path.with_suffix("").parts))
        reduce(getattr, name.split("."), module)


@pytest.mark.parametrize("row", CHANGES, ids=[change for change, *_ in CHANGES])
def test_a_change_has_a_place_a_field_and_a_test(row: tuple[str, ...]):
    _, place, also, field, test = row
    for term in re.findall(r"`([^`]+)`", place + also):
        if term.endswith("/"):
            assert Path(term).is_dir()
        else:
            test_a_place_exists(term)
    for name in re.findall(r"`(config\.[^`]+)`", field):
        test_a_field_exists(name)
    tests = re.findall(r"`([^`]+)`", test)
    assert tests and all(Path(name).is_file() for name in tests)


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_exists(field: str):
    reduce(lambda config, name: config[name], field.split(".")[1:], get_config())


@pytest.mark.parametrize("config", CONFIGS)
def test_a_config_builds(config: str):
    path, _, variant = config.partition(":")
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    check(module.get_config(variant) if variant else module.get_config())


@pytest.mark.parametrize("item", ITEMS)
def test_every_table_and_figure_has_a_command(item: str):
    [row] = re.findall(rf"^\| {item} \|.*$", PAPER, re.MULTILINE)
    assert "--config=configs/" in row or "python -m" in row


def test_tests_that_are_named_are_found():
    """By the command `pytest`, which does not begin with the folder it is called in."""
    documents = [Path("CONTRIBUTING.md"), *Path("docs").glob("*.md")]
    commands = re.findall(r"`[^`\n]*\bpytest ([^`]+)`", "".join(d.read_text() for d in documents))
    named = {word for words in commands for word in words.split() if word.startswith("tests/")}
    assert len(named) >= 6
    pytest_command = Path(sys.executable).with_name("pytest")
    collect = ["--collect-only", "-q", "-m", "slow or not slow"]
    found = subprocess.run([pytest_command, *collect, *named], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout
    assert all(name in found.stdout for name in named)


def test_every_config_of_the_paper_is_a_command_of_the_paper():
    named = {config.partition(":")[0] for config in CONFIGS}
    ours = {str(p) for p in Path("configs").rglob("*.py") if "\nPaper: " in p.read_text()}
    assert ours == named


def test_the_fields_that_may_change_are_listed():
    text = Path("docs/reliability.md").read_text()
    (listed,) = re.findall(r"## What may change\n(.*?)\n## ", text, re.DOTALL)
    assert tuple(re.findall(r"`([\w.]+)`", listed)) == FREE_FIELDS


MANIFEST, CONFIG = re.findall(
    r"```python\n(.*?)```", Path("docs/getting-started.md").read_text(), re.DOTALL
)


def imported(file: Path) -> set[str]:
    """Modules, with their packages, that a file imports from the repository."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name.removeprefix("mv2mae_jax.") for name in found}


def test_a_folder_knows_only_those_before_it():
    table = Path("docs/architecture.md").read_text().partition("| `launch/`")[0]
    rows = [
        re.findall(r"`([\w./]+)`", row.split("|")[1]) for row in re.findall(r"(?m)^\|.*", table)
    ]
    folders = [name for row in rows for name in row]
    modules = [name.removesuffix("/").removesuffix(".py") for name in folders]
    shared = {file.stem for file in Path("mv2mae_jax").glob("[!_]*.py")} - set(ENTRY_POINTS)
    assert {"data", "tasks", *shared} <= set(modules)
    for number, name in enumerate(folders):
        place = next(path for path in (Path(name), Path("mv2mae_jax", name)) if path.exists())
        below = {*modules[number + 1 :], *ENTRY_POINTS}
        for file in [place] if place.is_file() else place.rglob("*.py"):
            wrong = {x for x in imported(file) if x.partition(".")[0] in below}
            assert not wrong, f"{file} imports {wrong}"


def test_the_manifest_of_getting_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    videos = tmp_path / "raw/kitchen"
    videos.mkdir(parents=True)
    for name in ("p01_bow_left", "p01_bow_right", "p02_wave_left"):
        (videos / f"{name}.mp4").touch()
    (tmp_path / "make_manifest.py").write_text(MANIFEST)
    monkeypatch.chdir(tmp_path)
    runpy.run_path("make_manifest.py")
    rows = read_csv(videos / "kitchen.csv", videos).rows
    assert [(row.activity, row.view, row.label, row.subject) for row in rows] == [
        ("p01_bow", "left", "bow", "p01"),
        ("p01_bow", "right", "bow", "p01"),
        ("p02_wave", "left", "wave", "p02"),
    ]


@pytest.mark.parametrize("task", ["pretrain", "finetune", "evaluate", "plan"])
def test_the_config_of_getting_started(task: str, tmp_path: Path):
    (tmp_path / "kitchen.py").write_text(CONFIG)
    config = runpy.run_path(str(tmp_path / "kitchen.py"))["get_config"](task)
    check(config)
    assert config.task == task and config.data.dataset == "kitchen"
