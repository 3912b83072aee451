"""The REST interface of TensorFlow Serving, by rows.

References:
  https://www.tensorflow.org/tfx/serving/api_rest
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from wsl_extraction.errors import InputError
from wsl_extraction.victims.signature import (
    Shape,
    Signature,
    choose,
    malformed,
    split_batch,
)

NAME = "tf_serving"
METADATA, ASK = "/metadata", ":predict"  # what follows the model's own address
EXAMPLE = "http://localhost:8501/v1/models/NAME"
DTYPES = {
    "DT_BOOL": "bool", "DT_HALF": "float16", "DT_BFLOAT16": "float32",
    "DT_FLOAT": "float32", "DT_DOUBLE": "float64",
    **{f"DT_{kind.upper()}{bits}": f"{kind}{bits}"
       for kind in ("uint", "int") for bits in (8, 16, 32, 64)}}
_DEFAULT = "serving_default"


def signature(document: Any, input_name: str | None,
              output_name: str | None) -> Signature:
  """Reads a model's metadata; see `kserve_v2.signature`.

  Raises:
    InputError: It is no metadata, or does not tell which to use.
  """
  try:
    definitions = document["metadata"]["signature_def"]["signature_def"]
    name = _DEFAULT if _DEFAULT in definitions else next(
        one for one in sorted(definitions) if definitions[one].get("inputs"))
    inputs, outputs = (definitions[name][part] for part in (
        "inputs", "outputs"))
    if len(inputs) > 1:
      raise InputError(
          f"the model takes several inputs ({', '.join(sorted(inputs))}); serve"
          " one that takes a single array")
    chosen = choose("input", sorted(inputs), input_name)
    wanted = choose("output", sorted(outputs), output_name)
    assert chosen is not None and wanted is not None, "there is one of each"
    tensor, result = inputs[chosen], outputs[wanted]
    batch, shape = _shape(tensor)
    _, values = _shape(result)
    kind, answer = tensor["dtype"], result["dtype"]
  except (KeyError, TypeError, ValueError, AttributeError, AssertionError,
          StopIteration) as error:
    if isinstance(error, InputError):
      raise
    raise malformed(NAME, "metadata of another form") from error
  if kind not in DTYPES:
    raise InputError(f"input {chosen!r} of the service takes {kind}; serve a "
                     "model that takes an array of numbers")
  return Signature(
      input=chosen, output=wanted, shape=shape, batch=batch, name=name,
      dtype=np.dtype(DTYPES[kind]),
      output_dtype=np.dtype(DTYPES[answer]) if answer in DTYPES else None,
      classes=values[-1] if values else None,
      identity=json.dumps(document, sort_keys=True))


def _shape(tensor: Any) -> tuple[int | None, Shape | None]:
  shape = tensor.get("tensor_shape", {})
  if shape.get("unknown_rank"):
    return None, None
  return split_batch([int(side["size"]) for side in shape.get("dim", ())])


def question(of: Signature, rows: np.ndarray, number: int) -> dict[str, Any]:
  """The request about rows [n, ...]; the protocol has no numbers for them."""
  name = {} if of.name == _DEFAULT else {"signature_name": of.name}
  return {**name, "instances": rows.tolist()}


def values(of: Signature, document: Any, number: int) -> np.ndarray:
  """The numbers, or texts, of an answer [n, ...].

  Raises:
    VictimFailed: It is no answer.
  """
  try:
    rows = document["predictions"]
    if not isinstance(rows, list):
      raise TypeError("no list")
    if rows and isinstance(rows[0], dict):
      rows = [row[of.output] for row in rows]
    array = np.array(rows)
    if array.dtype.kind in "fiub" and of.output_dtype is not None:
      return array.astype(of.output_dtype)
    return array
  except (KeyError, TypeError, ValueError) as error:
    raise malformed(NAME, "no predictions for every row") from error
