#!/usr/bin/env bash
# One run on spot TPUs: asks for a slice as a queued resource, runs on it (launch/tpu_vm.sh), asks
# again when it was taken away, and gives it back when the run is done or failed.
#
#     launch/tpu_queue.sh --config=configs/ntu60.py --workdir=/shared/runs/pretrain \
#         --config.data.data_dir=/shared/data
#
# To stop it for good: end this script, stop the run as launch/tpu_vm.sh says, and give the slice
# back: gcloud compute tpus queued-resources delete mv2mae --zone=us-west4-a --force
set -euo pipefail

# To fill in; so is SHARED in launch/tpu_vm.sh.
export TPU=${TPU:-mv2mae}
export ZONE=${ZONE:-us-west4-a}
TYPE=${TYPE:-v5litepod-16}
VERSION=${VERSION:-v2-alpha-tpuv5-lite}
SECONDS_BETWEEN_LOOKS=${SECONDS_BETWEEN_LOOKS:-30}

queue() {
    local verb=$1
    shift
    gcloud compute tpus queued-resources "$verb" "$TPU" --zone="$ZONE" --quiet "$@"
}

looked=
asked=
while true; do
    if said=$(queue describe --format='value(state.state)' 2>&1); then
        state=${said##*$'\n'} # below what gcloud warns of
    elif [[ $said == *NOT_FOUND* ]]; then
        state=ABSENT
    else
        echo "$said" >&2
        [[ $looked ]] || exit 1 # no right to look, say
        state=UNKNOWN           # the network, say: one may be on its way, so none is asked for
    fi
    looked=yes
    case $state in
    ABSENT)
        if queue create --node-id="$TPU" --accelerator-type="$TYPE" --runtime-version="$VERSION" \
            --spot; then
            asked=yes
        else
            [[ $asked ]] || exit 1 # no right to ask, or a name that is none
        fi
        ;;
    SUSPENDED) # taken away; it never comes back
        queue delete --force || :
        ;;
    FAILED)
        echo "error: the request for $TYPE in $ZONE failed: gcloud compute tpus queued-resources \
describe $TPU --zone=$ZONE says why" >&2
        exit 1
        ;;
    ACTIVE)
        code=0
        "$(dirname "$0")/tpu_vm.sh" "$@" || code=$?
        # Also gcloud ends with 1.
        node=$(gcloud compute tpus tpu-vm describe "$TPU" --zone="$ZONE" --format='value(state)' || :)
        if ((code == 0)) || { ((code <= 2)) && [[ $node == READY ]]; }; then
            queue delete --force || echo "error: $TPU is still there, and paid for" >&2
            exit "$code"
        fi
        ;;
    esac
    sleep "$SECONDS_BETWEEN_LOOKS"
done
