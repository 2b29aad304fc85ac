#!/usr/bin/env bash
# One run in several processes on this host, one for each GPU, each with as many cores as the others
# (whose loaders would otherwise all take all of them). From the checkout:
#
#     launch/local.sh --config=configs/ntu60.py --workdir=runs/pretrain
#
# SIGTERM or Ctrl-C: all save after the same step and end with 143; the same command continues.
set -euo pipefail

# To fill in.
GPUS=${GPUS:-0 1 2 3 4 5 6 7} # numbers as nvidia-smi shows them; a process for each
PYTHON=${PYTHON:-.venv/bin/python}

read -ra gpus <<<"$GPUS"
free_port='import socket; s = socket.socket(); s.bind(("localhost", 0)); print(s.getsockname()[1])'
coordinator=localhost:$("$PYTHON" -c "$free_port")

read -ra cores <<<"$("$PYTHON" -c 'import os; print(*sorted(os.sched_getaffinity(0)))')"
share=$((${#cores[@]} / ${#gpus[@]}))

processes=()
interrupted=
# Ctrl-C is sent on as SIGTERM, on which all save; if they hear it too, that is one request to them.
trap 'interrupted=yes; kill -TERM "${processes[@]}" 2>/dev/null || true' TERM INT
for process_id in "${!gpus[@]}"; do
    own=("${cores[@]:process_id * share:share}")
    ((share)) || own=("${cores[@]}") # fewer cores than processes
    CUDA_VISIBLE_DEVICES=${gpus[process_id]} \
        taskset --cpu-list "$(IFS=, && echo "${own[*]}")" "$PYTHON" -m mv2mae_jax.main "$@" \
        --coordinator="$coordinator" --num_processes="${#gpus[@]}" --process_id="$process_id" &
    processes+=("$!")
done

# They end together; the highest exit code is the run's.
code=0
for process in "${processes[@]}"; do
    ended=0
    wait "$process" || ended=$?
    while [[ $interrupted ]]; do # a signal ends `wait`, too, though not the process
        interrupted=
        ended=0
        wait "$process" || ended=$?
    done
    ((ended <= code)) || code=$ended
done
exit "$code"
