"""Inputs, outputs and features of a network that is a graph of layers."""

from __future__ import annotations

import keras

from wsl_extraction.errors import InputError


def ends(network: keras.Model) -> tuple[keras.KerasTensor, keras.KerasTensor]:
  """The network's input [n, h, w, d] and its output [n, c].

  Raises:
    InputError: It has no graph of layers to extend, or several ends.
  """
  try:
    (images,), (logits,) = network.inputs, network.outputs
  except (AttributeError, TypeError, ValueError) as error:
    raise InputError(
        f"network {network.name!r} has not one input and one output that are "
        "known; make it of layers that begin with keras.Input") from error
  return images, logits


def penultimate(network: keras.Model) -> keras.KerasTensor:
  """The input of the network's last layer: features [n, f].

  Raises:
    InputError: The network does not end in a linear dense layer.
  """
  history = ends(network)[1]._keras_history  # Keras has no public name for it
  last = history.operation
  if (not isinstance(last, keras.layers.Dense)
      or last.activation is not keras.activations.linear):
    raise InputError(
        f"network {network.name!r} ends in {last.name!r} "
        f"({type(last).__name__}); its features are needed: give a network "
        "that ends in a dense layer without activation, which gives logits")
  # Not `last.input`, which is that of the first graph that the layer is in.
  return last._inbound_nodes[history.node_index].input_tensors[0]
