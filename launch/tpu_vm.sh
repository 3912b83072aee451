#!/bin/bash
# Trains one surrogate on a TPU VM with up to eight chips, on all of them:
#
#   launch/tpu_vm.sh NAME ZONE --gin_file=gin/imagenet/v2_50_100_wsl.gin \
#     --data_dir=DATA --workdir=runs/imagenet/v2_50
#
# Makes the VM if there is none of that name, copies the wheel (make wheel) and
# gin/ to it, and runs `train` there; the same command goes on after an end of
# any kind. Results stay on the VM: copy them, then delete it (the last lines).
# With --dry_run first it prints the commands. Can be set: TYPE (v5litepod-8),
# RUNTIME (v2-alpha-tpuv5-lite).
set -euo pipefail

run() {
  if [ -n "$dry" ]; then printf '%q ' "$@"; echo; else "$@"; fi
}

dry=
if [ "${1:-}" = --dry_run ]; then dry=1; shift; fi
if [ $# -lt 3 ]; then
  echo "tpu_vm.sh: give a name, a zone, and the flags of train" >&2
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
    --accelerator-type="${TYPE:-v5litepod-8}" \
    --version="${RUNTIME:-v2-alpha-tpuv5-lite}"
fi
run "${vm[@]}" scp --recurse dist gin "$name:" --zone="$zone"
# Its own Python is older than this package needs.
run "${vm[@]}" ssh "$name" --zone="$zone" --command="sudo apt-get update --quiet \
&& sudo apt-get install --quiet --yes python3.11-venv \
&& python3.11 -m venv venv && venv/bin/pip install --quiet 'jax[tpu]' dist/*.whl"
run "${vm[@]}" ssh "$name" --zone="$zone" \
  --command="KERAS_BACKEND=jax venv/bin/python -m wsl_extraction.train $*"
echo "results: ${vm[*]} scp --recurse $name:runs . --zone=$zone"
echo "the end: ${vm[*]} delete $name --zone=$zone"
