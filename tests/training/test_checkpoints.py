"""What a work directory's checkpoints keep, give back, and say when they cannot."""

import contextlib
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.base import get_config
from mv2mae_jax.errors import InputError
from mv2mae_jax.training.checkpoints import (
    Checkpoints,
    Rest,
    has_checkpoint,
    load_parameters,
)


def state_of(value: float, size: int = 70) -> dict:
    return {"parameters": {"slope": jnp.full((40, size), value)}, "step": jnp.asarray(3)}


def steps(workdir: Path) -> set[str]:
    return {path.name for path in (workdir / "checkpoints").iterdir()}


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """Checkpoints of steps 1 and 2."""
    with Checkpoints(tmp_path / "run") as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, state_of(step), get_config())
    return tmp_path / "run"


def test_everything_comes_back(tmp_path: Path):
    config = get_config()
    config.data.num_views, config.masking.ratio = 3, 0.6
    rest = Rest("of the data", ({"loss": 0.1}, {"loss": 1 / 3}))
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest_step is None
        checkpoints.save(4, state_of(0.1), config, rest)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest_step == 4
        restored = checkpoints.restore(state_of(0.0))
        assert checkpoints.restore_config().to_json() == config.to_json()
        assert Rest(*checkpoints.restore_rest()) == Rest(rest.data, list(rest.recent))
        assert checkpoints.shapes() == {"parameters": {"slope": (40, 70)}}
        only = checkpoints.restore({"parameters": state_of(0.0)["parameters"]}, partial=True)
    np.testing.assert_array_equal(restored["parameters"]["slope"], np.full((40, 70), 0.1, "f4"))
    assert restored["step"] == 3 and only.keys() == {"parameters"}


def test_the_newest_are_kept(workdir: Path):
    with Checkpoints(workdir, keep=2) as checkpoints:
        checkpoints.save(3, state_of(3), get_config())
        checkpoints.save(3, state_of(4), get_config())  # there already
    assert steps(workdir) == {"2", "3"}
    with Checkpoints(workdir, keep=2) as checkpoints:
        checkpoints.save_besides(5, state_of(5), get_config(), Rest())
        assert steps(workdir) == {"2", "3", "5"}
    assert load_parameters(workdir)[0]["slope"][0, 0] == 5
    shutil.rmtree(workdir / "checkpoints" / "5")
    assert load_parameters(workdir)[0]["slope"][0, 0] == 3


def test_only_the_run_itself_removes_what_is_incomplete(workdir: Path):
    """Begun when they are opened, it has ended when something is saved."""
    torn = workdir / "checkpoints" / "9.orbax-checkpoint-tmp"
    torn.mkdir()
    for step, keep in ((3, None), (4, 9)):
        with Checkpoints(workdir, keep=keep) as checkpoints:
            checkpoints.save(step, state_of(step), get_config())
        assert torn.exists() == (keep is None)


def test_what_was_still_being_read_says_nothing_and_all_else_does(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
):
    """By the hook for exceptions that nobody can catch, whosever it is."""
    seen: list[SimpleNamespace] = []
    monkeypatch.setattr(sys, "unraisablehook", seen.append)
    for _ in range(2):
        with Checkpoints(workdir) as checkpoints:
            checkpoints.restore_config()
    assert sys.unraisablehook.args == (seen.append,)  # once, however often

    def said(error: Exception, where: object = None) -> bool:
        told = SimpleNamespace(exc_value=error, object=where)
        sys.unraisablehook(told)
        return seen.count(told) == 1

    async def reading() -> None: ...

    with contextlib.closing(reading()) as coroutine:
        assert not said(ValueError("lost"), coroutine)
    assert not said(RuntimeError("Event loop is closed"))
    assert said(RuntimeError("lost"))
    assert said(ValueError("Event loop is closed"))


