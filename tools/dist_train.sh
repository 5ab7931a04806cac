#!/usr/bin/env bash
# Train on several GPUs. On several machines, run it on each with NNODES, NODE_RANK and MASTER_ADDR set: docs/clusters.md.
set -euo pipefail
USAGE="usage: [NNODES=1 NODE_RANK=0 MASTER_ADDR=host PORT=29500 MAX_RESTARTS=0] $0 CONFIG GPUS [options of train.py]"
if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    echo "$USAGE"
    exit
elif [ $# -lt 2 ]; then
    echo "$USAGE" >&2
    exit 2
fi
CONFIG=$1
GPUS=$2

# shellcheck source=tools/rendezvous.sh
source "$(dirname "$0")/rendezvous.sh"
OPTIONS=("${@:3}")
if [ "${MAX_RESTARTS:-0}" != 0 ]; then
    # What is started again continues.
    OPTIONS=(--resume "${OPTIONS[@]}")
fi
exec python "$(dirname "$0")/launch.py" "${RENDEZVOUS[@]}" --max-restarts="${MAX_RESTARTS:-0}" --nproc-per-node="$GPUS" \
    "$(dirname "$0")/train.py" "$CONFIG" --launcher pytorch "${OPTIONS[@]}"
