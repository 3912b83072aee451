"""What the types of a response store do to the distillation target.

Random victims of 1,000 classes: logits are normal, and one class of each row
lies higher. Their scores in float32 are kept in the types of a `ResponseStore`
and as others would keep them; each gives the target at temperature 1.5, which
is compared with that of the float32 scores. "Lost" is the share of scores that
come back as 0; the gap is the Kullback-Leibler divergence of the target from
the store's, in nats, the mean of 2,000 rows and the largest. (The other way
round it is infinite where a score is lost.) Each type takes 2 bytes a score.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
import timing
from scipy import special

_ROWS, _CLASSES, _TEMPERATURE = 2000, 1000, 1.5
_VICTIMS = ((1, 5), (2, 12), (2.5, 20), (3, 25))


def kept(scores: np.ndarray, dtype: str) -> np.ndarray:
  """Scores [n, c] as they come back, float64."""
  if dtype in ("bfloat16", "log as float16"):
    if dtype == "bfloat16":
      return scores.astype(ml_dtypes.bfloat16).astype(np.float64)
    return np.exp(np.log(scores).astype(np.float16).astype(np.float64))
  from wsl_extraction.oracle.response import Quantity, Response
  from wsl_extraction.oracle.response_codec import ResponseCodec
  from wsl_extraction.oracle.reveals import Scores
  codec = ResponseCodec(Scores(), _CLASSES, dtype)
  response = Response(_CLASSES, Quantity.PROBABILITIES, {"values": scores})
  return codec.decode(codec.encode(response)).values.astype(np.float64)


def heated(scores: np.ndarray) -> np.ndarray:
  powers = scores ** (1 / _TEMPERATURE)
  return powers / powers.sum(axis=1, keepdims=True)


def _rows(count: int, spread: float, peak: float):
  rng = np.random.default_rng(0)
  logits = rng.normal(scale=spread, size=(count, _CLASSES))
  logits[:, 0] += peak * rng.uniform(0.5, 1, count)
  scores = special.softmax(logits, axis=1).astype(np.float32)
  target = heated(scores.astype(np.float64))
  largest = np.median(scores.max(axis=1))
  for dtype in ("log16", "float16", "bfloat16", "log as float16"):
    back = kept(scores, dtype)
    gap = special.rel_entr(heated(back), target).sum(axis=1)
    yield [f"{spread:g}, +{peak:g}: {largest:.3f}", dtype,
           f"{(back == 0).mean():.1%}", f"{gap.mean():.1e}", f"{gap.max():.1e}"]


def main() -> None:
  args = timing.arguments(__doc__, rounds=1)
  count = 50 if args.quick else _ROWS
  timing.publish(
      args, "What a response store's types do to distillation",
      timing.table(
          ["victim: spread, peak: median of the largest score", "type", "lost",
           "gap, mean", "gap, largest"],
          [row for victim in _VICTIMS for row in _rows(count, *victim)]))


if __name__ == "__main__":
  main()
