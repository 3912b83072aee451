"""Checks that a network is a classifier of rows that gives logits."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from wsl_extraction.errors import InputError
from wsl_extraction.networks.graph import ends

# Outputs that these bound cannot be logits.
_SQUASHING = frozenset({
    "softmax", "sparsemax", "sigmoid", "hard_sigmoid", "sparse_sigmoid",
    "tanh", "hard_tanh", "softsign"})
_SPELLED = {"HardSigmoid": "hard_sigmoid", "HardTanh": "hard_tanh",
            "SparseSigmoid": "sparse_sigmoid"}
_PASSING = (keras.layers.Identity, keras.layers.Dropout, keras.layers.Flatten,
            keras.layers.Reshape)


def check_classifier(network: Any, where: str, input_shape: tuple[int, ...],
                     classes: int) -> keras.Model:
  """Makes sure that a network maps rows [n, *input_shape] to logits [n, c].

  Args:
    network: What a maker of networks returned.
    where: The setting that names the maker.
    input_shape: Of one row.
    classes: c.

  Raises:
    InputError: It is no model, has other ends, or ends in a softmax.
  """
  if not isinstance(network, keras.Model):
    raise InputError(f"{where} returned {type(network).__name__}; return a "
                     "keras.Model")
  images, logits = ends(network)
  for what, tensor, wanted in (("takes inputs", images, (None, *input_shape)),
                               ("gives outputs", logits, (None, classes))):
    shape = tuple(tensor.shape)
    if len(shape) != len(wanted) or not all(
        one in (None, other) for one, other in zip(
            shape[1:], wanted[1:], strict=True)):
      raise InputError(
          f"{where} returned a network that {what} of shape {shape}, not "
          f"{wanted}; build it by its arguments input_shape and num_classes")
  check_logits(network)
  return network


def check_logits(network: keras.Model) -> None:
  """Makes sure that a network does not end in a softmax or the like.

  Every objective takes its outputs for logits: trained through a second
  softmax, a network of probabilities learns next to nothing.

  Raises:
    InputError: It does.
  """
  operation = _last_operation(ends(network)[1])
  name = _squashing(operation)
  if name is None and _is_custom(operation) and _gives_probabilities(network):
    name = "probabilities"
  if name is not None:
    raise InputError(
        f"network {network.name!r} ends in {name} (layer "
        f"{operation.name!r}), and objectives need logits: end it in a dense "
        "layer without activation")


def _last_operation(tensor: keras.KerasTensor) -> Any:
  """The last operation that changes values."""
  history = tensor._keras_history  # Keras has no public name for it
  operation = history.operation
  if isinstance(operation, keras.Model):
    outputs = getattr(operation, "outputs", None) or ()
    return _last_operation(outputs[history.tensor_index]) if outputs else (
        operation)
  is_passing = isinstance(operation, _PASSING) or (
      isinstance(operation, keras.layers.Activation)
      and operation.activation is keras.activations.linear)
  if is_passing or type(operation).__name__ == "Cast":
    node = operation._inbound_nodes[history.node_index]
    return _last_operation(node.input_tensors[0])
  return operation


def _squashing(operation: Any) -> str | None:
  """The name of the function that bounds the values, if there is one."""
  function = getattr(operation, "activation", None)
  if function is None:
    function = operation
  name = getattr(function, "__name__", type(function).__name__)
  name = _SPELLED.get(name, name.lower())
  return name if name in _SQUASHING else None


def _is_custom(operation: Any) -> bool:
  return isinstance(operation, keras.layers.Lambda) or (
      not type(operation).__module__.startswith("keras."))


def _gives_probabilities(network: keras.Model) -> bool:
  """True if rows drawn at random get numbers from 0 to 1 that sum to 1."""
  shape = [side or 1 for side in network.inputs[0].shape[1:]]
  rows = np.random.default_rng(0).uniform(0, 1, (4, *shape))
  values = keras.ops.convert_to_numpy(keras.ops.cast(
      network(rows.astype(np.float32), training=False), "float32"))
  return bool((values >= 0).all() and values.shape[-1] > 1 and (
      np.abs(values.sum(axis=-1) - 1) < 1e-3).all())
