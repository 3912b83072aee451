"""What to ask about next, against choices made in plain Python."""

from __future__ import annotations

import collections
import math

import hypothesis
import numpy as np
import pytest
import scipy.stats
from hypothesis import strategies as st

from wsl_extraction.errors import InputError
from wsl_extraction.strategies.adversarial import DeepFool, DeepFoolKCenter
from wsl_extraction.strategies.coverage import ClassBalanced, KCenter
from wsl_extraction.strategies.pool_order import PoolOrder
from wsl_extraction.strategies.random import Random
from wsl_extraction.strategies.strategy import Strategy
from wsl_extraction.strategies.uncertainty import (
    Entropy,
    LeastConfidence,
    Margin,
)

M, CLASSES, FEATURES = 40, 5, 6
# How sure a row of probabilities is, said in plain Python.
SURENESS = {
    Entropy: lambda row: sum(p * math.log(p) for p in row if p > 0),
    Margin: lambda row: sorted(row)[-1] - sorted(row)[-2],
    LeastConfidence: max,
}
ALL = (Random(), PoolOrder(), *(kind() for kind in SURENESS), ClassBalanced(),
       KCenter(), KCenter(space="probabilities"), DeepFool(), DeepFoolKCenter())
every = pytest.mark.parametrize(
    "strategy", ALL, ids=lambda strategy: type(strategy).__name__)
uncertain = pytest.mark.parametrize(
    "kind", SURENESS, ids=lambda kind: kind.__name__)
properties = hypothesis.settings(max_examples=30)
seeds = st.integers(0, 2**32 - 1)


def surrogate(m=M, seed=0, classes=CLASSES,
              kind: type[np.floating] = np.float32):
  rng = np.random.default_rng(seed)
  return (rng.dirichlet(np.ones(classes), m).astype(kind),
          rng.standard_normal((m, FEATURES)).astype(kind))


def generator(seed=0):
  return np.random.default_rng(seed)


# What every strategy keeps.


@every
@properties
@hypothesis.given(seed=seeds, m=st.integers(1, 30), data=st.data())
def test_chooses_different_examples_none_asked(strategy, seed, m, data):
  asked = data.draw(st.lists(st.integers(0, m - 1), unique=True))
  n = data.draw(st.integers(0, m - len(asked)))
  chosen = strategy(*surrogate(m, seed), n, generator(seed), asked)
  assert chosen.shape == (n,)
  assert np.issubdtype(chosen.dtype, np.integer)
  assert len({*chosen.tolist(), *asked}) == n + len(asked)
  assert {*chosen.tolist(), *asked} <= set(range(m))


@every
def test_all_that_is_left(strategy):
  asked = [3, 0, 17]
  chosen = strategy(*surrogate(), M - 3, generator(), asked)
  assert sorted([*chosen, *asked]) == list(range(M))
  assert not strategy(*surrogate(), 0, generator(), range(M)).size


@pytest.mark.parametrize(  # candidates depend on how many are chosen
    "strategy", [one for one in ALL if not isinstance(one, DeepFoolKCenter)],
    ids=lambda strategy: type(strategy).__name__)
@properties
@hypothesis.given(seed=seeds, few=st.integers(0, M))
def test_a_smaller_choice_begins_a_larger_one(strategy, seed, few):
  smaller, larger = (
      strategy(*surrogate(seed=seed), n, generator(seed)) for n in (few, M))
  np.testing.assert_array_equal(smaller, larger[:few])


def test_pool_order_keeps_the_order_of_the_pool():
  assert PoolOrder()(*surrogate(), 5, generator(3), [0, 2]).tolist() == [
      1, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "strategy", [one for one in ALL if not isinstance(one, PoolOrder)],
    ids=lambda strategy: type(strategy).__name__)
@pytest.mark.parametrize("asked", [(), (4, 1, 39)])
def test_random_before_there_is_a_surrogate(strategy, asked):
  uniform = np.broadcast_to(1 / CLASSES, (M, CLASSES))
  chosen = strategy(uniform, np.zeros((M, 0)), 20, generator(7), asked)
  order = [i for i in generator(7).permutation(M) if i not in asked]
  assert chosen.tolist() == order[:20]


@pytest.mark.parametrize(
    "strategy", [Entropy(), Margin(), LeastConfidence(), KCenter()],
    ids=lambda strategy: type(strategy).__name__)
@properties
@hypothesis.given(seed=seeds)
def test_the_order_of_the_pool_does_not_matter(strategy, seed):
  probabilities, features = surrogate(seed=seed, kind=np.float64)
  order = generator(seed).permutation(M)  # new position -> old
  asked = np.arange(4)
  chosen = strategy(probabilities, features, 20, generator(1), asked)
  moved = strategy(probabilities[order], features[order], 20, generator(2),
                   np.argsort(order)[asked])
  np.testing.assert_array_equal(order[moved], chosen)


@every
def test_inputs_are_left_alone_and_may_be_read_only(strategy):
  given = [*surrogate(), np.array([5, 2])]
  for array in given:
    array.flags.writeable = False
  strategy(*given[:2], 10, generator(), given[2])
  with pytest.raises(AttributeError):
    strategy.anything = 1


@every
@pytest.mark.parametrize("kind", ["float16", "float64", "bfloat16"])
def test_precisions(strategy, kind):
  ml_dtypes = pytest.importorskip("ml_dtypes")
  kind = ml_dtypes.bfloat16 if kind == "bfloat16" else kind
  probabilities, features = (array.astype(kind) for array in surrogate())
  chosen = strategy(probabilities, features, 15, generator())
  expected = strategy(probabilities.astype("float64"),
                      features.astype("float64"), 15, generator())
  np.testing.assert_array_equal(chosen, expected)


