"""Rows of a box: where they lie, how precise they are, and a place to start."""

from __future__ import annotations

from typing import Any

import numpy as np

from wsl_extraction.attacks.relu import signs, smooth
from wsl_extraction.attacks.relu.logit_queries import LogitQueries
from wsl_extraction.networks.two_layer import TwoLayerNetwork

LOOSE = 1e-7  # of the largest output: errors of a unit's first estimate
COARSEST = 0.05  # tolerance beyond which a copy would mean nothing
_CENTRES = 8
_NOISIEST = 1e-5  # beyond which bends are no rounding
_TIGHT = 60.0  # errors of answers: those of a network that was fitted,
_SLIGHT = 3e-12  # of the largest output; or of one that is to be fitted yet
_TOLERANCE = 1e-9


def too_coarse(precision: float) -> str:
  """The line about answers whose rounding hides what they say."""
  return (f"answers are precise to {precision:.1e} of their size: too coarse "
          "to certify a copy; ask for more decimals")


class BoxRows:
  """The oracle's rows in a box, and the network so far.

  Attributes:
    network: In z, the box from 0 to 1.
    figures: What is to be said, by name.
    stage: What it is doing.
    tolerance: What an error may be, as a share of the largest output.
  """

  def __init__(self, answers: LogitQueries, rng: np.random.Generator,
               examples: np.ndarray, share: float, attempts: int,
               tolerance: float | None):
    self.answers, self.rng = answers, rng
    self.examples, self.share, self.attempts = examples, share, attempts
    d, k = answers.region.features, answers.width
    self.network = TwoLayerNetwork.of(
        np.zeros((0, d)), np.zeros(0), np.zeros((0, k)), np.zeros((d, k)),
        np.zeros(k))
    self.figures: dict[str, Any] = {}
    self.tolerance = tolerance or _TOLERANCE
    self.is_set = tolerance is not None
    self.tries: dict[bytes, int] = {}
    self.is_looked, self.work = False, 0.0
    self.stage = "looking for a straight place"

  def _measure(self) -> str:
    """Measures the precision of answers; says what makes them useless."""
    answers, rng = self.answers, self.rng
    shape = _CENTRES, answers.region.features
    centres = answers.nearest(rng.uniform(0.35, 0.65, shape))
    step = 3 * answers.step or 1e-3
    along = rng.choice([-1.0, 1.0], shape) * step
    three = [answers(centres + side * along) for side in (-1, 0, 1)]
    outputs = np.stack(three)
    if not np.isfinite(outputs).all():
      return ("answers to the data are no finite numbers; mend the victim" if (
          answers.logits) else "scores of the data vanish; ask for logits")
    size = float(np.abs(outputs).max()) or 1.0
    again = float(np.abs(answers(centres[:1]) - three[1][:1]).max())
    self.figures["precision"] = max(answers.noise, again / size)
    if again > 8 * self._noise():  # batches of other sizes round otherwise
      return ("one and the same input got different answers, up to "
              f"{again / size:.1e} apart: the oracle is not deterministic")
    bends = np.abs(three[0] + three[2] - 2 * three[1]).max(axis=1)
    self.centres = centres[np.argsort(bends, kind="stable")]
    least = float(bends.min())
    if least > 20 * self._noise():
      curve = self.centres[0] + np.arange(-8, 9.0)[:, None] * (
          along[int(np.argmin(bends))] / (3 if answers.step else 100))
      if smooth.is_curve(answers(curve), 1e-16 * size):
        raise smooth.Smooth(smooth.message("near the middle of the range"))
      if least > _NOISIEST * size:
        return (f"answers on straight lines bend by {least / size:.1e} of "
                "their size: they are noisy, or of no network of ReLU units")
      answers.noise = max(answers.noise, least / size)
    precision = self.figures["precision"] = self._noise() / size
    if not self.is_set:
      self.tolerance = max(
          _TOLERANCE, min(300 * precision, 1e-4), 6 * precision)
    if self.tolerance > COARSEST:
      return too_coarse(precision)
    return ""

  def _base(self) -> np.ndarray | None:
    """A point without a kink around it, and the linear part there."""
    for attempt in range(len(self.centres)):
      centre, self.centres = self.centres[0], self.centres[1:]
      if self._linear_at(centre, self.answers.step or 1e-3 * 0.1**(
          attempt % 3)):
        return centre
    return None

  def _linear_at(self, centre: np.ndarray, step: float) -> bool:
    """Sets the linear part; false if rows beside those for it do not fit."""
    answers, d = self.answers, len(centre)
    part = self.rng.permutation(np.arange(d) % 3)
    beside = centre + step * self.rng.choice([-1.0, 1.0], d) * (
        part == np.arange(3)[:, None])
    outputs = answers(np.concatenate(
        [centre[None], centre + step * np.eye(d), beside]))
    linear = (outputs[1:d + 1] - outputs[0]) / step
    self.network = TwoLayerNetwork.of(
        np.zeros((0, d)), np.zeros(0), np.zeros((0, answers.width)), linear,
        outputs[0] - centre @ linear)
    off = np.abs(outputs[d + 1:] - self.network(beside)).max()
    return bool(off <= 20 * d * self._noise())

  def _whole(self, along: np.ndarray) -> np.ndarray:
    """A direction whose whole multiples can be asked."""
    step = self.answers.step
    if not step:
      return along
    pixels = along / step
    # The longer a step, the nearer to the direction, but the fewer of them.
    parts = max(1.0, np.abs(pixels).max() / self.rng.integers(2, 6))
    return np.round(pixels / parts) * step

  def _noise(self) -> float:
    """What an answer may be off."""
    _, outputs = self.answers.kept()
    size = float(np.abs(outputs).max(initial=0)) or 1.0
    return self.answers.noise * size + self.answers.resolution

  def errors(self) -> np.ndarray:
    """Of all paid rows, as shares of the largest output, [n]."""
    points, outputs = self.answers.kept()
    size = float(np.abs(outputs).max(initial=0)) or 1.0
    return np.abs(outputs - self.network(points)).max(axis=1) / size

  def _allowed(self) -> float:
    """What counts as explained, by the rows that are."""
    points, outputs = self.answers.kept()
    size = float(np.abs(outputs).max(initial=0)) or 1.0
    off = np.abs(outputs - self.network(points)).max(axis=1)
    least = max(_TIGHT * self._noise(), _SLIGHT * size)
    usual = off[off <= max(LOOSE * size, least)]
    return float(np.clip(
        5 * usual.max(initial=0), least, max(LOOSE * size, least)))

  def sample(self, count: int) -> np.ndarray:
    """Fresh points z [n, d]; the last, a quarter of them, are examples.

    Most others are corners of the box, where more units switch than inside.
    """
    rng, d = self.rng, self.answers.region.features
    chosen = rng.permutation(len(self.examples))[:count // 4]
    extreme = self._corners(count // 6)
    others = count - len(chosen) - len(extreme)
    random = 1.0 * (rng.random((others, d)) < rng.random((others, 1)))
    random[::4] = rng.random((len(random[::4]), d))
    return self.answers.nearest(np.concatenate(
        [random, extreme, self.examples[chosen]]))

  def _corners(self, count: int) -> np.ndarray:
    """Corners [n, d] where the linear part is extreme.

    It holds all units that are missing, which switch there if anywhere.
    """
    left = signs.solve(self.network).left
    along, values, _ = np.linalg.svd(left, full_matrices=False)
    random = self.rng.standard_normal((count, len(values)))
    # The first few for the strongest direction alone, both ways.
    random[:2, 1:] = 0
    random[1:2] = -random[:1]
    scores = (random * values) @ along.T
    return np.where(scores > 0, 1.0, 0.0)
