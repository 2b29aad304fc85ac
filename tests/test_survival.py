"""What a run comes to that is stopped, killed or short of room: the real command, real kills."""

import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp
import pytest
from processes import metrics, until
from runs import save_run

from benchmarks.survival import DURING, differences
from configs.base import get_config

SMALL = (
    "--config.data.image_size=28",
    "--config.data.num_frames=4",
    "--config.batch_size=8",
    "--config.epochs=4",
    "--config.log_every=1",
    "--config.checkpoint_every=3",
    "--config.probe.every_epochs=0.0",
    "--config.pictures_every_epochs=0.0",
)


def command(data_dir: Path, workdir: Path, *overrides: str) -> list[str]:
    where = (f"--config.data.data_dir={data_dir}", f"--workdir={workdir}")
    words = [sys.executable, "-m", "mv2mae_jax.main", "--config=configs/mannequin.py", *where]
    return [*words, *SMALL, *overrides]


def start(
    data_dir: Path, workdir: Path, *overrides: str, file_size: int = resource.RLIM_INFINITY
) -> subprocess.Popen:
    """A run; its files have at most so many bytes."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    run = subprocess.Popen(command(data_dir, workdir, *overrides), **pipes)
    limits = (file_size, resource.RLIM_INFINITY)
    resource.prlimit(run.pid, resource.RLIMIT_FSIZE, limits)  # long before it writes
    return run


@pytest.mark.slow
def test_killed_at_random_moments_it_comes_to_the_same(mannequin_dir: Path, tmp_path: Path):
    """At more moments than the kills that test_scale.py and test_object_storage.py aim at."""
    words = [sys.executable, "-m", "benchmarks.survival", f"--json={tmp_path / 'kills.json'}"]
    done = subprocess.run([*words, f"--data-dir={mannequin_dir}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "kills.json").read_text())
    assert len(report["kills"]) == 25
    assert {kill["during"] for kill in report["kills"]} == {*DURING}
    assert report["different"] == [] and not any(kill["left"] for kill in report["kills"])


def test_what_differs_is_seen(tmp_path: Path):
    """By the comparison that the tests above rely on."""

    def finished(name: str, value: float, loss: float) -> Path:
        save_run(tmp_path / name, get_config(), {"a": jnp.full(3, value)})
        for file in ("config.json", "classes.json", "results.json", "predictions.csv"):
            (tmp_path / name / file).write_text("")
        line = {"step": 1, "loss": loss, "waiting_for_data": id(name)}
        (tmp_path / name / "metrics.jsonl").write_text(json.dumps(line) + "\n")
        return tmp_path / name

    one, other = finished("one", 1.0, 0.5), finished("other", 1.0 + 1e-7, 0.5)
    assert differences(one, finished("same", 1.0, 0.5)) == []
    assert differences(one, other) == ["state: parameters/a"]
    assert differences(one, finished("worse", 1.0, 0.6)) == ["metrics.jsonl"]
    (other / "predictions.csv").write_text("x")
    (other / "checkpoints" / "2.orbax-checkpoint-tmp").mkdir()
    assert differences(one, other)[1:] == [
        "predictions.csv",
        "incomplete checkpoint: 2.orbax-checkpoint-tmp",
    ]


def test_a_second_signal_ends_it_at_once(
    mannequin_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Though it compiles, in which Python sees no signal."""
    monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "false")
    monkeypatch.delenv("XLA_FLAGS")  # with which the tests compile fast
    process = start(mannequin_dir, tmp_path / "run", "--config.model.variant=small")
    assert process.stdout is not None
    until(lambda: (tmp_path / "run" / "metrics.jsonl").exists(), [process])
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    while "SIGINT: saving after this step" not in (line := process.stdout.readline()):
        assert line
    time.sleep(1.5)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 143
    assert time.monotonic() - began < 5
    assert stderr.splitlines()[-1] == "error: ended at once by a second SIGINT"
    assert not (tmp_path / "run" / "metrics.jsonl").read_text()


