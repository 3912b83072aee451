"""Learning from a remote victim, some of whose answers are lost."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from fixtures.learning_attacks import (
    BUDGET,
    CLASSES,
    EAGER,
    SHAPE,
    knowledge,
    learning,
    predict,
)
from wsl_extraction.attacks.extraction import Status
from wsl_extraction.objectives.distillation import Distillation
from wsl_extraction.oracle.exchanges import AnswerLost, Link
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.responders import BareVictim, Live
from wsl_extraction.oracle.response import Quantity
from wsl_extraction.oracle.response_store import ResponseStore
from wsl_extraction.oracle.reveals import Logits
from wsl_extraction.oracle.spaces import Images
from wsl_extraction.runtime.runtime import Runtime


@pytest.mark.parametrize("rounds", [1, 3])
def test_lost_answers_leave_a_copy_of_what_was_answered(tmp_path, rounds):
  """A budget that lost answers take is no reason to lose the others too."""
  seen, requests = [], itertools.count(1)

  def answer(images):
    seen.extend(images)
    if next(requests) % 3 == 2:
      raise AnswerLost("the connection broke")
    return predict(images)

  def extraction():
    with ResponseStore(tmp_path / "s", Logits(), CLASSES) as store:
      oracle = Oracle(Live(BareVictim(
          Images(*SHAPE), CLASSES, {Quantity.LOGITS: answer}, remote=True,
          link=Link(2, resends=9)), Logits()), BUDGET, store)
      attack = learning(Distillation(), rounds=rounds, query_batch_size=4)
      return attack(oracle, knowledge(attack), 0,
                    Runtime(compile_options=EAGER, folder=tmp_path)), store

  first, store = extraction()
  lost = 2 * (len(seen) // 2 // 3 + (len(seen) // 2 % 3 == 2))
  assert store.spent == len(seen) <= BUDGET
  assert first.figure("labeled") == BUDGET - lost == len(seen) - lost
  assert first.status is Status.BUDGET_EXHAUSTED
  assert first.missing.startswith(f"{lost} responses")
  # Run again, it asks nothing and ends in the same weights.
  again, _ = extraction()
  assert len(seen) == store.spent
  for ours, theirs in zip(first.surrogate.get_weights(),
                          again.surrogate.get_weights(), strict=True):
    np.testing.assert_array_equal(ours, theirs)
