"""The Open Inference Protocol, version 2, over REST: mlserver, Triton, KServe.

References:
  https://github.com/kserve/open-inference-protocol,
    specification/protocol/inference_rest.md
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from wsl_extraction.errors import InputError
from wsl_extraction.oracle.exchanges import AnswerLost
from wsl_extraction.victims.signature import (
    Signature,
    choose,
    malformed,
    split_batch,
)

NAME = "kserve_v2"
METADATA, ASK = "", "/infer"  # what follows the model's own address
EXAMPLE = "http://localhost:8080/v2/models/NAME"
DTYPES = {
    "BOOL": "bool", "FP16": "float16", "BF16": "float32", "FP32": "float32",
    "FP64": "float64", **{f"{kind.upper()}{bits}": f"{kind}{bits}"
                          for kind in ("uint", "int")
                          for bits in (8, 16, 32, 64)}}
_DATATYPES = {np.dtype(name): datatype for datatype, name in DTYPES.items()
              if datatype != "BF16"}


def signature(document: Any, input_name: str | None,
              output_name: str | None) -> Signature:
  """Reads a model's metadata.

  Args:
    document: The JSON of it.
    input_name: The input to use; None for the only one.
    output_name: The output to use, likewise.

  Raises:
    InputError: It is no metadata, or does not tell which to use.
  """
  if not isinstance(document, dict) or "name" not in document:
    raise malformed(NAME, "metadata without a name")
  try:
    inputs, outputs = ({one["name"]: one for one in document.get(part) or ()}
                       for part in ("inputs", "outputs"))
    chosen = choose("input", list(inputs), input_name)
    wanted = choose("output", list(outputs), output_name)
    tensor, result = inputs.get(chosen, {}), outputs.get(wanted, {})
    batch, shape = split_batch(tensor.get("shape") or ())
    _, values = split_batch(result.get("shape") or ())
    datatype = tensor.get("datatype")
  except (KeyError, TypeError, ValueError, AttributeError) as error:
    if isinstance(error, InputError):
      raise
    raise malformed(NAME, "metadata of another form") from error
  if datatype is not None and datatype not in DTYPES:
    raise InputError(f"input {chosen!r} of the service takes {datatype}; "
                     "numbers can be sent, give Served.input another")
  return Signature(
      input=chosen or "input-0", output=wanted, shape=shape, batch=batch,
      dtype=None if datatype is None else np.dtype(DTYPES[datatype]),
      classes=values[-1] if values else None,
      identity=json.dumps(document, sort_keys=True))


def question(of: Signature, rows: np.ndarray, number: int) -> dict[str, Any]:
  """The request about rows [n, ...], the client's `number`-th."""
  content = {
      "id": str(number),
      "inputs": [{"name": of.input, "shape": list(rows.shape),
                  "datatype": _DATATYPES[rows.dtype],
                  "data": rows.ravel().tolist()}]}
  return content | ({"outputs": [{"name": of.output}]} if of.output else {})


def values(of: Signature, document: Any, number: int) -> np.ndarray:
  """The numbers, or texts, of an answer [n, ...].

  Raises:
    AnswerLost: It answers another request.
    VictimFailed: It is no answer.
  """
  if not isinstance(document, dict) or not isinstance(
      document.get("outputs"), list):
    raise malformed(NAME, "there are no outputs")
  if document.get("id") not in (None, "", str(number)):
    raise AnswerLost("the service answered another request than the last; what "
                     "was sent stays charged: run the same command again to "
                     "go on")
  try:
    tensors = {one["name"]: one for one in document["outputs"]}
    name = of.output or choose("output", list(tensors), None)
    tensor = tensors[name]
    is_text = tensor["datatype"] == "BYTES"
    dtype = object if is_text else DTYPES[tensor["datatype"]]
    return np.array(tensor["data"], dtype).reshape(
        tuple(map(int, tensor["shape"])))
  except (KeyError, TypeError, ValueError, OverflowError) as error:
    if isinstance(error, InputError):
      raise
    raise malformed(NAME, "an output is missing or of another form") from error
