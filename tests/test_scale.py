"""One run by several processes, as a user starts it: the same numbers, and nothing lost."""

import json
import shutil
import signal
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orbax.checkpoint as ocp
import pytest
from hosts import two_hosts
from processes import (
    Ended,
    environment,
    finish,
    free_port,
    joined,
    metrics,
    start,
    start_together,
    until,
)
from runs import STEPS, assert_same_run, flags

from mv2mae_jax.errors import LOST

COMMAND = (sys.executable, "-m", "mv2mae_jax.main")
END = 30  # seconds in which all end when one is killed; 6 on a machine that does nothing else
# Inside a shell of `salloc`: the allocation has four tasks, the step of the shell has one.
SALLOC = {
    "SLURM_JOB_ID": "7",
    "SLURM_NTASKS": "4",
    "SLURM_STEP_NUM_TASKS": "1",
    "SLURM_STEP_NODELIST": "nowhere",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What was compiled for as many processes and devices is not compiled again."""
    return {"JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("cache"))}


def run(words: list[str], devices: int = 1, **more: str) -> Ended:
    """One process, to its end."""
    (end,) = finish([start([*COMMAND, *words], **environment(devices, **more))])
    assert end.code == 0, end.stderr
    return end


@pytest.fixture(scope="module")
def alone(mannequin_dir: Path, tmp_path_factory: pytest.TempPathFactory, cache: dict) -> Path:
    """Trained by one process with one device."""
    workdir = tmp_path_factory.mktemp("scale") / "alone"
    run(flags(mannequin_dir, workdir), **cache, **SALLOC)
    return workdir


class Disturbed(NamedTuple):
    """A run of two processes with two devices each: killed, continued, and stopped.

    Large parameters are split over all four devices.
    """

    workdir: Path
    killed: list[Ended]
    stopped: list[Ended]


@pytest.fixture(scope="module")
def disturbed(
    mannequin_dir: Path, tmp_path_factory: pytest.TempPathFactory, cache: dict
) -> Disturbed:
    workdir = tmp_path_factory.mktemp("scale") / "disturbed"

    def to_second(number: signal.Signals, step: int) -> list[Ended]:
        words = flags(mannequin_dir, workdir, "--config.mesh.fsdp=4")
        processes = start_together(2, 2, words, **cache)

        def saved() -> bool:  # written beside the steps, so perhaps after them
            return any(path.name.isdigit() for path in workdir.glob("checkpoints/*"))

        until(lambda: len(metrics(workdir)) >= step and saved(), processes)
        processes[1].send_signal(number)
        return finish(processes)

    return Disturbed(workdir, to_second(signal.SIGKILL, 4), to_second(signal.SIGTERM, 7))


@pytest.fixture
def stopped_run(disturbed: Disturbed, tmp_path: Path) -> Path:
    """A copy of its work directory, to continue."""
    return shutil.copytree(disturbed.workdir, tmp_path / "run")


def written_as(workdir: Path, step: int, parameter: str) -> tuple[str | None, ...]:
    """The axes of the mesh over which a checkpoint's parameter was split."""
    state = ocp.PyTreeCheckpointer().metadata(workdir / "checkpoints" / str(step) / "state")
    return state.item_metadata.tree["parameters"][parameter].sharding.partition_spec


def test_when_one_is_killed_all_end_and_say_why(disturbed: Disturbed):
    first, second = disturbed.killed
    assert second.code == -signal.SIGKILL
    assert first.code == LOST and first.seconds < END
    assert first.stderr.splitlines()[-1].startswith("error: process 1 of 2: was killed")
    assert "continuing" in disturbed.stopped[0].stdout


def test_sigterm_to_one_stops_all_after_the_same_step(disturbed: Disturbed):
    first, second = disturbed.stopped
    assert (first.code, second.code) == (143, 143), (first.stderr, second.stderr)
    last = metrics(disturbed.workdir)[-1]["step"]
    assert 7 <= last < STEPS
    assert f"saved at step {last} of {STEPS}\nstopped, and saved; the same command" in first.stdout


def test_only_the_first_process_speaks_and_writes(disturbed: Disturbed):
    first, second = disturbed.stopped
    assert f"pretrain 7/{STEPS}" in first.stdout and "probe of 12 videos" in first.stdout
    assert (second.stdout, second.stderr) == ("", "")
    assert len(list(disturbed.workdir.glob("events.out.tfevents.*"))) == 2  # one a start
    assert "encoder.blocks.0" in (disturbed.workdir / "parameters.txt").read_text()
    assert json.loads((disturbed.workdir / "config.json").read_text())["batch_size"] == 8


def test_four_devices_and_one_make_the_run_of_one(
    stopped_run: Path, alone: Path, mannequin_dir: Path, cache: dict
):
    """Though one was killed after four steps and one got a SIGTERM after seven.

    The four have parts of the large parameters, the one has them whole.
    """
    last = metrics(stopped_run)[-1]["step"]
    assert "fsdp" in written_as(stopped_run, last, "encoder.blocks.0.mlp.up.kernel")
    end = run(flags(mannequin_dir, stopped_run), **cache)
    assert f"from step {last} of {STEPS}" in end.stdout
    assert_same_run(stopped_run, alone)


@pytest.mark.parametrize("mistaken", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_mistake_in_one_process_ends_all(mannequin_dir: Path, tmp_path: Path, mistaken: int):
    """Two tasks of Slurm, which jax finds in the environment; one lacks the data."""
    job = free_port(61440) - 61440  # jax makes the port from the number of the job
    slurm = {"SLURM_JOB_ID": str(job), "SLURM_STEP_NODELIST": "localhost"}
    slurm |= {"SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2"}
    folders = [tmp_path / "nothing" if task == mistaken else mannequin_dir for task in (0, 1)]
    processes = [
        start(
            [*COMMAND, *flags(data_dir, tmp_path / "run")],
            **environment(1, SLURM_PROCID=str(task), SLURM_LOCALID=str(task), **slurm),
        )
        for task, data_dir in enumerate(folders)
    ]
    ended = finish(processes, timeout=120)
    assert [end.code for end in ended] == [1, 1]
    reason = f"no data set in {tmp_path / 'nothing' / 'mannequin'}"
    for task, end in enumerate(ended):
        who = "" if task == mistaken else f"process {mistaken} of 2: "
        assert end.stderr.splitlines()[-1].startswith(f"error: {who}{reason}")
        assert "Traceback" not in end.stderr


def test_waiting_in_vain_is_said():
    """By a first process that waits for others, and by another that waits for the first."""
    places = [(free_port(), 0), (free_port(), 1)]
    program = (
        "from mv2mae_jax.training import distributed\n"
        "distributed.SAID_AFTER, distributed.GIVEN_UP_AFTER = 1, 2\n"
        "with distributed.joined(distributed.Place('localhost:{}', 3, {})): pass"
    )
    words = [[sys.executable, "-c", program.format(*place)] for place in places]
    ended = finish([start(word, **environment(1)) for word in words], timeout=60)
    for (port, process), end in zip(places, ended, strict=True):
        said, given_up = end.stderr.splitlines()[-2:]
        whom = (
            f"waits at localhost:{port} for the other 2",
            f"waits for the first one, which does not answer at localhost:{port}",
        )[process]
        assert said.startswith(f"process {process} of 3 {whom}")
        assert given_up.startswith(f"error: process {process} of 3 {whom}")
        assert said.endswith("since 1 seconds") and given_up.endswith("after 2 seconds")
        assert end.code == LOST


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "devices"), [(2, 2), (4, 1)])
def test_training_and_testing_divided(
    alone: Path, mannequin_dir: Path, tmp_path: Path, cache: dict, processes: int, devices: int
):
    def together(words: list[str]) -> None:
        first, *others = finish(start_together(processes, devices, words, **cache), timeout=600)
        assert first.code == 0, first.stderr
        assert [end[:3] for end in others] == [(0, "", "")] * (processes - 1)

    together(flags(mannequin_dir, tmp_path / "pretrain"))
    assert_same_run(tmp_path / "pretrain", alone)

    tuning = f"--config.finetune.init_from={alone}", "--config.epochs=1", "--config.data.repeats=2"
    testing = "--config.evaluation.clips=2", "--config.evaluation.crops=5"
    tuned, expected = tmp_path / "tuned", tmp_path / "expected"
    options = {"variant": "finetune,protocol=xsub"}
    run(flags(mannequin_dir, expected, *tuning, *testing, **options), **cache)
    together(flags(mannequin_dir, tuned, *tuning, *testing, **options))
    losses = [[line["loss"] for line in metrics(workdir)] for workdir in (tuned, expected)]
    assert len(losses[0]) == 4  # 36 videos in batches of 8
    np.testing.assert_allclose(*losses, rtol=2e-5)
    found = [json.loads((x / "results.json").read_text()) for x in (tuned, expected)]
    assert found[0] == found[1] and found[0]["num_videos"] == 36
    for name in ("results.json", "predictions.csv", "confusion.png"):
        (tuned / name).unlink()
    together(flags(mannequin_dir, tuned, *testing, variant="evaluate,protocol=xsub"))
    assert json.loads((tuned / "results.json").read_text()) == found[0]
    assert (tuned / "confusion.png").exists() and (tuned / "predictions.csv").exists()
    validated = tmp_path / "validated"
    other = "--config.data.validation_subjects=('2',)", "--config.data.evaluate_on=validation"
    together(flags(mannequin_dir, validated, *tuning, *other, variant="finetune,protocol=xview"))
    tested = json.loads((validated / "results.json").read_text())
    assert metrics(validated)[-1]["validation_accuracy"] == tested["top1_single_clip"]
    together(flags(mannequin_dir, tmp_path / "pretrain", variant="probe"))
    assert (tmp_path / "pretrain" / "probe.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "devices", "fsdp"), [(1, 8, 1), (2, 4, 2), (1, 2, 1)])
def test_a_checkpoint_of_four_devices_continues_on_others(
    stopped_run: Path, alone: Path, mannequin_dir: Path, processes: int, devices: int, fsdp: int
):
    last = metrics(stopped_run)[-1]["step"]
    words = flags(mannequin_dir, stopped_run, f"--config.mesh.fsdp={fsdp}")
    first, *others = finish(start_together(processes, devices, words), timeout=600)
    assert [first.code, *(end.code for end in others)] == [0] * processes, first.stderr
    assert f"from step {last} of {STEPS}" in first.stdout
    assert_same_run(stopped_run, alone)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 2])
