"""What is measured of a surrogate, by hand and against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from fixtures import oracles
from wsl_extraction.data.examples import Examples
from wsl_extraction.errors import InputError
from wsl_extraction.evaluation import by_goal, metrics
from wsl_extraction.oracle.response_store import ResponseStore
from wsl_extraction.oracle.reveals import Logits

CLASSES = 7


class Table:
  """A model, of victim or surrogate, that looks its answer to a row up.

  Attributes:
    asked: The rows that it saw.
  """

  def __init__(self, scores):
    self.scores, self.asked = np.asarray(scores, np.float32), 0

  def __call__(self, rows):
    self.asked += len(rows)
    return self.scores[rows[:, 0].astype(int)]

  def predict(self, rows, batch_size, verbose):
    return self(rows)


def examples(count, labels=None):
  rows = np.arange(count, dtype=np.float64)[:, None]
  if labels is not None:
    labels = np.asarray(labels, np.int32)
  return Examples(rows, labels)


def examiner(victim, store=None):
  return oracles.oracle(victim, CLASSES, 1, "logits", store=store)


def choices(classes, seed=0):
  """Logits whose largest is at these classes."""
  logits = np.random.default_rng(seed).uniform(size=(len(classes), CLASSES))
  logits[np.arange(len(classes)), classes] = 2
  return logits


def counts(figures):
  return {name: figure.value for name, figure in figures.items()}


def test_figures_by_hand():
  victim, surrogate = Table(choices([0, 1, 2, 3])), Table(choices([0, 1, 4, 5]))
  # Of the surrogate's last row, classes 1 and 2 are the two least.
  surrogate.scores[3] = [0.5, 0.1, 0.2, 0.3, 0.4, 2.0, 0.6]
  found = by_goal.evaluate(surrogate, examiner(victim),
                           examples(4, [0, 2, 4, 1]))
  assert counts(found.oracle)["accuracy_top1"] == 1 / 4
  assert counts(found.surrogate)["accuracy_top1"] == 2 / 4
  assert counts(found.surrogate)["fidelity_top1"] == 2 / 4
  # Label 1 is not among its five best, the victim's choice 3 is.
  best = np.argsort(-surrogate.scores, axis=1)[:, :5]
  assert 1 not in best[3] and 3 in best[3]
  assert counts(found.surrogate)["accuracy_top5"] == np.mean(
      [label in row for label, row in zip([0, 2, 4, 1], best, strict=True)])
  assert counts(found.surrogate)["fidelity_top5"] == np.mean(
      [label in row for label, row in zip([0, 1, 2, 3], best, strict=True)])
  assert found.surrogate["fidelity_top1"] == metrics.proportion(2, 4)
  assert (found.measured, found.asked, found.certificate) == (4, 4, None)


def test_without_labels_only_fidelity_is_measured():
  victim = Table(choices([0, 1, 2, 3]))
  found = by_goal.evaluate(Table(choices([0, 1, 2, 4])), examiner(victim),
                           examples(4))
  assert found.oracle == {}
  assert set(found.surrogate) == {"fidelity_top1", "fidelity_top5"}
  assert found.surrogate["fidelity_top1"].value == 3 / 4


@pytest.mark.parametrize("victim, surrogate, constant", [
    ([0, 1, 2, 3], [2, 2, 2, 2], 2), ([2, 2, 2, 2], [2, 2, 2, 2], None),
    ([0, 1, 2, 3], [2, 2, 2, 0], None)])
def test_a_surrogate_that_always_gives_one_class(victim, surrogate, constant):
  measured = by_goal.evaluate(Table(choices(surrogate)), examiner(Table(
      choices(victim))), examples(4))
  assert measured.constant_class == constant


@pytest.mark.parametrize(("classes", "tops"), [(5, {1}), (6, {1, 5})])
def test_five_classes_have_no_best_five(classes, tops):
  victim = Table(np.eye(classes))
  asked = oracles.oracle(victim, classes, 1, "logits")
  figures = by_goal.evaluate(Table(np.eye(classes)), asked,
                             examples(classes, range(classes)))
  assert set(figures.oracle) == {f"accuracy_top{k}" for k in tops}
  assert set(figures.surrogate) == {
      f"{kind}_top{k}" for k in tops for kind in ("accuracy", "fidelity")}


def test_all_rows_count_once_however_many(tmp_path):
  classes = np.random.default_rng(1).integers(0, CLASSES, 2500)
  other = classes.copy()
  other[::100] = (other[::100] + 1) % CLASSES  # 25 of them, in every part
  victim = Table(choices(classes))
  path = tmp_path / "measured.sqlite"
  with ResponseStore(path, Logits(), CLASSES, dtype="float64") as store:
    first = by_goal.evaluate(
        Table(choices(other)), examiner(victim, store), examples(2500, classes))
    assert victim.asked == first.asked == first.measured == 2500
    again = by_goal.evaluate(
        Table(choices(other)), examiner(victim, store), examples(2500, classes))
  # What was stored is not asked again.
  assert (victim.asked, again.asked, again.measured) == (2500, 0, 2500)
  assert again.surrogate == first.surrogate and again.oracle == first.oracle
  assert first.surrogate["fidelity_top1"].value == 0.99
  assert first.oracle["accuracy_top1"].value == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_surrogate_that_diverged_is_refused(value):
  surrogate = Table(choices([0, 1]))
  surrogate.scores[1, 3] = value
  with pytest.raises(InputError, match="NaN or infinity; train it with a"):
    by_goal.evaluate(surrogate, examiner(Table(choices([0, 1]))), examples(2))
