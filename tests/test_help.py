"""Every command says what it does and shows how it is called."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from mv2mae_jax.visualize.__main__ import PICTURES

FOLDERS = ("benchmarks", "examples", "mv2mae_jax", "tfds_builders")
COMMANDS = sorted(
    path
    for folder in FOLDERS
    for path in Path(folder).rglob("*.py")
    if '__name__ == "__main__"' in path.read_text()
)
BELOW = {
    "mv2mae_jax.convert": ("", "export", "import"),
    "mv2mae_jax.prepare": ("", "ntu", "rocog_v2", "mannequin", "manifest", "verify", "show"),
    "mv2mae_jax.visualize": tuple(PICTURES),
}


def called(path: Path) -> str:
    """What stands between `python` and the arguments."""
    if path.parts[0] == "examples":
        return str(path)
    return "-m " + ".".join(path.with_suffix("").parts).removesuffix(".__main__")


def test_the_commands_are_found():
    found = {called(path) for path in COMMANDS}
    assert found > {f"-m {module}" for module in (*BELOW, "mv2mae_jax.demo", "benchmarks.step")}
    assert {"-m mv2mae_jax.main", "examples/finetune_pytorch.py"} < found


@pytest.mark.parametrize("path", COMMANDS, ids=called)
def test_help_shows_an_example(path: Path, monkeypatch, capsys):
    command = called(path)
    if command == "-m mv2mae_jax.main":  # its flags can be defined once in a process
        done = subprocess.run([sys.executable, *command.split(), "--help"], capture_output=True)
        assert done.returncode == 0 and not done.stderr
        assert re.search(rf"^python {command} --config=", done.stdout.decode(), re.MULTILINE)
        assert "--workdir: directory of this run" in done.stdout.decode()
        assert str(Path.cwd()) not in done.stdout.decode()
        return
    for below in BELOW.get(command.removeprefix("-m "), [""]):
        monkeypatch.setattr(sys, "argv", [str(path), *below.split(), "--help"])
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path(str(path), run_name="__main__")
        assert not stopped.value.code
        example = rf"^ *python {re.escape(command)}\b.*{below}"
        assert re.search(example, capsys.readouterr().out, re.MULTILINE)
