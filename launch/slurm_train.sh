#!/bin/bash
#SBATCH --job-name=wsl_train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
# Trains one surrogate on the GPUs of a Slurm job, a process for each: jax finds
# them by Slurm's variables, and takes the GPU of a task's local number.
#
#   sbatch launch/slurm_train.sh --gin_file=gin/imagenet/v2_50_100_wsl.gin \
#     --data_dir=DATA --workdir=runs/imagenet/v2_50
#
# The folder is shared by the nodes. A job that is queued again, or the same
# command, goes on from the last checkpoint. With --dry_run first it prints what
# it would start. Can be set: PYTHON.
set -euo pipefail

run() {
  if [ -n "$dry" ]; then printf '%q ' "$@"; echo; else "$@"; fi
}

dry=
if [ "${1:-}" = --dry_run ]; then dry=1; shift; fi
: "${SLURM_JOB_ID:?this is no Slurm job; give it to sbatch}"
export KERAS_BACKEND=jax
run srun --kill-on-bad-exit=1 "${PYTHON:-python}" -m wsl_extraction.train \
  --multihost "$@"
