#!/bin/bash
# Trains one surrogate on a TPU pod slice, a process on each of its hosts, which
# jax finds by the slice's own metadata:
#
#   NFS=10.0.0.2:/share launch/tpu_pod.sh NAME ZONE \
#     --gin_file=gin/imagenet/v2_50_100_wsl.gin --data_dir=/shared/data \
#     --workdir=/shared/runs/imagenet/v2_50
#
# NFS is a file system that all hosts mount at /shared (Filestore), for the data
# and the run: process 0 writes, the others read what it has written. Makes the
# slice if there is none of that name. The same command goes on after an end of
# any kind. With --dry_run first it prints the commands. Can be set: TYPE
# (v5litepod-32), RUNTIME (v2-alpha-tpuv5-lite).
set -euo pipefail

run() {
  if [ -n "$dry" ]; then printf '%q ' "$@"; echo; else "$@"; fi
}

dry=
if [ "${1:-}" = --dry_run ]; then dry=1; shift; fi
if [ $# -lt 3 ] || [ -z "${NFS:-}" ]; then
  echo "tpu_pod.sh: set NFS, and give a name, a zone, and the flags of train" >&2
  exit 2
fi
name=$1
zone=$2
shift 2
cd "$(dirname "$0")/.."
vm=(gcloud compute tpus tpu-vm)
if [ -n "$dry" ] || ! "${vm[@]}" describe "$name" --zone="$zone" >/dev/null 2>&1
then
  run "${vm[@]}" create "$name" --zone="$zone" \
    --accelerator-type="${TYPE:-v5litepod-32}" \
    --version="${RUNTIME:-v2-alpha-tpuv5-lite}"
fi
run "${vm[@]}" scp --recurse --worker=all dist gin "$name:" --zone="$zone"
run "${vm[@]}" ssh "$name" --zone="$zone" --worker=all \
  --command="sudo apt-get update --quiet \
&& sudo apt-get install --quiet --yes python3.11-venv nfs-common \
&& sudo mkdir -p /shared && (mountpoint -q /shared || sudo mount '$NFS' /shared) \
&& python3.11 -m venv venv && venv/bin/pip install --quiet 'jax[tpu]' dist/*.whl"
run "${vm[@]}" ssh "$name" --zone="$zone" --worker=all \
  --command="KERAS_BACKEND=jax venv/bin/python -m wsl_extraction.train --multihost $*"
echo "the end: ${vm[*]} delete $name --zone=$zone"
