#!/bin/sh
# Takes the figures that need a GPU within 11 minutes of one, the most wanted
# first, and writes the page of each as soon as it is known:
#
#   ResNet-v2-50 images/s, in turns with plain torch on the same card
#   ResNet-v2-200 with rotation, rematerialised, at the largest batch
#   the WSL oracle's images/s in bfloat16
#   MixMatch steps/s, beside the FLOPs of a step and the card's matmul
#   CIFAR-10 at 250 queries, for the minutes that are left
#
#   benchmarks/gpu_session.sh [WHEELS]
#
# Needs Python 3.11, 3.12 or 3.13 with jax that sees the GPU, and torch for the
# first comparison; TensorFlow is not needed. What else is missing is installed
# for the time of the session, from the folder WHEELS or else from the package
# index. Pages go to docs/speed, what is said meanwhile to runs/gpu_session. Can
# be set: PYTHON, MINUTES (11), KERAS_BACKEND (jax), DATA (a folder of
# tensorflow-datasets with cifar10; without it the last figure is not run),
# BENCHMARK_PAGES (instead of docs), and QUICK=1 for the smallest sizes, which
# also run on a CPU and whose figures mean nothing.
set -u
cd "$(dirname "$0")/.." || exit 2
python=${PYTHON:-python3}
end=$(($(date +%s) + 60 * ${MINUTES:-11}))
wheels=${1:-}
QUICK=${QUICK:-}
out=runs/gpu_session
site=$(mktemp -d) || exit 2
trap 'rm -rf "$site"' EXIT
mkdir -p "$out" || exit 2
export KERAS_BACKEND="${KERAS_BACKEND:-jax}"
export PYTHONPATH="$PWD:$site${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONUNBUFFERED=1
# What one process has compiled, the next one need not.
export JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-$site/compiled}"

# Package=module. Without what they depend on: it would replace numpy, and so
# break jax and torch; the list is of all that the benchmarks import.
packages="absl-py=absl array-record=array_record cloudpickle=cloudpickle
  etils=etils gin-config=gin grain=grain h5py=h5py keras=keras
  matplotlib=matplotlib ml-dtypes=ml_dtypes namex=namex numpy=numpy
  optree=optree packaging=packaging pandas=pandas pillow=PIL
  portpicker=portpicker protobuf=google.protobuf psutil=psutil rich=rich
  scikit-learn=sklearn scipy=scipy"
# shellcheck disable=SC2086
missing=$("$python" -c 'import importlib.util, sys
for pair in sys.argv[1:]:
  package, module = pair.split("=")
  try:
    known = importlib.util.find_spec(module)
  except ModuleNotFoundError:  # nor what it is a part of
    known = None
  if known is None:
    print(package, end=" ")' $packages) || exit 2
if [ -n "$missing" ]; then
  echo "installing $missing"
  # shellcheck disable=SC2086
  "$python" -m pip install --quiet --no-deps --target "$site" \
    --constraint requirements.txt \
    ${wheels:+--no-index --find-links "$wheels"} $missing || exit 2
fi

status=0
measure() {  # name, seconds at most, flags
  name=$1; limit=$2; shift 2
  left=$((end - $(date +%s)))
  # A CPU takes as long as it takes.
  if [ "$left" -lt "$limit" ] || [ -n "$QUICK" ]; then limit=$left; fi
  if [ "$limit" -lt 15 ]; then
    echo "$name: NOT RUN, the time was up"; status=1; return
  fi
  timeout "$limit" "$python" "benchmarks/$name.py" --write \
    ${QUICK:+--quick} "$@" >"$out/$name.log" 2>&1 ||
    { status=1; echo "$name did not end well, or in time:"; }
  tail -n 40 "$out/$name.log"
}
# 192 labelled images and as many others in four turns: what docs/speed/memory.md
# counts for 57 GiB; a card with less gets half as many.
measure imagenet_step 400 --rounds=3 --minutes=$((${QUICK:-0} ? 60 : 5)) --rotated=96
measure mixmatch_gpu 100 --rounds=3
if [ -n "${DATA:-}$QUICK" ]; then
  left=$((end - $(date +%s) - 10))
  measure cifar10_gpu 600 ${DATA:+--data_dir="$DATA"} \
    --minutes="$(awk "BEGIN {print $left / 60}")"
else
  echo "CIFAR-10: NOT RUN, as DATA names no data set"
fi
left=$((end - $(date +%s)))
[ "$left" -lt 10 ] ||
  timeout 30 "$python" -m wsl_extraction.doctor >"$out/doctor.txt" 2>&1
exit $status