def test_a_relative_directory_is_of_this_folder(workdir: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(workdir.parent)
    assert has_checkpoint("run") and load_parameters("run")[0]["slope"][0, 0] == 2


def test_whether_there_is_one(workdir: Path, tmp_path: Path):
    assert has_checkpoint(workdir) and not has_checkpoint(tmp_path)
    with pytest.raises(InputError, match=rf"^{tmp_path} has no checkpoints"):
        load_parameters(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    assert not has_checkpoint(tmp_path)
    with pytest.raises(InputError, match="holds no complete checkpoint"):
        load_parameters(tmp_path)


def test_what_to_do_about_a_damaged_checkpoint(workdir: Path, tmp_path: Path):
    """By the real command, which says one line, and then does what the line says."""
    with Checkpoints(workdir) as checkpoints:
        for step in (3, 4):
            checkpoints.save(step, state_of(step), get_config())
    (workdir / "checkpoints/4/state/manifest.ocdbt").unlink()
    words = [sys.executable, "-m", "mv2mae_jax.convert", "export", f"--checkpoint={workdir}"]
    words += ["--format=pytorch", f"--out={tmp_path / 'out'}"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: checkpoint {workdir}/checkpoints/4 is damaged (ValueError: NOT")
    assert line.endswith("; delete this folder to go back to step 3 (there are [1, 2, 3])")
    assert not (tmp_path / "out").exists()
    shutil.rmtree(workdir / "checkpoints/4")
    assert load_parameters(workdir)[0]["slope"][0, 0] == 3
    for step in (2, 3):
        shutil.rmtree(workdir / f"checkpoints/{step}")
    shutil.rmtree(workdir / "checkpoints/1/state")
    with pytest.raises(InputError, match="no other is beside it"):
        load_parameters(workdir)


def test_a_checkpoint_that_its_run_has_deleted_is_not_called_damaged(workdir: Path):
    with Checkpoints(workdir) as checkpoints:
        shutil.rmtree(workdir / "checkpoints/2")
        with pytest.raises(InputError, match="checkpoints/2 was deleted meanwhile"):
            checkpoints.restore(state_of(0.0))


def test_a_checkpoint_of_another_model_is_refused(workdir: Path):
    other = {**state_of(0), "parameters": {"offset": jnp.zeros(3)}}
    with Checkpoints(workdir) as checkpoints:
        with pytest.raises(InputError, match=r"slope is \(40, 70\) there, \(40, 50\) here"):
            checkpoints.restore(state_of(0, size=50))
        with pytest.raises(InputError, match=r"offset is missing there, \(3,\) here"):
            checkpoints.restore(other)


def test_a_disk_without_room_is_said_before_anything_is_written(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
):
    """A state of 40 x 70 float32 and a step of 4 bytes takes 11,204."""
    usage = namedtuple("usage", "total used free")

    def free(size: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, size))

    with Checkpoints(workdir) as checkpoints:
        free(11_203)
        with pytest.raises(InputError, match=r"\(a state takes 0\.0 MB, 0\.0 are free\)") as caught:
            checkpoints.save(3, state_of(3), get_config())
        assert "complete there: 1, 2; make room" in str(caught.value)
        assert steps(workdir) == {"1", "2"}
        free(11_204)
        checkpoints.save(3, state_of(3), get_config())
    assert steps(workdir) == {"1", "2", "3"}
    with Checkpoints(workdir) as checkpoints:
        free(4_000_000)
        with pytest.raises(InputError, match=r"\(a state takes 8\.0 MB, 4\.0 are free\)"):
            checkpoints.save(4, state_of(0, size=50_000), get_config())
        free(9 * 10**11)
        huge = {"parameters": {"slope": np.broadcast_to(np.int8(0), (10**12,))}}
        with pytest.raises(InputError, match=r"takes 1000000\.0 MB, 900000\.0 are free"):
            checkpoints.save(4, huge, get_config())


def test_a_torn_checkpoint_is_as_none(tmp_path: Path):
    """A process killed while it saves leaves a temporary folder, which the next save replaces."""
    program = (
        "import sys, time, jax.numpy as jnp\n"
        "from configs.mannequin import get_config\n"
        "from mv2mae_jax.training.checkpoints import Checkpoints\n"
        "with Checkpoints(sys.argv[1]) as checkpoints:\n"
        "    for step, size in (1, 10), (2, 80_000_000):\n"
        "        checkpoints.save(step, {'parameters': {'x': jnp.ones(size)}}, get_config())\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, tmp_path])
    folder = tmp_path / "checkpoints"
    while not list(folder.glob("2.*tmp*")):
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert load_parameters(tmp_path)[0]["x"].shape == (10,)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest_step == 1
        checkpoints.save(2, {"parameters": {"x": np.ones(20)}}, get_config())
    assert steps(tmp_path) == {"1", "2"}
    assert load_parameters(tmp_path)[0]["x"].shape == (20,)


@pytest.mark.parametrize(
    "error", [MemoryError(), jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: too large")]
)
def test_what_this_machine_lacks_is_no_damage(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    def lacking(*_, **__):
        raise error

    with Checkpoints(workdir) as checkpoints:
        monkeypatch.setattr(checkpoints, "_item", lacking)
        with pytest.raises(type(error)):
            checkpoints.restore_config()
