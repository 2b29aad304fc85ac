"""launch/slurm.sh on a real Slurm: preempted, in an array, cancelled, mistaken."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from processes import environment, finish, metrics, start, until
from runs import STEPS, assert_same_run, flags
from slurm import Cluster, cluster, missing

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]
NODE = ("--ntasks-per-node=1", "--cpus-per-task=1", "--gpus-per-node=0")
OVER = ("COMPLETED", "FAILED", "CANCELLED")
Submit = Callable[..., str]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("slurm")) as started:
        yield started


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {"JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("cache"))}


@pytest.fixture(scope="module")
def undisturbed(mannequin_dir: Path, tmp_path_factory: pytest.TempPathFactory, cache: dict) -> Path:
    """The run by one process, without Slurm."""
    workdir = tmp_path_factory.mktemp("undisturbed") / "run"
    words = [sys.executable, "-m", "mv2mae_jax.main", *flags(mannequin_dir, workdir)]
    (end,) = finish([start(words, **environment(1, **cache))])
    assert end.code == 0, end.stderr
    return workdir


@pytest.fixture
def submit(slurm: Cluster, tmp_path: Path, cache: dict) -> Submit:
    """Submits the script with options of sbatch and flags; gives the number of the job."""

    def call(*options: str, run: list[str]) -> str:
        words = ("sbatch", "--parsable", f"--output={tmp_path}/%x.out", *NODE, *options)
        return slurm.run(*words, "launch/slurm.sh", *run, PYTHON=sys.executable, **cache)

    return call


def until_step(workdir: Path, step: int) -> None:
    until(lambda: len(metrics(workdir)) >= step, [])  # Slurm's processes, not ours


@pytest.mark.parametrize("partition", ["low", "sudden"])
def test_a_preempted_job_continues(
    slurm: Cluster,
    submit: Submit,
    mannequin_dir: Path,
    tmp_path: Path,
    undisturbed: Path,
    partition: str,
):
    """With time to give way the script queues it again, without Slurm itself does."""
    workdir = tmp_path / "run"
    options = (f"--partition={partition}", "--job-name=it", "--nodes=2")
    # A worker gets the SIGTERM too, as all processes of a task do.
    saving_when_stopped = ("--config.checkpoint_every=100", "--config.data.workers=1")
    job = submit(*options, run=flags(mannequin_dir, workdir, *saving_when_stopped))
    until_step(workdir, 3)
    other = ("--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=true")
    slurm.until(slurm.run("sbatch", "--parsable", *other), "COMPLETED")
    stopped_at = metrics(workdir)[-1]["step"]
    assert 3 <= stopped_at < STEPS
    done = slurm.until(job, *OVER)
    printed = (tmp_path / "it.out").read_text()
    assert (done["JobState"], done["Restarts"]) == ("COMPLETED", "1"), printed
    assert f"continuing {workdir} from step {stopped_at} of {STEPS}" in printed
    assert_same_run(workdir, undisturbed)


def test_an_array_of_runs_of_which_one_is_stopped_and_one_cancelled(
    slurm: Cluster, submit: Submit, mannequin_dir: Path, tmp_path: Path
):
    """Each has a work directory and a seed; only the stopped one is queued again."""
    run = flags(mannequin_dir, tmp_path / "seed%a", "--config.seed=%a")
    array = submit("--array=0-1", "--nodes=1", "--output=/dev/null", run=run)
    for number, signals in (("0", ["--signal=TERM"]), ("1", [])):
        until_step(tmp_path / f"seed{number}", 3)
        slurm.run("scancel", *signals, f"{array}_{number}")
    ended = [slurm.until(f"{array}_{number}", *OVER) for number in (0, 1)]
    assert [job["JobState"] for job in ended] == ["COMPLETED", "CANCELLED"]
    assert [job["Restarts"] for job in ended] == ["1", "0"]
    first, second = (metrics(tmp_path / f"seed{number}") for number in (0, 1))
    assert [x["step"] for x in first] == list(range(1, STEPS + 1))
    assert 3 <= len(second) < STEPS and first[0]["loss"] != second[0]["loss"]
    time.sleep(1)  # for the cancelled one to write what it has
    assert (tmp_path / f"seed1/checkpoints/{second[-1]['step']}").is_dir()


@pytest.mark.parametrize(("wrong", "code"), [("--config.data.data_dir=nowhere", 1), ("--x", 2)])
def test_a_mistaken_job_is_not_queued_again(
    slurm: Cluster, submit: Submit, mannequin_dir: Path, tmp_path: Path, wrong: str, code: int
):
    job = submit("--job-name=it", "--nodes=2", run=flags(mannequin_dir, tmp_path / "run", wrong))
    ended = slurm.until(job, *OVER)
    assert (ended["JobState"], ended["ExitCode"], ended["Restarts"]) == ("FAILED", f"{code}:0", "0")
    assert "error: " in (tmp_path / "it.out").read_text()