@pytest.fixture
def waiting(mannequin_dir: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A command that waits for a training, as `make demo` does; the training takes steps."""
    waits = (
        "import sys; from mv2mae_jax.command_line import run; run('train', 'main', *sys.argv[1:])"
    )
    longer = "--config.epochs=1000"  # than it takes to signal to it
    words = [sys.executable, "-c", waits, *command(mannequin_dir, tmp_path / "run", longer)[3:]]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, start_new_session=True, **pipes) as process:
        until(lambda: len(metrics(tmp_path / "run")) >= 1, [process])
        yield process


def test_ctrl_c_is_for_the_run_that_a_command_waits_for(waiting: subprocess.Popen[str]):
    """The terminal sends it to both, and the run has the time to save."""
    os.killpg(waiting.pid, signal.SIGINT)
    stdout, stderr = waiting.communicate(timeout=60)
    assert "stopped, and saved; the same command continues" in stdout
    assert stderr.splitlines()[-1].endswith("returned non-zero exit status 143.")


def test_a_run_that_is_killed_is_named_by_the_command_that_waits_for_it(
    waiting: subprocess.Popen[str],
):
    """As by the system where memory runs out: it cannot say so itself."""
    (child,) = Path(f"/proc/{waiting.pid}/task/{waiting.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGKILL)
    _, stderr = waiting.communicate(timeout=60)
    assert "error: it was killed (SIGKILL); started again, this continues\n" in stderr
    assert stderr.splitlines()[-1].endswith("returned non-zero exit status 137.")


def test_before_training_ctrl_c_needs_no_traceback(mannequin_dir: Path, tmp_path: Path):
    process = start(mannequin_dir, tmp_path / "run")
    until(lambda: (tmp_path / "run" / "run.lock").exists(), [process])
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT and "Traceback" not in stderr


def test_without_room_for_a_checkpoint_it_says_so_and_goes_on_later(
    mannequin_dir: Path, tmp_path: Path
):
    """Metrics can be written and the state cannot; the writers of the other arrays are silent."""
    process = start(mannequin_dir, tmp_path / "run", file_size=10**6)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 1
    last = stderr.splitlines()[-1]
    assert last.startswith(f"error: {tmp_path / 'run' / 'checkpoints'} cannot be written (")
    assert "complete there: none; make room" in last and "Traceback" not in stderr
    process = start(mannequin_dir, tmp_path / "run")
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    assert [line["step"] for line in metrics(tmp_path / "run")] == list(range(1, 13))
    assert sorted(x.name for x in (tmp_path / "run" / "checkpoints").iterdir()) == ["12", "9"]


def test_without_room_for_metrics_it_says_so(mannequin_dir: Path, tmp_path: Path):
    process = start(mannequin_dir, tmp_path / "run", file_size=2800)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 1
    file = tmp_path / "run" / "parameters.txt"  # the first that does not fit
    assert stderr.splitlines()[-1].startswith(f"error: {file} cannot be written (File too large)")


def test_a_full_disk_is_seen_before_a_checkpoint_is_begun(mannequin_dir: Path, tmp_path: Path):
    """One of 20 MB, in which there is room for one state of 14 MB."""
    alone = ["unshare", "--mount", "--map-root-user"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"]).returncode:
        pytest.skip("mount name spaces are not allowed here")
    disk = tmp_path / "disk"
    disk.mkdir()
    words = command(mannequin_dir, disk / "run")
    mounted = f"mount -t tmpfs -o size=20M none {disk} && {shlex.join(words)}; ls {disk}/run/check*"
    done = subprocess.run([*alone, "sh", "-c", mounted], capture_output=True, text=True)
    last = done.stderr.splitlines()[-1]
    assert re.search(r"\(a state takes 14\.\d MB, [1-9]\.\d are free\); complete there: 3;", last)
    assert done.stdout.splitlines()[-1] == "3" and "Traceback" not in done.stderr
