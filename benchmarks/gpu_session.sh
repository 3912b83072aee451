#!/bin/sh
# Takes every figure that needs a GPU, in less than 25 minutes.
#
#   benchmarks/gpu_session.sh [WHEELS]
#
# Needs Python 3.11, 3.12 or 3.13 with jax and torch that see the GPU; TensorFlow
# is not needed. What else is missing is installed for the time of the session,
# from the folder WHEELS or else from the package index. Pages go to docs/speed,
# what is said meanwhile to runs/gpu_session. PYTHON, MINUTES and KERAS_BACKEND
# (jax) can be set.
set -u
cd "$(dirname "$0")/.." || exit 2
python=${PYTHON:-python3}
minutes=${MINUTES:-17}
wheels=${1:-}
out=runs/gpu_session
site=$(mktemp -d) || exit 2
trap 'rm -rf "$site"' EXIT
mkdir -p "$out" || exit 2
export KERAS_BACKEND="${KERAS_BACKEND:-jax}"
export PYTHONPATH="$PWD:$site${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONUNBUFFERED=1

# Package=module. Without what they depend on: it would replace numpy, and so
# break jax and torch; the list is of all that the benchmarks import.
missing=
for pair in absl-py=absl array-record=array_record cloudpickle=cloudpickle \
  etils=etils gin-config=gin grain=grain h5py=h5py keras=keras \
  matplotlib=matplotlib ml-dtypes=ml_dtypes namex=namex numpy=numpy \
  optree=optree packaging=packaging pandas=pandas pillow=PIL \
  portpicker=portpicker protobuf=google.protobuf psutil=psutil rich=rich \
  scikit-learn=sklearn scipy=scipy; do
  "$python" -c "import ${pair#*=}" 2>/dev/null || missing="$missing ${pair%=*}"
done
if [ -n "$missing" ]; then
  echo "installing$missing"
  # shellcheck disable=SC2086
  "$python" -m pip install --quiet --no-deps --target "$site" \
    --constraint requirements.txt \
    ${wheels:+--no-index --find-links "$wheels"} $missing || exit 2
fi

"$python" -m wsl_extraction.doctor | tee "$out/doctor.txt"
status=0
measure() {  # name, seconds at most, flags
  name=$1; limit=$2; shift 2
  timeout "$limit" "$python" "benchmarks/$name.py" --write "$@" \
    >"$out/$name.log" 2>&1 || { status=1; echo "$name did not end well:"; }
  tail -n 40 "$out/$name.log"
}
measure imagenet_step $((60 * (minutes + 4))) --minutes="$minutes"
measure mixmatch_gpu 180
exit $status
