"""Training that recomputes activations instead of keeping them.

The backward pass needs the activations of the forward pass. Kept, they are
nearly all the memory that training a deep network takes. Here the network is
cut where a single tensor holds all that later layers need, at the ends of
residual blocks; those tensors are kept, and what lies between two of them is
computed a second time when its gradient is due: about one forward pass more a
step, a third of the arithmetic.

References:
  Chen, Xu, Zhang, Guestrin. Training Deep Nets with Sublinear Memory Cost.
    2016, section 3.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import keras
from keras import ops, tree

from wsl_extraction.errors import InputError


class Rematerialized(keras.Model):
  """A network that recomputes the inside of its segments for the gradient.

  It has the network's variables, in the same order, and computes the same:
  outputs, gradients, and what normalisation makes of its moving averages. The
  layers behind the last block are as they were, since their activations are
  the first that the backward pass needs.

  Attributes:
    network: What it was made of, which goes on working by itself.
  """

  def __init__(self, network: keras.Model):
    """Cuts the network, whose layers and weights are shared.

    Args:
      network: A functional model with one input, of layers that are used once
        in it.

    Raises:
      InputError: It has no blocks that could be recomputed, or layers that
        cannot be.
    """
    # Without autocast: segments are to get the weights as they are.
    super().__init__(autocast=False)
    self.network = network
    blocks = _blocks(network)
    self._segments = tuple(
        _Segment(keras.Model(group[0].start, group[-1].end))
        for group in _groups(blocks))
    self._rest = keras.Model(blocks[-1].end, network.output)
    self.built = True

  def call(self, images, training=False):
    if not training:
      return self.network(images, training=False)
    # As the network does; tensorflow has no gradient beside bytes.
    x = ops.cast(images, self.network.inputs[0].dtype)
    for segment in self._segments:
      x = segment(x, training)
    return self._rest(x, training=training)


@dataclasses.dataclass(frozen=True)
class _Segment:
  """Layers that are recomputed together.

  Not a layer itself, so that Keras does not find its variables a second time.
  """

  model: keras.Model

  def __call__(self, x: Any, training: bool) -> Any:
    """The model's outputs, with its updates of state."""
    weights = [ops.convert_to_tensor(v) for v in
               self.model.trainable_variables]
    variables = self.model.non_trainable_variables
    # Copies: torch changes variables in place, and the second run is to see
    # what the first one saw.
    state = [ops.copy(v) for v in variables]
    x, *state = keras.remat(functools.partial(self._run, training))(
        x, weights, state)
    for variable, value in zip(variables, state, strict=True):
      variable.assign(value)
    return x

  def _run(self, training: bool, x: Any, weights: Any, state: Any) -> Any:
    """Without side effects: the model's output, then its new state."""
    x, state = self.model.stateless_call(weights, state, x, training=training)
    return x, *state


@dataclasses.dataclass(frozen=True)
class _Block:
  """The layers between two tensors on which alone all later ones depend.

  Attributes:
    start: Its input.
    end: Its output.
    inside: How many numbers its layers give for one image.
  """

  start: keras.KerasTensor
  end: keras.KerasTensor
  inside: int


def _blocks(network: keras.Model) -> list[_Block]:
  """The blocks up to the last place where branches of the network meet.

  Raises:
    InputError: There is none, or a layer that cannot be recomputed.
  """
  blocks, start, inside = [], network.inputs[0], 0
  for layer, alone in _in_order(network):
    if getattr(layer, "activity_regularizer", None):
      raise InputError(
          f"layer {layer.name!r} penalises its output, which would be lost "
          "where it is recomputed; leave rematerialize off")
    inside += _size(layer.output)
    if alone and len(tree.flatten(layer.input)) > 1:
      blocks.append(_Block(start, layer.output, inside))
      start, inside = layer.output, 0
  if not blocks:
    raise InputError(
        f"network {network.name!r} has no residual blocks that could be "
        "recomputed; leave rematerialize off")
  return blocks


def _in_order(network: keras.Model) -> Iterator[tuple[Any, bool]]:
  """Each layer, and whether later ones depend on its output alone.

  Raises:
    InputError: A layer's place in the graph is not known.
  """
  layers = [layer for layer in network.operations
            if not isinstance(layer, keras.layers.InputLayer)]
  readers = collections.Counter(
      id(tensor) for read in [*(layer.input for layer in layers),
                              network.outputs] for tensor in tree.flatten(read))
  waiting = {id(network.inputs[0])}
  for layer in layers:
    for tensor in tree.flatten(layer.input):
      if id(tensor) not in waiting:
        raise InputError(
            f"network {network.name!r} uses a layer twice, before "
            f"{layer.name!r}, and cannot be cut into blocks; leave "
            "rematerialize off")
      readers[id(tensor)] -= 1
    waiting |= {id(tensor) for tensor in tree.flatten(layer.output)}
    waiting = {key for key in waiting if readers[key]}
    yield layer, len(waiting) == 1


def _groups(blocks: Sequence[_Block]) -> list[list[_Block]]:
  """Neighbours that are recomputed together, so that the least is kept.

  At any time there are the ends of all groups and the inside of one.
  """
  limits = {sum(block.inside for block in blocks[i:j])
            for j in range(len(blocks) + 1) for i in range(j)}
  return min((_packed(blocks, limit) for limit in limits
              if limit >= max(block.inside for block in blocks)), key=_kept)


def _packed(blocks: Sequence[_Block], limit: int) -> list[list[_Block]]:
  """Groups, as long as their insides allow."""
  groups: list[list[_Block]] = [[]]
  for block in blocks:
    if sum(one.inside for one in groups[-1]) + block.inside > limit:
      groups.append([])
    groups[-1].append(block)
  return groups


def _kept(groups: Sequence[Sequence[_Block]]) -> int:
  """The peak number of values kept for an image."""
  return (sum(_size(group[-1].end) for group in groups)
          + max(sum(block.inside for block in group) for group in groups))


def _size(tensors: Any) -> int:
  return sum(math.prod(side or 1 for side in tensor.shape[1:])
             for tensor in tree.flatten(tensors))
