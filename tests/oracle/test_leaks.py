"""Nothing is answered unpaid, paid unanswered, or seen unrevealed.

Each was possible once; `tests/test_attacks.py` and `tests/data` hold what
concerns attacks and pools.
"""

from __future__ import annotations

import threading

import numpy as np
import pytest
import scipy.special

from fixtures import oracles
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.ledger import BudgetExceeded
from wsl_extraction.oracle.outputs import VictimFailed
from wsl_extraction.oracle.response_store import ResponseStore
from wsl_extraction.oracle.reveals import Label, Logits
from wsl_extraction.oracle.rows import LazyRows
from wsl_extraction.oracle.spaces import Images


class Served:
  """A victim that counts the rows that it answers."""

  def __init__(self, predict):
    self.rows, self._predict = 0, predict

  def __call__(self, x):
    self.rows += len(x)
    return self._predict(x)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("scale", [1e30, 1e36, 3e38])
@pytest.mark.parametrize("reveal", ["label", "label_score", "scores"])
def test_overflow_is_paid_and_looks_like_any_answer(scale, reveal):
  """The sizes of weights were read off queries that overflow, unpaid."""
  weights = np.random.default_rng(1).normal(size=(6, 2)).astype(np.float32)
  served = Served(lambda x: x.astype(np.float32) @ weights * np.float32(10))
  oracle = oracles.oracle(served, 2, 6, reveal, budget=60)
  for row in np.eye(6, dtype=np.float32):
    response = oracle.query((row * np.float32(scale))[None])
    assert response.probabilities().sum() == pytest.approx(1)
  assert served.rows == oracle.ledger.rows == 6


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("values", [
    [np.nan, 1.0], [np.inf, 1.0], [np.inf, np.inf], [-np.inf, -np.inf],
    [np.nan, np.nan], [0.5, 0.5], [1e300, -1e300]])
@pytest.mark.parametrize("quantity", ["logits", "probabilities"])
def test_no_hidden_value_decides_on_an_error(values, quantity):
  served = Served(lambda x: np.tile(values, (len(x), 1)))
  oracle = oracles.oracle(served, 2, 6, "label", quantity=quantity, budget=3)
  assert oracle.query(np.zeros((3, 6))).classes.shape == (3, 1)
  assert served.rows == oracle.ledger.rows == 3


def test_a_poisoned_batch_is_paid(tmp_path):
  """One row that always failed made a whole batch free, asked anew for ever."""
  served = Served(lambda x: np.zeros((len(x), 3)) if (x < 9).all() else None)
  with ResponseStore(tmp_path / "s", Label(), 3) as store:
    for kept in (None, store):
      oracle = oracles.oracle(served, 3, 1, "label", budget=5, store=kept)
      served.rows = 0
      with pytest.raises(VictimFailed):
        oracle.query(np.array([[1.0], [2.0], [9.0]]))
      assert (served.rows, oracle.ledger.rows) == (3, 3)
      with pytest.raises(BudgetExceeded):
        oracle.query(np.array([[3.0], [4.0], [9.0], [5.0]]))


def test_an_answer_that_the_store_cannot_keep_is_paid(tmp_path):
  served = Served(lambda x: x + np.array([[1e6, 0.5]]))
  with ResponseStore(tmp_path / "s", Logits(), 2, {}, "float16") as store:
    oracle = oracles.oracle(served, 2, 1, "logits", budget=2, store=store)
    with pytest.raises(InputError, match="stays paid for; choose a wider"):
      oracle.query(np.array([[1.0]]))
    assert served.rows == oracle.ledger.rows == store.spent == 1
  with ResponseStore(tmp_path / "s", Logits(), 2, {}, "float16") as store:
    assert store.spent == 1


class Sly(np.ndarray):
  """Claims to be empty, now and then."""

  calls = 0

  def __len__(self):
    Sly.calls += 1
    return 0 if Sly.calls % 2 else self.shape[0]


@pytest.mark.parametrize("is_stored", [False, True])
def test_an_array_cannot_lie_about_its_length(tmp_path, is_stored):
  served = Served(lambda x: x[:, :3])
  x = np.arange(4000.0).reshape(1000, 4).view(Sly)
  with ResponseStore(tmp_path / "s", Logits(), 3) as store:
    oracle = oracles.oracle(served, 3, 4, "logits", budget=1,
                            store=store if is_stored else None)
    for _ in range(4):
      with pytest.raises(BudgetExceeded):
        oracle.query(x)
    assert served.rows == oracle.ledger.rows == 0


class Changing(LazyRows):
  """Claims one identity, and turns out to be many rows."""

  shape, dtype = (1, 2, 2, 1), np.dtype(np.uint8)

  @property
  def keys(self):
    return [b"k" * 16]

  def anonymous(self):
    return self

  def __len__(self):
    return 1

  def __getitem__(self, rows):
    return self

  def __array__(self, dtype=None, copy=None):
    return np.zeros((500, 2, 2, 1), np.uint8)


