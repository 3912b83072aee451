"""A certificate of how far a copy is from its victim, both of known weights."""

from __future__ import annotations

import dataclasses
import decimal
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from wsl_extraction.equivalence import bounds, decide, domains
from wsl_extraction.equivalence.clock import as_float
from wsl_extraction.errors import InputError
from wsl_extraction.networks.relu_network import ReluNetwork

# Time limit, and the bound that needs no improvement, relative to the weights.
SECONDS = 5.0
_ENOUGH = 1e-9


@dataclasses.dataclass(frozen=True)
class Certificate:
  """Bounds on the largest difference of two networks on a box.

  They hold for the functions of real numbers that have these weights, in exact
  arithmetic; rounding within either network is not part of them.

  Attributes:
    lower: A difference that some input has, rounded down.
    upper: A bound that is proved; infinite where numbers left float64's range.
    seconds: The time that it took.
    size: No output of the victim is larger on the box; infinite if not known.
  """

  lower: float
  upper: float
  seconds: float
  size: float = math.inf

  def exceeds(self, tolerance: float) -> bool:
    """Tells whether some input is off by more than the tolerance for sure.

    Args:
      tolerance: A share of the largest output, or of the largest difference of
        two outputs where no more is known: those are twice as large, and less
        their mean again twice as far off.
    """
    return self.lower > 4 * tolerance * self.size

  def fields(self) -> Mapping[str, Any]:
    """The fields of result.json; fewer digits never claim more."""
    if not math.isfinite(self.upper):
      return {"least": _shortened(self.lower, 5), "most": None,
              "seconds": self.seconds, "text": (
                  "nothing: numbers on the way are beyond float64's range")}
    return {
        "least": _shortened(self.lower, 5),
        "most": _shortened(self.upper, 5, up=True),
        "seconds": self.seconds,
        "text": "logits differ by at most "
                f"{_shortened(self.upper, 2, up=True):.1e} on all inputs in "
                f"range, somewhere by {_shortened(self.lower, 2):.1e}"}


def _shortened(number: float, digits: int, *, up: bool = False
               ) -> float:
  """A number of so many digits, rounded down or up."""
  return float(decimal.Context(digits, decimal.ROUND_CEILING if up else (
      decimal.ROUND_FLOOR)).create_decimal_from_float(number))


@dataclasses.dataclass(frozen=True, eq=False)
class _Layers:
  """x -> relu(x hidden + bias) outer + x linear + constant."""

  hidden: np.ndarray
  bias: np.ndarray
  outer: np.ndarray
  constant: np.ndarray
  linear: np.ndarray

  @classmethod
  def of(cls, network: ReluNetwork) -> _Layers:
    if len(network.weights) != 2 or network.is_rectified:
      raise InputError(
          f"a network of {len(network.hidden)} hidden layers cannot be "
          "certified; give networks of one hidden layer, or compare them by "
          "decide.largest_difference")
    linear = network.linear
    if linear is None:
      linear = np.zeros((network.dimension, network.outputs))
    (hidden, outer), (bias, constant) = network.weights, network.biases
    return cls(hidden, bias, outer, constant, linear)

  def as_chain(self, low: np.ndarray, with_linear: bool) -> ReluNetwork:
    """One hidden layer: x, which is at least `low`, is relu(x - low) + low."""
    hidden, bias, outer = self.hidden, self.bias, self.outer
    constant = self.constant
    if with_linear:
      hidden = np.hstack([hidden, np.eye(len(hidden))])
      bias = np.concatenate([bias, -low])
      outer = np.vstack([outer, self.linear])
      constant = constant + low @ self.linear
    return ReluNetwork([hidden, outer], [bias, constant])


Report = Callable[[str, str], None]


def if_known(victim: ReluNetwork | None, copy: ReluNetwork | None,
             features: int, value_range: tuple[float, float], *, centred: bool,
             report: Report) -> Certificate | None:
  """Bounds the difference of two networks on all inputs of a range.

  Args:
    victim: The victim's weights, if they are known.
    copy: The surrogate's, if they were computed.
    features: The numbers of an input, all of them in `value_range`.
    value_range: The least and the largest of them.
    centred: As in `certify`.
    report: As in `certify`.

  Returns:
    None where one of the two is not known, or is deeper than two layers.
  """
  if victim is None or copy is None or not (
      len(victim.weights) == len(copy.weights) == 2):
    return None
  low, high = value_range
  box = domains.Box(np.full(features, low), np.full(features, high))
  return certify(victim, copy, box, centred=centred, report=report)


