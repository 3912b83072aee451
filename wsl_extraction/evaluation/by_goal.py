"""The measures of a surrogate: accuracy, fidelity, and a certificate.

The victim is asked through an oracle of its own, with a ledger of its own:
measuring never charges the attacker, and is counted apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from wsl_extraction.data.examples import Examples
from wsl_extraction.equivalence.proofs import Proof
from wsl_extraction.errors import InputError
from wsl_extraction.evaluation import metrics
from wsl_extraction.evaluation.adversarial import Measures
from wsl_extraction.evaluation.metrics import Estimate
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.response import Response

_TOGETHER = 1024
_TOP = (1, 5)


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """Measured figures of a surrogate and of its oracle.

  Attributes:
    oracle: Figures of the oracle by name: accuracy_top1, accuracy_top5; none
      where the true labels are not known.
    surrogate: Figures of the surrogate: the same, and fidelity_top1 and
      fidelity_top5; see `metrics.fidelity`. None of the best five where there
      are five classes or fewer, of which every label is one.
    certificate: Bounds on the difference of the two, where the weights of
      both are known.
    measured: The rows of which the victim's answers were needed.
    asked: The rows of these that it was asked about now; others had been
      answered before.
    constant_class: The class that the surrogate gives to every test row, where
      the oracle does not; else None.
    more: Figures on other inputs; see `adversarial.Measures`.
  """

  oracle: Mapping[str, Estimate]
  surrogate: Mapping[str, Estimate]
  certificate: Proof | None = None
  measured: int = 0
  asked: int = 0
  constant_class: int | None = None
  more: Mapping[str, Estimate] = dataclasses.field(default_factory=dict)


def evaluate(surrogate: Any, examiner: Oracle, test: Examples,
             measures: Measures | None = None) -> Evaluation:
  """Scores oracle and surrogate on examples that neither was trained on.

  Args:
    surrogate: A Keras model that maps rows to scores in any increasing unit.
    examiner: Reveals all that the victim gives.
    test: The examples; without labels only fidelity is measured.
    measures: What else to measure, which asks the victim about more rows.

  Raises:
    InputError: The surrogate answers with NaN or infinity.
  """
  before, parts = examiner.ledger.rows, []
  for start in range(0, len(test), _TOGETHER):
    # Decoded once for both.
    rows = np.asarray(test.rows[start:start + _TOGETHER])
    parts.append((examiner.query(rows),
                  surrogate.predict(rows, batch_size=256, verbose=0)))
  responses = Response.join([response for response, _ in parts])
  scores = np.concatenate([score for _, score in parts])
  if not np.isfinite(scores).all():
    raise InputError("the surrogate answers with NaN or infinity; train it "
                     "with a smaller learning rate")
  oracle, figures = {}, {}
  tops = [k for k in _TOP if k == 1 or k < scores.shape[1]]
  if test.labels is not None:
    # A victim that names a few classes does not say which come after them.
    named = responses.arrays.get("classes")
    ranking = responses.values if named is None else responses.probabilities()
    for k in tops:
      if named is None or k <= named.shape[1]:
        oracle[f"accuracy_top{k}"] = metrics.accuracy(
            ranking, test.labels, k)
      figures[f"accuracy_top{k}"] = metrics.accuracy(scores, test.labels, k)
  for k in tops:
    figures[f"fidelity_top{k}"] = metrics.fidelity(
        scores, responses.top_classes, k)
  asked = examiner.ledger.rows - before
  more = {} if measures is None else measures(
      surrogate, examiner, test, responses.top_classes)
  made_up = examiner.ledger.rows - before - asked
  return Evaluation(
      oracle, figures, measured=len(test) + made_up, asked=asked + made_up,
      constant_class=_constant_class(scores, responses.top_classes), more=more)


def _constant_class(scores: np.ndarray, by_oracle: np.ndarray) -> int | None:
  classes = scores.argmax(axis=1)
  if len(set(by_oracle.tolist())) < 2 or len(set(classes.tolist())) > 1:
    return None
  return int(classes[0])
