#!/usr/bin/env bash
# What launch/tpu_vm.sh starts on each worker: runs the program apart from the connection, shows
# what it says, and ends with its exit code. With the same ID once more, as gcloud does after a
# broken connection, it shows the run that is there; another ID takes its place.
#
#     launch/tpu_worker.sh ID --config=configs/ntu60.py --workdir=/shared/runs/pretrain \
#         --config.data.data_dir=/shared/data
set -euo pipefail
id=$1
shift

if [[ ! -e .run/$id.pid ]]; then
    # What another launcher left running saves and ends, so that this one continues.
    if earlier=$(cat .run/python.pid 2>/dev/null) && grep -qs mv2mae_jax "/proc/$earlier/cmdline"; then
        kill -TERM "$earlier"
        for ((second = 0; second < 120; second++)); do
            kill -0 "$earlier" 2>/dev/null || break
            sleep 1
        done
        kill -KILL "$earlier" 2>/dev/null || :
    fi
    rm -rf .run
    mkdir .run
    touch .run/log # `tail` may be faster than the program
    {
        .venv/bin/python -m mv2mae_jax.main "$@" &
        echo "$!" >.run/python.pid
        code=0
        wait "$!" || code=$?
        echo "$code" >.run/code
    } >.run/log 2>&1 </dev/null &
    echo "$!" >".run/$id.pid"
fi
tail --follow --lines=+1 --pid="$(cat ".run/$id.pid")" .run/log
exit "$(cat .run/code)"
