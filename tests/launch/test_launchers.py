"""The files of launch/: their commands are the program's, and what can run here runs."""

import itertools
import json
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from processes import environment, finish, metrics, start, until
from runs import flags

from mv2mae_jax.errors import FAILED, LOST, WRONG_USAGE

SCRIPTS = sorted(Path("launch").glob("*.sh"))
SKY = yaml.safe_load(Path("launch/sky.yaml").read_text())
JOBSET = yaml.safe_load(Path("launch/gke.yaml").read_text())
[JOB] = [x["template"]["spec"] for x in JOBSET["spec"]["replicatedJobs"]]
POD = JOB["template"]["spec"]
STOPPED = 143
STEPS = 6  # 24 activities, 2 epochs in batches of 8
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
SHELLCHECK = shutil.which("shellcheck", path=PATH)

PARSE = """
import json, os, sys
from mv2mae_jax import main
for words in json.loads(sys.argv[1]):
    if os.fork() == 0:
        sys.argv = ["main", *words]  # where a config's overrides are looked for
        main.check(main.parse(sys.argv)[0])
        os._exit(0)
    assert os.wait()[1] == 0, words
"""


def commands_in_head(script: Path) -> list[list[str]]:
    """The flags of the program in the commands of a script's first comment."""
    lines = itertools.takewhile(lambda x: x.startswith("#"), script.read_text().splitlines())
    joined = re.sub(r" \\\n# +", " ", "\n".join(lines)).replace("%a", "1")
    commands = re.findall(r"^#     .*?(?:launch/\w+\.sh)(?: ID)? (.*)$", joined, re.MULTILINE)
    return [shlex.split(command) for command in commands]


def command_of_sky(rank: int) -> list[str]:
    """What `run` starts on a node, as its shell expands it."""
    found = {"NODE_IPS": "10.0.0.7\n10.0.0.8", "NUM_NODES": "2", "NODE_RANK": str(rank)}
    variables = SKY["envs"] | {f"SKYPILOT_{name}": value for name, value in found.items()}
    start = "exec .venv/bin/python -m mv2mae_jax.main"
    assert start in SKY["run"]
    printing = SKY["run"].replace(start, r"printf '%s\n'")
    words = ["bash", "-euc", printing]
    return subprocess.check_output(words, env=os.environ | variables, text=True).splitlines()


