#!/bin/bash
#SBATCH --job-name=wsl_ray
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --requeue
# Labels a pool, or computes the runs of a table, on the nodes of a Slurm job by
# a Ray cluster that lives as long as the job:
#
#   sbatch launch/slurm_ray.sh label --gin_file=gin/imagenet/v2_50_100_wsl.gin \
#     --data_dir=DATA --output=runs/imagenet/wsl.sqlite
#   sbatch launch/slurm_ray.sh reproduce --gin_file=gin/tables/table2.gin
#
# Python's environment is active, so that ray and python are found; it, the folder
# and the home directory are shared by the nodes. A job that is queued again, or
# the same command, goes on where it was. A node's Ray is stopped at the end,
# whoever started it: take whole nodes. With --dry_run first it prints what it
# would start. Can be set: PORT (6379).
set -euo pipefail

run() {
  if [ -n "$dry" ]; then printf '%q ' "$@"; echo; else "$@"; fi
}

dry=
if [ "${1:-}" = --dry_run ]; then dry=1; shift; fi
if [ "${1:-}" != label ] && [ "${1:-}" != reproduce ]; then
  echo "slurm_ray.sh: give label or reproduce, and its flags" >&2
  exit 2
fi
command=$1
shift
nodes=${SLURM_JOB_NUM_NODES:?this is no Slurm job; give it to sbatch}
mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
export KERAS_BACKEND=${KERAS_BACKEND:-jax}
# The hosts of a cluster know each other by a token; made once, kept at home.
export RAY_AUTH_MODE=token
if [ -z "$dry" ]; then ray get-auth-token --generate >/dev/null; fi
run srun --nodes="$nodes" --ntasks="$nodes" --kill-on-bad-exit=1 \
  ray symmetric-run --address "${hosts[0]}:${PORT:-6379}" \
  --min-nodes "$nodes" -- \
  python -m "wsl_extraction.$command" --engine=ray --ray_address=auto "$@"