# What is refused.


@every
@pytest.mark.parametrize("n, asked, message", [
    (M + 2, (), f"asks for 2 more examples than the pool holds: {M + 2} of "
                f"{M}, 0 of which"),
    (M - 1, (3, 4), f"asks for 1 more examples than .* {M - 1} of {M}, 2 of"),
    (1, range(M), "asks for 1 more"),
    (-1, (), r"^n of \w+ is -1; give a whole number, 0 or more"),
    (2.0, (), r"^n of \w+ is 2.0; give a whole number, 0 or more"),
    (True, (), r"^n of \w+ is True; give a whole number, 0 or more"),
    (3, (0, M), f"asked holds {M}; give positions in the pool, from 0 to"),
    (3, (0, -1), "asked holds -1; give"),
    (3, (5, 7, 5), "asked holds 5 more than once"),
    (3, (0.0, 1.0), "asked has shape .* float64"),
    (3, ((0, 1),), "asked has shape"),
    (3, np.ones(M, bool), "asked has shape .* bool"),
])
def test_refuses_what_the_pool_does_not_hold(strategy, n, asked, message):
  with pytest.raises(InputError, match=message) as caught:
    strategy(*surrogate(), n, generator(), asked)
  assert "\n" not in str(caught.value)


@every
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_diverged_surrogate_is_refused(strategy, value):
  for which, name in enumerate(("probabilities", "features")):
    given = surrogate()
    given[which][7, 2] = value
    with pytest.raises(InputError, match=f"{name} are not all finite.*diverg"):
      strategy(*given, 3, generator())


@every
def test_arrays_that_do_not_fit_are_refused(strategy):
  probabilities, features = surrogate()
  for pair in ((probabilities, features[1:]), (probabilities[0], features),
               (probabilities, features[..., None]),
               (probabilities[:, :0], features)):
    with pytest.raises(InputError, match="probabilities have shape"):
      strategy(*pair, 3, generator())
  for wrong in (probabilities * 3, probabilities - 0.5):
    with pytest.raises(InputError, match=r"not all in 0\.\.1"):
      strategy(wrong, features, 3, generator())


@pytest.mark.parametrize("gives, message", [
    (np.array([1, 1, 2]), "twice"), (np.array([0, 1, 2]), "asked about"),
    (np.array([1, 2]), "gave"), (np.array([1.0, 2.0, 3.0]), "float64"),
    (np.array([1, 2, M]), "outside"), (np.array([-1, 2, 3]), "outside")])
def test_a_strategy_at_fault_is_named(gives, message):
  class Faulty(Strategy):

    def choose(self, probabilities, features, n, rng, asked):
      return gives

  with pytest.raises(ValueError, match=message) as caught:
    Faulty()(*surrogate(), 3, generator(), [0])
  assert "Faulty.choose" in str(caught.value)
  assert not isinstance(caught.value, InputError)


# Uncertainty.


def by_sureness(kind, probabilities, n, asked):
  rows = [[float(p) for p in row] for row in probabilities]
  left = [i for i in range(len(rows)) if i not in asked]
  return sorted(left, key=lambda i: SURENESS[kind](rows[i]))[:n]


@uncertain
@properties
@hypothesis.given(seed=seeds, classes=st.integers(2, 8))
def test_the_least_sure_first(kind, seed, classes):
  probabilities, features = surrogate(seed=seed, classes=classes)
  chosen = kind()(probabilities, features, 12, generator(seed), (1, 8))
  assert chosen.tolist() == by_sureness(kind, probabilities, 12, (1, 8))


@uncertain
def test_equally_sure_ones_in_random_order(kind):
  """Three levels, of which the second is reached by 2 of its 6 examples."""
  levels = np.array([[0.5, 0.5, 0], [0.25, 0.75, 0], [0, 0, 1]])
  level = np.array([2, 1, 1, 0, 2, 1, 0, 1, 1, 1])
  taken = collections.Counter()
  for seed in range(300):
    chosen = kind()(levels[level], np.zeros((10, 1)), 4, generator(seed))
    assert sorted(chosen[:2]) == [3, 6]
    assert (level[chosen[2:]] == 1).all()
    taken.update(chosen[2:].tolist())
  assert scipy.stats.chisquare(list(taken.values())).pvalue > 1e-4
  assert len(taken) == 6


def test_entropy_is_scipys_across_blocks():
  """More rows than are held in float64 at once, some zeros among them."""
  rng = generator(3)
  probabilities = rng.dirichlet(np.full(4, 0.05), 10_000)
  probabilities[::7] = np.eye(4)[rng.integers(0, 4, len(probabilities[::7]))]
  chosen = Entropy()(probabilities, np.zeros((10_000, 0)), 10_000, rng)
  entropies = scipy.stats.entropy(probabilities, axis=1)[chosen]
  assert (np.diff(entropies) <= 1e-15).all()


def test_they_disagree_where_they_should():
  rows = np.array([[0.40, 0.40, 0.20], [0.38, 0.31, 0.31], [0.41, 0.30, 0.29]])
  first = {kind: kind()(rows, np.zeros((3, 0)), 1, generator())[0]
           for kind in SURENESS}
  assert first == {Entropy: 1, Margin: 0, LeastConfidence: 1}


def test_one_class_leaves_nothing_to_doubt():
  for kind in SURENESS:
    chosen = kind()(np.ones((9, 1)), np.zeros((9, 0)), 9, generator(2))
    assert chosen.tolist() == generator(2).permutation(9).tolist()