def test_the_program_takes_all_commands():
    commands = [x for script in SCRIPTS for x in commands_in_head(script)]
    assert len(commands) == len(SCRIPTS) + 1  # and Slurm's array
    commands += [POD["containers"][0]["args"], command_of_sky(0), command_of_sky(1)]
    words = [sys.executable, "-c", PARSE, json.dumps(commands)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_nodes_of_skypilot_find_the_first():
    for rank in (0, 1):
        place = ["--coordinator=10.0.0.7:8476", "--num_processes=2", f"--process_id={rank}"]
        assert command_of_sky(rank)[-3:] == place


@pytest.mark.skipif(SHELLCHECK is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing(tmp_path: Path):
    for name in ("setup", "run"):
        (tmp_path / f"{name}.sh").write_text(SKY[name])
    words = [str(SHELLCHECK), "--shell=bash", *SCRIPTS, *tmp_path.iterdir()]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_what_is_stopped_starts_again_and_what_failed_does_not():
    """The order of rules and which codes they name is all that JobSet and SkyPilot know of it."""
    [rule] = JOB["podFailurePolicy"]["rules"]
    codes = {"containerName": POD["containers"][0]["name"], "operator": "In"}
    codes |= {"values": [FAILED, WRONG_USAGE]}
    assert LOST not in codes["values"] and STOPPED not in codes["values"]
    assert rule == {"action": "FailJob", "onExitCodes": codes}
    policy = JOBSET["spec"]["failurePolicy"]
    assert [x["onJobFailureReasons"] for x in policy["rules"]] == [["PodFailurePolicy"]]
    assert policy["rules"][0]["action"] == "FailJobSet" and policy["maxRestarts"] > 0
    assert (JOB["backoffLimit"], POD["restartPolicy"]) == (0, "Never")
    assert SKY["resources"]["job_recovery"] == {"recover_on_exit_codes": [STOPPED]}


def test_pods_fill_the_slice():
    topology = POD["nodeSelector"]["cloud.google.com/gke-tpu-topology"]
    chips = POD["containers"][0]["resources"]["limits"]["google.com/tpu"]
    assert JOB["parallelism"] * chips == math.prod(map(int, topology.split("x")))
    assert JOB["completions"] == JOB["parallelism"] and JOB["completionMode"] == "Indexed"
    mounted = [x["name"] for x in POD["containers"][0]["volumeMounts"]]
    assert mounted == [x["name"] for x in POD["volumes"]]


def test_sigterm_stops_all_processes_of_one_host(mannequin_dir: Path, tmp_path: Path):
    never = ("--config.probe.every_epochs=0.0", "--config.pictures_every_epochs=0.0")
    longer = ("--config.epochs=1000", *never)  # than it takes to stop it
    words = ["launch/local.sh", *flags(mannequin_dir, tmp_path / "run", *longer)]
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}
    variables = environment(1, **cache) | {"GPUS": "0 1", "PYTHON": sys.executable}
    launcher = start(words, **variables)
    until(lambda: len(metrics(tmp_path / "run")) >= 2, [launcher])
    launcher.send_signal(signal.SIGTERM)
    (stopped,) = finish([launcher])  # when all have closed its standard output
    last = metrics(tmp_path / "run")[-1]["step"]
    assert stopped.code == STOPPED and 2 <= last < 3000, stopped.stderr
    assert f"saved at step {last}" in stopped.stdout


def stand_in(path: Path, text: str) -> Path:
    """A program that does what the text says."""
    path.write_text(f"#!/usr/bin/env bash\n{text}\n")
    path.chmod(0o755)
    return path


def test_each_process_of_one_host_has_a_gpu_and_the_highest_code_counts(tmp_path: Path):
    text = f'''if [[ $1 == -c ]]; then exec {sys.executable} "$@"; fi
    echo "$CUDA_VISIBLE_DEVICES $*"; exit "$CUDA_VISIBLE_DEVICES"'''
    python = stand_in(tmp_path / "python", text)
    variables = {"GPUS": "3 5 4", "PYTHON": str(python)}
    (end,) = finish([start(["launch/local.sh", "--workdir=a b"], **environment(1, **variables))])
    assert end.code == 5
    found = sorted(end.stdout.splitlines())
    port = found[0].split("localhost:")[1].split()[0]
    for line, gpu, process in zip(found, (3, 4, 5), (0, 2, 1), strict=True):
        place = f"--coordinator=localhost:{port} --num_processes=3 --process_id={process}"
        assert line == f"{gpu} -m mv2mae_jax.main --workdir=a b {place}"


def test_processes_of_one_host_share_its_cores(tmp_path: Path):
    cores = "import os; os.write(1, b'%r\\n' % os.sched_getaffinity(0))"
    text = f'''[[ $1 == -c ]] || set -- -c "{cores}"; exec {sys.executable} "$@"'''
    for gpus, python in (("0 1", "python"), ("0 1 2 3 4 5 6 7", "python8")):
        variables = {"GPUS": gpus, "PYTHON": str(stand_in(tmp_path / python, text))}
        (end,) = finish([start(["launch/local.sh"], **environment(1, **variables))])
        assert end.code == 0, end.stderr
        ours, theirs = os.sched_getaffinity(0), end.stdout.splitlines()
        share = len(ours) // len(gpus.split())
        found = [set(map(int, re.findall(r"\d+", line))) for line in theirs]
        if share:
            assert set(map(len, found)) == {share}
            assert len(set().union(*found)) == share * len(found)
        else:
            assert found == [ours] * len(gpus.split())


def test_ctrl_c_is_sigterm_to_the_processes_of_one_host(tmp_path: Path):
    text = f"""if [[ $1 == -c ]]; then exec {sys.executable} "$@"; fi
    trap 'sleep 0.2; echo saved; exit 143' TERM
    echo started; while true; do sleep 0.05; done"""
    variables = {"GPUS": "0 1", "PYTHON": str(stand_in(tmp_path / "python", text))}
    launcher = start(["launch/local.sh"], **environment(1, **variables))
    assert launcher.stdout is not None
    assert [launcher.stdout.readline() for _ in range(2)] == ["started\n"] * 2
    launcher.send_signal(signal.SIGINT)
    (end,) = finish([launcher], timeout=200)
    assert (end.code, end.stdout.split()) == (STOPPED, ["saved"] * 2)


# In place of gcloud, which needs an account: answers with the next line of a file.
GCLOUD = """
printf '%s\\0' "$@" >>"$CLOUD/calls"; printf '\\0' >>"$CLOUD/calls"
next() { head -n1 "$CLOUD/$1"; sed -i 1d "$CLOUD/$1"; }
case "$*" in
*queued-resources\\ describe*)
    state=$(next states)
    case $state in
    ABSENT) echo "ERROR: (gcloud) NOT_FOUND: Resource was not found." >&2; exit 1 ;;
    AWAY) echo "ERROR: (gcloud) Failed to connect." >&2; exit 1 ;;
    *) echo "WARNING: an update is there" >&2; echo "$state" ;;
    esac ;;
*queued-resources\\ create*) exit "$(next created)" ;;
*queued-resources\\ delete*) exit 1 ;;
*tpu-vm\\ describe*) next nodes ;;
*tpu_worker.sh*) exit "$(next codes)" ;;
esac
"""


def queue(
    folder: Path, states: str, codes: str, nodes: str, created: str
) -> tuple[int, list[list[str]]]:
    """Exit code of launch/tpu_queue.sh when the cloud answers so, and its calls of gcloud."""
    answers = {"states": states, "codes": codes, "nodes": nodes, "created": created}
    for name, lines in answers.items():
        (folder / name).write_text("\n".join(lines.split()) + "\n")
    stand_in(folder / "gcloud", GCLOUD)
    variables = {"PATH": f"{folder}:{PATH}", "CLOUD": str(folder), "SECONDS_BETWEEN_LOOKS": "0"}
    words = ["launch/tpu_queue.sh", "--config=configs/ntu60.py", "--workdir=/shared/a run"]
    done = subprocess.run(words, env=os.environ | variables, timeout=200)
    calls = (folder / "calls").read_text().removesuffix("\0\0").split("\0\0")
    return done.returncode, [call.split("\0") for call in calls]


@pytest.mark.parametrize(
    ("states", "codes", "nodes", "created", "code"),
    [
        ("ABSENT COMING ACTIVE SUSPENDED ABSENT ACTIVE", "143 0", "PREEMPTED READY", "0 0", 0),
        ("ACTIVE ACTIVE ACTIVE", "255 1 1", "READY PREEMPTED READY", "", 1),
        ("ABSENT FAILED", "", "", "0", 1),
        ("ABSENT AWAY COMING AWAY ACTIVE", "0", "READY", "0", 0),
        ("AWAY", "", "", "", 1),
        ("ABSENT SUSPENDED ABSENT ABSENT ACTIVE", "0", "READY", "0 1 0", 0),
        ("ABSENT", "", "", "1", 1),
    ],
    ids=["preempted", "failed", "refused", "cut off", "no rights", "now and then", "no such type"],
)
def test_spot_tpus_are_asked_for_again_until_the_run_is_over(
    tmp_path: Path, states: str, codes: str, nodes: str, created: str, code: int
):
    """Where giving one back fails, too."""
    found, calls = queue(tmp_path, states, codes, nodes, created)
    assert found == code
    assert sum("create" in call for call in calls) == len(created.split())
    runs = [shlex.split(call[-1]) for call in calls if "tpu_worker.sh" in call[-1]]
    assert len(runs) == len(codes.split())
    for run in runs:
        assert run[-2:] == ["--config=configs/ntu60.py", "--workdir=/shared/a run"]
    assert len({run[-3] for run in runs}) == len(runs)  # IDs
    assert ("delete" in calls[-1]) == bool(runs)  # it is given back


def start_worker(folder: Path, run: str, text: str) -> subprocess.Popen[str]:
    """launch/tpu_worker.sh where the program does what the text says."""
    python = folder / ".venv/bin/python"
    python.parent.mkdir(parents=True, exist_ok=True)
    stand_in(python, text)
    script = Path("launch/tpu_worker.sh").absolute()
    return start(["env", f"--chdir={folder}", str(script), run, "--workdir=a b"], **os.environ)


def test_a_broken_connection_to_a_worker_leaves_its_run_and_finds_it_again(tmp_path: Path):
    program = 'echo "$@"; until [[ -e go ]]; do sleep 0.05; done; echo done; exit 7'
    with start_worker(tmp_path, "1", program) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "-m mv2mae_jax.main --workdir=a b\n"
        first.kill()
    again = start_worker(tmp_path, "1", "echo a second one")
    (tmp_path / "go").touch()
    (end,) = finish([again])
    assert (end.code, end.stdout) == (7, "-m mv2mae_jax.main --workdir=a b\ndone\n")


def test_another_launcher_takes_the_place_of_a_run_that_saves(tmp_path: Path):
    program = """trap 'sleep 0.5; touch saved; exit 143' TERM
    echo started; while true; do sleep 0.05; done"""
    with start_worker(tmp_path, "1", program) as first:
        assert first.stdout is not None and first.stdout.readline() == "started\n"
        second = start_worker(tmp_path, "2", "[[ -e saved ]] && echo continues; kill -KILL $$")
        (end,) = finish([second])
        assert (end.code, end.stdout.splitlines()[0]) == (128 + signal.SIGKILL, "continues")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not installed")
def test_gcloud_knows_all_options(tmp_path: Path):
    _, calls = queue(tmp_path, "ABSENT SUSPENDED ACTIVE", "0", "READY", "0")
    used: dict[tuple[str, ...], set[str]] = {}
    for call in calls:
        options = {word.split("=")[0] for word in call if word.startswith("--")}
        used.setdefault(tuple(call[:4]), set()).update(options)
    assert len(used) == 6
    for command, options in used.items():
        words = ["gcloud", *command, "--help"]
        text = subprocess.check_output(words, env=os.environ | {"TERM": "dumb"}, text=True)
        known = set(re.findall(r"--[\w-]+", re.sub("\x1b\\[[\\d;]*m", "", text)))
        assert options <= known, command