@pytest.mark.parametrize("is_stored", [False, True])
def test_rows_that_turn_out_to_be_more_are_not_answered(tmp_path, is_stored):
  served = Served(lambda x: np.zeros((len(x), 3)))
  with ResponseStore(tmp_path / "s", Label(), 3) as store:
    oracle = oracles.oracle(
        served, 3, Images(2, 2, 1), "label", budget=9,
        store=store if is_stored else None)
    with pytest.raises(InputError, match="stays charged"):
      oracle.query(Changing())
    assert (served.rows, oracle.ledger.rows) == (0, 1)


def test_a_query_that_changes_meanwhile_is_the_one_that_was_paid(tmp_path):
  """A thread of the adversary changed rows behind their identity."""
  x = np.zeros((1, 2))
  seen = []

  def predict(rows):
    x[:] = 7
    seen.append(rows.copy())
    return np.zeros((len(rows), 3))

  with ResponseStore(tmp_path / "s", Label(), 3) as store:
    oracle = oracles.oracle(predict, 3, 2, "label", store=store)
    original = store.missing

    def changed(keys):
      x[:] = 5
      return original(keys)

    store.missing = changed
    oracle.query(x)
  np.testing.assert_array_equal(seen, [[[0, 0]]])


def test_rounding_comes_before_ranking():
  scores = np.array([[0.2, 0.199, 0.201, 0.2005, 0.1995]])
  for dtype, decimals in ((None, 1), ("float16", 1)):
    response = oracles.oracle(lambda x: scores, 5, 1, "top_k:5",
                              quantity="probabilities", decimals=decimals,
                              dtype=dtype).query(np.zeros((1, 1)))
    np.testing.assert_array_equal(response.classes, [[0, 1, 2, 3, 4]])
  named = oracles.oracle(lambda x: scores, 5, 1, "label",
                         quantity="probabilities", decimals=1)
  assert named.query(np.zeros((1, 1))).top_classes.tolist() == [0]


def test_casting_comes_before_ranking():
  scores = np.array([[0.25, 0.25 + 1e-6, 0.25 - 1e-6, 0.25]])
  response = oracles.oracle(
      lambda x: scores, 4, 1, "top_k:4", quantity="probabilities",
      dtype="float16").query(np.zeros((1, 1)))
  np.testing.assert_array_equal(response.classes, [[0, 1, 2, 3]])


def test_a_victim_that_works_in_place_gets_a_copy():
  def predict(x):
    x -= x.mean()
    return np.repeat(x, 2, axis=1)

  x = np.random.default_rng(0).normal(size=(4, 1)) + 5
  before = x.copy()
  oracles.oracle(predict, 2, 1).query(x)
  np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("reveal", ["label", "top_k:2", "scores", "logits"])
def test_a_response_leads_to_no_other_array(reveal):
  """A view has a `base`, which would hold all that was cut away."""
  kept = np.random.default_rng(0).normal(size=(2, 6))
  response = oracles.oracle(lambda x: kept[:, :3], 3, 1, reveal).query(
      np.zeros((2, 1)))
  before = kept.copy()
  for array in response.arrays.values():
    assert array.base is None
    array[:] = 1
  np.testing.assert_array_equal(kept, before)


def test_error_texts_hold_no_number_of_the_answer():
  for values in ([0.123456, 0.5, 0.1], [[0.7], [0.1], [0.123456]],
                 "0.123456", {"score": 0.123456}):
    oracle = oracles.oracle(lambda x, values=values: values, 3, 1, "label",
                            quantity="probabilities")
    with pytest.raises(InputError) as caught:
      oracle.query(np.zeros((1, 1)))
    assert "0.1" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_slightly_negative_scores_never_become_nan():
  scores = np.array([[0.6, 0.4 + 2e-9, -2e-9]])
  for reveal in ("scores", "top_k:3", "top_k:2", "label_score"):
    response = oracles.oracle(lambda x: scores, 3, 1, reveal,
                              quantity="probabilities").query(np.zeros((1, 1)))
    assert not np.isnan(response.log_scores()).any()
    np.testing.assert_allclose(
        np.exp(response.log_scores()).sum(axis=1), 1, rtol=1e-6)


def test_threads_at_the_last_row_of_a_budget():
  served = Served(lambda x: scipy.special.softmax(x, axis=1))
  oracle = oracles.oracle(served, 2, 2, "label", budget=1)
  start, refused = threading.Barrier(8), []

  def work(number):
    start.wait()
    try:
      oracle.query(np.full((1, 2), float(number)))
    except BudgetExceeded:
      refused.append(number)

  threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert (served.rows, len(refused)) == (1, 7)
