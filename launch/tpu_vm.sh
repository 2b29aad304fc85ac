#!/usr/bin/env bash
# One run on all workers of a TPU VM, a single host or a pod, that exists already. Where gcloud is,
# from the checkout, and in something that lasts, such as tmux; for a pod after `ssh-add
# ~/.ssh/google_compute_engine`, which gcloud asks for:
#
#     launch/tpu_vm.sh --config=configs/ntu60.py --workdir=/shared/runs/pretrain \
#         --config.data.data_dir=/shared/data
#
# Installs what is committed, runs it, and ends with the exit code of the run. The run goes on where
# this script is ended; the same command stops it, so that it saves, and continues. To stop it alone
# (SIGTERM to one process stops all):
#
#     gcloud compute tpus tpu-vm ssh mv2mae --zone=us-west4-a \
#         --command="pkill -TERM -f '[m]v2mae_jax.main'"
set -euo pipefail

# To fill in.
TPU=${TPU:-mv2mae}
ZONE=${ZONE:-us-west4-a}
SHARED=${SHARED-10.0.0.2:/share} # NFS, as of Filestore; all workers mount it at /shared; empty: none

on_all_workers() {
    gcloud compute tpus tpu-vm ssh "$TPU" --zone="$ZONE" --worker=all --command="$1"
}

archive=$(mktemp --suffix=.tar)
trap 'rm "$archive"' EXIT
git archive --output="$archive" HEAD
gcloud compute tpus tpu-vm scp "$archive" "$TPU:mv2mae.tar" --zone="$ZONE" --worker=all

# The images' Python is 3.10, too old for jax: uv brings another.
on_all_workers "set -e
    if [ '$SHARED' ] && ! mountpoint --quiet /shared; then
        sudo apt-get update --quiet
        sudo apt-get install --yes --quiet nfs-common
        sudo mkdir -p /shared
        sudo mount -t nfs $SHARED /shared
    fi
    mkdir -p mv2mae
    tar --extract --file=mv2mae.tar --directory=mv2mae
    cd mv2mae
    python3 -m pip install --quiet --user uv
    ~/.local/bin/uv venv --quiet --allow-existing --python=3.12
    ~/.local/bin/uv pip install --quiet --constraints=constraints/py312.txt --editable='.[tpu,gcs]'"

# gcloud sends a command again, to one worker, when its connection broke: the same ID.
on_all_workers "cd mv2mae && exec launch/tpu_worker.sh $(date +%s)-$$$(printf ' %q' "$@")"