@decide.quiet
def certify(victim: ReluNetwork, copy: ReluNetwork, box: domains.Box, *,
            centred: bool = False,
            report: Report = lambda stage, words: None) -> Certificate:
  """Bounds the difference of the outputs of two networks on a box.

  Args:
    victim: A network of one hidden layer, with or without a linear part.
    copy: Another of the same input and output sizes.
    box: The inputs on which they are compared.
    centred: Compares outputs less their mean over the classes, which is all
      that probabilities tell of logits.
    report: Called about once a second with the stage and the bounds so far.

  Raises:
    InputError: A network is deeper, or their sizes differ.
  """
  (theirs, slack), (ours, more) = (
      _folded(_Layers.of(network), box, centred) for network in (victim, copy))
  # Where the copy has a linear part, so has the victim, if one of zeros: hidden
  # units of one network find theirs in the other.
  with_linear = any(
      layers.linear.any() or not layers.bias.size for layers in (theirs, ours))
  start = time.monotonic()
  try:
    f, g = (layers.as_chain(box.low, with_linear) for layers in (theirs, ours))
  except InputError:  # infinite weights: folding left float64's range
    return Certificate(0.0, math.inf, time.monotonic() - start)
  size = max(float(np.abs(one).max(initial=0)) for one in f.weights)
  _, most = bounds.affine_range(
      box.low, box.high, f.weights[0], f.biases[0])
  outputs = np.maximum(most, 0) @ np.abs(f.weights[1]) + np.abs(f.biases[1])
  largest = decide.largest_difference(
      f, g, box, SECONDS, enough=_ENOUGH * max(size, 1.0),
      report=lambda lower, upper: report(
          "proving how far the copy is",
          f"between {lower:.2g} and {upper:.2g}, for {SECONDS:g} s at most"))
  lower = as_float(largest.lower) - slack - more
  upper = largest.upper + slack + more
  # Each of these sums rounds twice.
  lower, upper = lower - 2.0**-50 * abs(lower), upper * (1 + 2.0**-50)
  return Certificate(
      max(lower, 0.0) if math.isfinite(lower) else 0.0,
      upper if math.isfinite(upper) else math.inf, largest.seconds,
      float(outputs.max()) + slack)


def _folded(layers: _Layers, box: domains.Box,
            centred: bool) -> tuple[_Layers, float]:
  """Moves units that are always on to the linear part, drops those never on.

  Returns:
    The layers, and a bound on what rounding has moved any output on the box.
  """
  hidden, bias, outer = layers.hidden, layers.bias, layers.outer
  least, most = bounds.affine_range(box.low, box.high, hidden, bias)
  on, stays = least >= 0, (least < 0) & (most > 0)
  size = np.maximum(np.abs(box.low), np.abs(box.high))
  sums = (np.abs(hidden[:, on]) @ np.abs(outer[on]) + np.abs(layers.linear),
          np.abs(bias[on]) @ np.abs(outer[on]) + np.abs(layers.constant),
          np.abs(outer[stays]))
  linear = hidden[:, on] @ outer[on] + layers.linear
  constant, outer = bias[on] @ outer[on] + layers.constant, outer[stays]
  if centred:
    outer, constant, linear = (
        array - array.mean(axis=-1, keepdims=True)
        for array in (outer, constant, linear))
  slack = 0.0
  if centred or on.any():
    # A class's own terms, and the mean's, each rounded as often as there are
    # classes and folded units at most.
    total = size @ sums[0] + sums[1] + np.maximum(most[stays], 0) @ sums[2]
    terms = int(on.sum()) + 2 * len(total)
    slack = float(bounds.gamma(terms) * 2 * total.max() * (1 + 2.0**-40)
                  + bounds.underflow(terms) * (
                      size.sum() + np.maximum(most[stays], 0).sum() + 1))
  if box.low.any():
    # `as_chain` adds up the linear part at the lowest corner.
    slack += float(bounds.gamma(len(size) + 2) * (
        size @ np.abs(linear) + np.abs(constant)).max()) + bounds.TINY
  return _Layers(hidden[:, stays], bias[stays], outer, constant, linear), slack
