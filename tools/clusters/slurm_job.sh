#!/usr/bin/env bash
# A Slurm job that goes on until the training is done: sbatch [options of sbatch] tools/clusters/slurm_job.sh CONFIG [options of train.py]
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=5
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
# Two minutes before the time is over, each process gets SIGTERM: it saves a checkpoint and ends with status 143.
#SBATCH --signal=TERM@120
set -euo pipefail
if [ $# -lt 1 ]; then
    echo "usage: sbatch [options of sbatch] $0 CONFIG [options of train.py]" >&2
    exit 2
fi
STATUS=0
# From the folder that the job was submitted in. --resume starts anew if there is nothing to continue.
srun --kill-on-bad-exit=1 python -u tools/train.py "$1" --launcher slurm --resume "${@:2}" || STATUS=$?
if [ "$STATUS" = 143 ]; then
    exec scontrol requeue "$SLURM_JOB_ID"
fi
exit "$STATUS"