def test_whichever_is_killed_all_others_end(mannequin_dir: Path, tmp_path: Path, killed: int):
    words = flags(mannequin_dir, tmp_path / "run")
    processes = start_together(4, 1, words)
    until(lambda: len(metrics(tmp_path / "run")) >= 3, processes, timeout=600)
    processes[killed].kill()
    for number, end in enumerate(finish(processes)):
        if number == killed:
            assert end.code == -signal.SIGKILL
            continue
        assert end.code == LOST and end.seconds < END
        assert end.stderr.splitlines()[-1].startswith(f"error: process {killed} of 4: was killed")


@pytest.mark.slow
def test_two_hosts_and_a_broken_network(
    alone: Path, mannequin_dir: Path, tmp_path: Path, cache: dict
):
    """Only jax's heartbeats notice that nothing comes through any more."""
    with two_hosts(tmp_path) as hosts:
        if hosts is None:
            pytest.skip("network, mount and host name spaces need root and iproute2")

        def start_on_both(*overrides: str) -> list:
            words = joined(flags(mannequin_dir, tmp_path / "run", *overrides), 2, host="here")
            commands = [hosts.on(number, command) for number, command in enumerate(words)]
            return [start(command, **environment(2, **cache)) for command in commands]

        for end in finish(start_on_both("--config.mesh.fsdp=4")):
            assert end.code == 1
            assert "mesh.fsdp=4 does not divide the 2 devices of a host" in end.stderr

        processes = start_on_both()
        until(lambda: len(metrics(tmp_path / "run")) >= 3, processes)
        hosts.connect(False)
        ended = finish(processes, timeout=200)
        assert all(end.code not in (0, -signal.SIGKILL) for end in ended)
        assert "stopped sending heartbeats" in ended[0].stderr
        hosts.connect()
        ended = finish(start_on_both())
        assert [end.code for end in ended] == [0, 0], ended[0].stderr
    assert_same_run(tmp_path / "run", alone)
