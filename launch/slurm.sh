#!/usr/bin/env bash
# One run on a Slurm cluster, a task for each GPU. From the checkout:
#
#     sbatch launch/slurm.sh --config=configs/ntu60.py --workdir=runs/pretrain
#
# or an array of runs, here three seeds, with %a for the number of each:
#
#     sbatch --array=0-2 launch/slurm.sh --config=configs/ntu60.py --workdir=runs/seed%a \
#         --config.seed=%a
#
# Preempted, at its time limit or after `scancel --signal=TERM JOB`, a run saves, is queued again and
# continues, until it is done (exit code 0) or failed (1, 2). A plain `scancel JOB` ends it for good.

# To fill in, or to give to sbatch.
#SBATCH --job-name=mv2mae
#SBATCH --time=24:00:00
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=12
# Not --gpus-per-task=1: every task would see its GPU as number 0, and jax gives task i number i.
#SBATCH --gpus-per-node=8

# SIGTERM to the tasks so many seconds before the time limit, or up to a minute earlier: enough for
# a step and a checkpoint.
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
PYTHON=${PYTHON:-.venv/bin/python}

export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1} # srun does not take it over from sbatch
code=0
srun "$PYTHON" -m mv2mae_jax.main "${@//%a/${SLURM_ARRAY_TASK_ID:-}}" || code=$?

# Where Slurm itself ends the job (scancel, preemption without GraceTime), it ends this script at
# once, and queues the job again or not.
if ((code == 143)); then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
