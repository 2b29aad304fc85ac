"""A Slurm cluster of two nodes on this machine, for as long as a test needs it."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from processes import free_port

DAEMONS = ("munged", "slurmctld", "slurmd")
COMMANDS = ("sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun")
# Jobs of `low` give way to those of `high` and have GraceTime for it; those of `sudden` have
# KillWait, as cancelled ones. Both are long, for a busy machine. A job that is requeued waits for
# `cred_expire`. jax asks for the first node by its name: names are addresses.
CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
FirstJobId={first_job}
KillWait=120
SchedulerType=sched/builtin
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=127.0.0.1 NodeHostname={host} Port={ports[1]} CPUs=2
NodeName=127.0.0.2 NodeHostname={host} Port={ports[2]} CPUs=2
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 GraceTime=120
PartitionName=sudden Nodes=ALL PriorityTier=1
PartitionName=high Nodes=ALL PriorityTier=2 PreemptMode=OFF
"""


def missing() -> str:
    """What this machine lacks for a cluster; empty if nothing."""
    if os.geteuid() != 0:
        return "Slurm's daemons need root"
    absent = [program for program in DAEMONS + COMMANDS if shutil.which(program) is None]
    return f"not installed: {', '.join(absent)} (Debian: slurm-wlm)" if absent else ""


class Cluster:
    """Runs Slurm's commands there."""

    def __init__(self, config: Path):
        self._environment = os.environ | {"SLURM_CONF": str(config)}

    def run(self, *words: str, **environment: str) -> str:
        """What the command prints."""
        options = {"env": self._environment | environment, "text": True, "timeout": 60}
        return subprocess.run(words, check=True, stdout=subprocess.PIPE, **options).stdout.strip()

    def job(self, number: str) -> dict[str, str]:
        """The fields of `scontrol show job`."""
        shown = self.run("scontrol", "--oneliner", "show", "job", number)
        return dict(word.split("=", 1) for word in shown.split() if "=" in word)

    def until(self, number: str, *states: str, timeout: float = 300) -> dict[str, str]:
        """The fields of the job as soon as it is in one of these states."""
        deadline = time.monotonic() + timeout
        while (job := self.job(number))["JobState"] not in states:
            assert time.monotonic() < deadline, job
            time.sleep(0.2)
        return job


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """Starts the daemons in the foreground, and ends them with all their jobs."""
    for name in ("munge", "state"):
        (folder / name).mkdir(mode=0o700)
    (folder / "munge/key").write_bytes(os.urandom(1024))
    (folder / "munge/key").chmod(0o600)
    config = folder / "slurm.conf"
    ports = [free_port() for _ in range(3)]
    first_job = free_port(61441) - 61440  # jax makes a port from the number of the job
    text = CONFIG.format(host=socket.gethostname(), ports=ports, folder=folder, first_job=first_job)
    config.write_text(text)
    munge = [f"--{name}-file={folder}/munge/{name}" for name in ("key", "pid", "seed", "log")]
    daemons = [
        ["munged", "--foreground", "--force", f"--socket={folder}/munge/socket", *munge],
        ["slurmctld", "-D", "-f", str(config)],
        *(["slurmd", "-D", "-f", str(config), "-N", node] for node in ("127.0.0.1", "127.0.0.2")),
    ]
    with ExitStack() as running:
        for number, words in enumerate(daemons):
            log = running.enter_context((folder / f"daemon{number}.log").open("w"))
            process = subprocess.Popen(words, stdout=log, stderr=log)
            running.callback(process.wait)
            running.callback(process.terminate)
        slurm = Cluster(config)
        running.callback(_end_all_jobs, slurm)
        _until_idle(slurm)
        yield slurm


def _until_idle(slurm: Cluster) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if slurm.run("sinfo", "-h", "-p", "low", "-o", "%D %t") == "2 idle":
                return
        except subprocess.CalledProcessError:  # slurmctld does not listen yet
            pass
        assert time.monotonic() < deadline, "the nodes of Slurm do not come up"
        time.sleep(0.5)


def _end_all_jobs(slurm: Cluster) -> None:
    slurm.run("scancel", "--user=root")
    deadline = time.monotonic() + 60
    while slurm.run("squeue", "-h") and time.monotonic() < deadline:
        time.sleep(0.5)
