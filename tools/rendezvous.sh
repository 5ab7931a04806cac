#!/usr/bin/env bash
# Sourced by dist_train.sh and dist_test.sh: where the processes of a run meet, as torchrun's arguments RENDEZVOUS.
PORT=${PORT:-${MASTER_PORT:-}}
if [ "${NNODES:-1}" = 1 ]; then
    # Without a port torchrun takes a free one, so that several runs fit on a machine.
    RENDEZVOUS=(--nnodes=1 --rdzv-backend=c10d --rdzv-endpoint="localhost:${PORT:-0}")
else
    # Otherwise who joins later waits for an address that is told only once.
    export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
    RENDEZVOUS=(
        --nnodes="$NNODES" --rdzv-backend=c10d --rdzv-id="${RDZV_ID:-mixskd_mm}"
        --rdzv-endpoint="${MASTER_ADDR:?expected the address of the machine with NODE_RANK=0}:${PORT:-29500}"
        --rdzv-conf="is_host=$([ "${NODE_RANK:?expected 0 to NNODES - 1}" = 0 ] && echo 1 || echo 0)"
    )
fi
