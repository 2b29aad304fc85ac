"""Who may enter a work directory, and with which config."""

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs.base import get_config
from mv2mae_jax.errors import InputError
from mv2mae_jax.run_files import read_classes
from mv2mae_jax.training.health import failure
from mv2mae_jax.training.workdir import opened, write_classes, write_parameter_overview


def enter(workdir: Path, config: ConfigDict) -> None:
    with opened(workdir, config):
        pass


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Of a run that has come to a checkpoint."""
    enter(tmp_path, get_config())
    (tmp_path / "checkpoints" / "4").mkdir(parents=True)
    return tmp_path


def test_after_a_step_that_is_not_finite_the_cure_may_be_set_and_nothing_else(saved: Path):
    config = get_config()
    config.optimizer.base_learning_rate = 1e-4
    with pytest.raises(
        InputError, match=r"optimizer\.base_learning_rate: 0\.001 there, 0\.0001 now"
    ):
        enter(saved, config)
    failure(saved, 5, None, ["a"], {"loss": np.float32("nan")})
    enter(saved, config)
    written = json.loads((saved / "config.json").read_text())
    assert written["optimizer"]["base_learning_rate"] == 1e-4
    config.model.dtype = "float32"
    enter(saved, config)
    config.masking.ratio = 0.6
    with pytest.raises(InputError, match=r"masking\.ratio: 0\.7 there, 0\.6 now"):
        enter(saved, config)


def test_a_directory_is_made_and_says_who_was_in_it_last(tmp_path: Path):
    workdir = tmp_path / "runs" / "first"
    for _ in range(2):
        enter(workdir, get_config())
        host = socket.gethostname()
        assert (workdir / "run.lock").read_text() == f"process {os.getpid()} on {host}\n"


def test_where_it_runs_may_change(saved: Path):
    config = get_config()
    config.data.data_dir, config.data.workers, config.log_every = "elsewhere", 7, 3
    enter(saved, config)
    assert json.loads((saved / "config.json").read_text())["data"]["workers"] == 7


def test_a_run_continues_with_fields_that_are_newer_than_it(saved: Path):
    file = saved / "config.json"
    written = json.loads(file.read_text())
    del written["finetune"]["random_erasing"]
    file.write_text(json.dumps(written))
    enter(saved, get_config())
    file.write_text(json.dumps(written))
    config = get_config()
    config.finetune.random_erasing = 0.25
    with pytest.raises(InputError, match=r"finetune\.random_erasing: 0\.0 there, 0\.25 now"):
        enter(saved, config)


@pytest.mark.parametrize("mixed", ["mixup", "cutmix"])
def test_parts_of_a_batch_may_change_unless_clips_are_mixed_within_them(saved: Path, mixed: str):
    config = get_config()
    config.accumulation = 2
    enter(saved, config)
    config.finetune[mixed] = 0.8
    (saved / "config.json").unlink()
    enter(saved, config)
    config.accumulation = 4
    with pytest.raises(InputError, match=r"\(accumulation: 2 there, 4 now\)"):
        enter(saved, config)


def test_a_run_that_has_saved_nothing_may_be_started_with_another_config(tmp_path: Path):
    config = get_config()
    enter(tmp_path, config)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "4.orbax-checkpoint-tmp").mkdir()  # of a run that was killed
    config.batch_size = 8
    enter(tmp_path, config)
    assert json.loads((tmp_path / "config.json").read_text())["batch_size"] == 8


def test_a_second_run_says_that_there_is_a_first(tmp_path: Path):
    program = (
        "import sys, time; from configs.base import get_config; "
        "from mv2mae_jax.training.workdir import opened\n"
        "with opened(sys.argv[1], get_config()): print('in', flush=True); time.sleep(60)"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None and first.stdout.readline() == "in\n"
    other = get_config()
    other.seed = 1
    before = (tmp_path / "config.json").read_text()
    with pytest.raises(InputError, match=f"another run uses .*process {first.pid} on "):
        enter(tmp_path, other)
    assert (tmp_path / "config.json").read_text() == before
    first.send_signal(signal.SIGKILL)  # and its lock goes with it
    first.communicate()
    enter(tmp_path, get_config())


@pytest.mark.parametrize("damage", ["", "{", "[1, 2]"])
def test_a_damaged_config_is_named(saved: Path, damage: str):
    (saved / "config.json").write_text(damage)
    with pytest.raises(InputError, match=r"config\.json is damaged .*delete it"):
        enter(saved, get_config())
    (saved / "config.json").unlink()
    enter(saved, get_config())
    assert json.loads((saved / "config.json").read_text())["task"] == "pretrain"


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        InputError, match=r"file.*cannot be written \((Not a directory|File exists)"
    ):
        enter(tmp_path / "file", get_config())
    with pytest.raises(InputError, match="cannot be written"):
        enter(tmp_path / "file" / "below", get_config())
    with pytest.raises(InputError, match="cannot be written"):
        enter(Path("/proc/nobody"), get_config())


def test_a_file_that_cannot_be_replaced_stays_as_it_was(tmp_path: Path):
    write_classes(tmp_path, ("walk", "sit"))
    (tmp_path / "classes.json.partial").mkdir()  # in its way
    with pytest.raises(InputError, match=r"classes\.json cannot be written"):
        write_classes(tmp_path, ("run",))
    assert read_classes(tmp_path) == ("walk", "sit")


def test_imported_weights_are_no_run_to_continue(tmp_path: Path):
    (tmp_path / "import.json").write_text("{}")
    with pytest.raises(
        InputError, match=rf"imported weights; .*--config\.pretrain\.init_from={tmp_path}"
    ):
        enter(tmp_path, get_config())
    assert not (tmp_path / "config.json").exists()


def test_of_several_processes_the_first_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for process in (1, 2, 0):
        assert not any(tmp_path.iterdir())
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        write_classes(tmp_path, ("walk", "sit"))
        write_parameter_overview(tmp_path, {"head.bias": np.zeros(2, np.float32)})
    assert {x.name for x in tmp_path.iterdir()} == {"classes.json", "parameters.txt"}
    assert (tmp_path / "classes.json").read_text() == '[\n  "walk",\n  "sit"\n]\n'


def test_a_file_system_without_locks_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def refuse(*args: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    enter(tmp_path, get_config())
    assert f"{tmp_path} is not locked (No locks available)" in caplog.text
    assert (tmp_path / "config.json").exists()


@pytest.mark.parametrize(
    ("kernel", "norm", "head", "said"),  # halves are rounded to even digits: one more or less shows
    [
        (400_000, 100_000, 125_000, "0.62 M parameters (encoder 0.50, head 0.12)"),
        (400_000, 100_000, 375_000, "0.88 M parameters (encoder 0.50, head 0.38)"),
    ],
)
def test_sizes_of_modules_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kernel: int, norm: int, head: int, said: str
):
    shapes = {
        "encoder.embed.kernel": (kernel // 100, 100),
        "encoder.norm.scale": (norm,),
        "head.bias": (head,),
    }
    write_parameter_overview(tmp_path, {k: np.zeros(v, np.float32) for k, v in shapes.items()})
    file = tmp_path / "parameters.txt"
    assert capsys.readouterr().out == f"{said}; all of them in {file}\n"
    assert "encoder.embed.kernel" in file.read_text() and "Std" not in file.read_text()
