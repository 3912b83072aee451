"""A certificate of how far a linear copy is from its victim, exactly.

Weights are float64, which are rational numbers: angles, offsets and differences
are computed in whole numbers, and rounded upwards once, at the end.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from wsl_extraction.errors import InputError
from wsl_extraction.networks.linear_weights import LinearWeights

_UP = 1 + 2.0**-48  # more than a few roundings of a float64
_BITS = 200  # of square roots
# Pairs of classes whose boundaries are compared; of more classes, those with
# class 0 alone.
_PAIRS = 500


@dataclasses.dataclass(frozen=True)
class LinearCertificate:
  """Bounds on the difference of two linear classifiers, on a box.

  They hold for exact arithmetic on the weights as they are.

  Attributes:
    angle: The largest angle between the normals of two boundaries, radians;
      infinite where one of them has no normal.
    offset: The largest difference of the distances of two boundaries from 0.
    share: The share of the box on which labels differ, at most; None with too
      many pairs of classes, or where it cannot be bounded.
    logits: The largest difference of logits, less that of class 0; None where
      links differ, or where labels alone are known.
    seconds: The time that it took.
  """

  angle: float
  offset: float
  share: float | None
  logits: float | None
  seconds: float

  def fields(self) -> Mapping[str, Any]:
    """The fields of result.json, with a line for the user in "text"."""
    if self.angle == self.offset == 0 and not self.logits:
      return {**dataclasses.asdict(self), "text": "boundaries are equal"}
    text = (f"boundaries turned by at most {self.angle:.1e} radians and moved "
            f"by {self.offset:.1e}")
    if self.share is not None:
      text += (", labels differ on at most "
               f"{self.share:.1e} of the inputs in range")
    if self.logits is not None:
      text += f", logits by at most {self.logits:.1e} on all of them"
    return {**dataclasses.asdict(self), "text": text}


def certify(victim: LinearWeights, copy: LinearWeights, low: np.ndarray,
            high: np.ndarray, *, scores: bool = True) -> LinearCertificate:
  """Bounds the difference of two linear classifiers.

  Args:
    victim: Of d inputs and c classes, c at least 2.
    copy: Another of the same sizes.
    low: The box of inputs, float64 [d].
    high: Its other ends.
    scores: Whether logits are compared; labels leave their scale open.

  Raises:
    InputError: Their sizes differ.
  """
  start = time.monotonic()
  if victim.kernel.shape != copy.kernel.shape:
    raise InputError(
        f"the victim has {victim.dimension} inputs and {victim.outputs} "
        f"classes, the copy {copy.dimension} and {copy.outputs}; compare "
        "those of equal sizes")
  theirs, ours = _columns(victim), _columns(copy)
  box = (_rational(low), _rational(high))
  classes = range(victim.outputs)
  pairs = list(itertools.combinations(classes, 2))
  has_all = len(pairs) <= _PAIRS
  if not has_all:
    pairs = [(0, one) for one in classes[1:]]
  angle = offset = share = 0.0
  for first, second in pairs:
    u, v = (_minus(model[second], model[first]) for model in (theirs, ours))
    angle = max(angle, _angle(u[:-1], v[:-1]))
    offset = max(offset, _offset(u, v))
    share += _share(u, v, *box)
  comparable = scores and victim.link == copy.link
  return LinearCertificate(
      angle, offset,
      min(share, 1.0) if has_all and math.isfinite(share) else None,
      _logits(theirs, ours, *box, victim.link) if comparable else None,
      time.monotonic() - start)


def _rational(values: np.ndarray) -> list[Fraction]:
  return [Fraction(float(value)) for value in values]


def _columns(model: LinearWeights) -> list[list[Fraction]]:
  """The weights of each class, its bias last."""
  return [_rational(np.append(kernel, bias))
          for kernel, bias in zip(model.kernel.T, model.bias, strict=True)]


def _minus(one: list[Fraction], other: list[Fraction]) -> list[Fraction]:
  return [a - b for a, b in zip(one, other, strict=True)]


def _dot(one: list[Fraction], other: list[Fraction]) -> Fraction:
  return sum((a * b for a, b in zip(one, other, strict=True)), Fraction(0))


def _up(value: Fraction) -> float:
  """The value as a float64 that is not below it."""
  try:
    return float(value) * _UP
  except OverflowError:
    return math.inf


def _angle(u: list[Fraction], v: list[Fraction]) -> float:
  """The angle of two vectors, rounded upwards; infinite for one of length 0."""
  uu, vv, uv = _dot(u, u), _dot(v, v), _dot(u, v)
  if not uu or not vv:
    return 0.0 if uu == vv else math.inf
  squared_sine = 1 - uv * uv / (uu * vv)
  turned = math.asin(min(1.0, math.sqrt(_up(squared_sine)) * _UP)) * _UP
  return turned if uv > 0 else math.pi


def _root(value: Fraction) -> tuple[Fraction, Fraction]:
  """A lower and an upper bound on a square root."""
  scaled = math.isqrt((value.numerator << 2 * _BITS) // value.denominator)
  return Fraction(scaled, 1 << _BITS), Fraction(scaled + 1, 1 << _BITS)


def _offset(u: list[Fraction], v: list[Fraction]) -> float:
  """|b / ||w|| - b' / ||w'|||, rounded upwards."""
  uu, vv = _dot(u[:-1], u[:-1]), _dot(v[:-1], v[:-1])
  if not uu or not vv:
    same = uu == vv and (u[-1] > 0) == (v[-1] > 0)
    return 0.0 if same else math.inf
  if u[-1] * u[-1] * vv == v[-1] * v[-1] * uu and u[-1] * v[-1] >= 0:
    return 0.0
  # Common factors are no matter: roots are taken of numbers near 1.
  scale = max(abs(one) for one in u[:-1])
  other = max(abs(one) for one in v[:-1])
  ends = []
  for numerator, squared, size in ((u[-1], uu, scale), (v[-1], vv, other)):
    ends.append([numerator / size / root
                 for root in _root(squared / (size * size))])
  return _up(max(abs(a - b) for a in ends[0] for b in ends[1]))


def _share(u: list[Fraction], v: list[Fraction], low: list[Fraction],
           high: list[Fraction]) -> float:
  """A bound on the share of the box on which the signs of u and v differ.

  Both are divided by the weight j that spans most of the box. For fixed other
  features the boundaries are two points on axis j, whose distance is an affine
  function of the others.
  """
  if u == v:
    return 0.0
  spans = [abs(weight) * (b - a)
           for weight, a, b in zip(u, low, high, strict=False)]
  j = max(range(len(spans)), key=spans.__getitem__)
  if not spans[j] or u[j] * v[j] <= 0:
    return math.inf
  gaps = [a / u[j] - b / v[j] for a, b in zip(u, v, strict=True)]
  return _up(_largest(gaps, low, high) / (high[j] - low[j]))


def _largest(affine: list[Fraction], low: list[Fraction],
             high: list[Fraction]) -> Fraction:
  """The largest |w . x + b| on a box."""
  middle, reach = affine[-1], Fraction(0)
  for weight, a, b in zip(affine, low, high, strict=False):
    middle += weight * (a + b) / 2
    reach += abs(weight) * (b - a) / 2
  return abs(middle) + reach


def _logits(theirs: list[list[Fraction]], ours: list[list[Fraction]],
            low: list[Fraction], high: list[Fraction], link: str) -> float:
  """The largest difference of logits: of z less class 0's, or of each z.

  A log-sigmoid moves by no more than its argument.
  """
  largest = Fraction(0)
  for one, other in zip(theirs, ours, strict=True):
    gap = _minus(one, other)
    if link == "softmax":
      gap = _minus(gap, _minus(theirs[0], ours[0]))
    largest = max(largest, _largest(gap, low, high))
  return _up(largest)
