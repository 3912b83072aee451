"""The weights that do best on examples held back."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from sklearn import metrics

from fixtures.learning_attacks import (
    EAGER,
    knowledge,
    learning,
    linear_network,
    oracle,
    predict,
    run,
)
from wsl_extraction.errors import InputError
from wsl_extraction.objectives.distillation import Distillation
from wsl_extraction.objectives.objective import Supervised
from wsl_extraction.oracle.response_store import ResponseStore
from wsl_extraction.oracle.reveals import Logits
from wsl_extraction.runtime.runtime import Runtime
from wsl_extraction.strategies.uncertainty import Entropy
from wsl_extraction.training import best_weights
from wsl_extraction.training.best_weights import BestWeights, macro_f1
from wsl_extraction.training.recipe import Recipe


def test_macro_f1_is_scikit_learns():
  rng = np.random.default_rng(0)
  for classes in (1, 2, 5):
    said, true = rng.integers(0, classes, (2, 30))
    assert macro_f1(said, true) == pytest.approx(
        metrics.f1_score(true, said, average="macro"))


def held_back(**settings):
  return learning(Distillation(), {
      "steps": 4, "checkpoint_every": 1, "network": linear_network,
      "augment": None},
                  strategy=Entropy(), rounds=2, round_steps=2,
                  validation=0.25, **settings)


def test_a_quarter_of_the_budget_is_not_learnt_from(monkeypatch):
  """And the best epoch's weights come back."""
  seen, best = [], []
  real = BestWeights.on_epoch_end

  def spy(self, epoch, logs=None):
    real(self, epoch, logs)
    seen.append((len(self._rows), self._best[0]))
    best.append(self._best[1])

  monkeypatch.setattr(BestWeights, "on_epoch_end", spy)
  asked = oracle()
  attack = held_back()
  extraction = attack(asked, knowledge(attack), 0,
                      Runtime(compile_options=EAGER))
  assert asked.ledger.rows == 24
  assert [count for count, _ in seen] == [6] * 6  # 2 and 4 epochs
  last = [score for _, score in seen[2:]]
  assert last == sorted(last)
  for got, expected in zip(
      [np.asarray(one) for one in extraction.surrogate.variables],
      best[-1], strict=True):
    np.testing.assert_array_equal(got, expected)


def test_rows_held_back_are_no_training_rows(monkeypatch):
  learnt = []
  real = Recipe.fit
  monkeypatch.setattr(Recipe, "fit", lambda self, student, labeled, *args,
                      **kwargs: (learnt.append(labeled["labeled"]),
                                 real(self, student, labeled, *args,
                                      **kwargs))[1])
  held = []
  begin = BestWeights.__init__
  monkeypatch.setattr(BestWeights, "__init__", lambda self, student, rows,
                      classes, path: (held.append((rows, classes)), begin(
                          self, student, rows, classes, path))[1])
  run(held_back())
  assert list(map(len, learnt)) == [9, 18]
  rows = {row.tobytes() for row in held[0][0]}
  assert len(rows) == 6
  np.testing.assert_array_equal(held[0][0], held[1][0])
  np.testing.assert_array_equal(held[0][1], predict(held[0][0]).argmax(1))
  for one in learnt:
    assert not rows & {row.tobytes() for row in one}


class Interruption(Exception):
  """What stops an attack here."""


def test_after_an_interruption_the_same_weights(tmp_path):
  class Stopping(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
      if epoch == 2:
        raise Interruption

  expected = run(held_back()).surrogate.get_weights()
  for stops in (True, False):
    with ResponseStore(tmp_path / "r.sqlite", Logits(), 3) as store:
      runtime = Runtime(
          folder=tmp_path, compile_options=EAGER,
          training_callbacks=lambda name, steps, rows, stops=stops: (
              [Stopping()] if stops and name == "surrogate" else []))
      attack = held_back()
      try:
        extraction = attack(
            oracle(store=store), knowledge(attack), 0, runtime)
      except Interruption:
        assert stops
      else:
        for a, b in zip(expected, extraction.surrogate.get_weights(),
                        strict=True):
          np.testing.assert_array_equal(a, b)
  assert (tmp_path / "round_3_best.npz").exists()
  assert not (tmp_path / "round_2_best.npz").exists()


def test_a_damaged_file_is_named(tmp_path):
  path = tmp_path / "round_2_best.npz"
  path.write_bytes(b"none")
  with pytest.raises(InputError, match=r"round_2_best\.npz is damaged"):
    run(held_back(), runtime=Runtime(folder=tmp_path, compile_options=EAGER))
  assert best_weights.macro_f1(np.array([1]), np.array([1])) == 1


@pytest.mark.parametrize("share, message", [
    (1.0, r"Learning\.validation is 1"), (-0.1, r"Learning\.validation is"),
    (0.01, "leaves 0 to choose by"), (0.95, "more than the 2 queries to")])
def test_shares_that_cannot_be(share, message):
  with pytest.raises(InputError, match=message):
    run(learning(Distillation(), strategy=Entropy(), rounds=3,
                 validation=share))


def test_baselines_have_nothing_to_hold_back():
  with pytest.raises(InputError, match="asks the oracle nothing"):
    learning(Supervised(), validation=0.2)
