"""Active learning: choose, ask, train, repeat, also after an interruption."""

from __future__ import annotations

import contextlib
import dataclasses
import json

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.learning_attacks import (
    BUDGET,
    CLASSES,
    EAGER,
    POOL,
    knowledge,
    learning,
    linear_network,
    oracle,
    pool,
    row_set,
    run,
)
from wsl_extraction.attacks.learning import query_log
from wsl_extraction.errors import InputError
from wsl_extraction.objectives.distillation import Distillation
from wsl_extraction.objectives.mixmatch import MixMatch
from wsl_extraction.objectives.objective import Supervised
from wsl_extraction.oracle.response_store import ResponseStore
from wsl_extraction.oracle.reveals import Logits
from wsl_extraction.runtime.runtime import Runtime
from wsl_extraction.strategies.strategy import Strategy
from wsl_extraction.strategies.uncertainty import Entropy
from wsl_extraction.training import fit


class Interruption(Exception):
  """What stops an attack here."""


@dataclasses.dataclass(frozen=True)
class Spy(Strategy):
  """Chooses by entropy and remembers what it was shown."""

  shown: list = dataclasses.field(default_factory=list)

  def choose(self, probabilities, features, n, rng, asked):
    self.shown.append((probabilities, features, n, asked))
    return Entropy()(probabilities, features, n, rng, asked)


def around(folder=None, callbacks=lambda name, steps, rows: ()):
  return Runtime(folder=folder, training_callbacks=callbacks,
                 compile_options=EAGER)


@given(st.integers(0, 500), st.integers(1, 20))
def test_rounds_share_the_budget_evenly(count, number):
  sizes = query_log.sizes(count, number)
  assert sum(sizes) == count
  assert len(sizes) == number
  assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("objective", [Distillation(), MixMatch()])
def test_a_strategy_sees_a_surrogate_of_the_answers_so_far(objective):
  spy, names = Spy(), []
  attack = learning(objective, strategy=spy, rounds=3, round_steps=1)
  asked = oracle()
  attack(asked, knowledge(attack), 0, around(
      callbacks=lambda name, steps, rows: names.append((name, steps)) or ()))
  assert asked.ledger.rows == BUDGET
  assert names == [("round 2/3", 1), ("round 3/3", 1), ("surrogate", 2)]
  first, second, third = spy.shown
  np.testing.assert_array_equal(first[0], 1 / CLASSES)
  assert first[1].shape == (POOL, 0)
  for probabilities, features, n, _ in (second, third):
    assert n == BUDGET // 3
    assert features.shape == (POOL, 4)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert np.ptp(probabilities) > 1e-3
  assert (second[0] != third[0]).any()
  assert [len(asked) for *_, asked in spy.shown] == [0, 8, 16]
  assert set(second[3].tolist()) < set(third[3].tolist())


def test_features_and_probabilities_are_the_surrogates(monkeypatch):
  """Softmax of its last layer applied to the features."""
  spy, networks = Spy(), []
  real = fit.fit
  monkeypatch.setattr(fit, "fit", lambda student, *args, **kwargs: (
      networks.append(student.network), real(student, *args, **kwargs))[1])
  run(learning(Distillation(), strategy=spy, rounds=2))
  probabilities, features, _, _ = spy.shown[1]
  kernel, bias = networks[0].layers[-1].get_weights()
  powers = np.exp(features @ kernel + bias)
  np.testing.assert_allclose(
      probabilities, powers / powers.sum(axis=1, keepdims=True), rtol=1e-4)
  logits = networks[0].predict(pool().rows, verbose=0)
  np.testing.assert_allclose(
      features @ kernel + bias, logits, rtol=1e-4, atol=1e-5)


def test_one_round_is_what_it_was():
  """With one round nothing of the rounds shows."""
  one, plain = (
      run(attack, 5).surrogate.get_weights() for attack in (
          learning(Distillation(), rounds=1, round_steps=7),
          learning(Distillation())))
  for a, b in zip(one, plain, strict=True):
    np.testing.assert_array_equal(a, b)


def test_the_first_choice_of_a_seed_is_fixed(tmp_path):
  """By NumPy alone, so that published seeds keep their queries."""
  seen = []
  run(learning(Distillation()), 5, seen=seen)
  choosing = np.random.SeedSequence(5).spawn(4)[0].generate_state(1)[0] >> 1
  order = np.random.default_rng(int(choosing)).permutation(POOL)
  np.testing.assert_array_equal(
      np.concatenate(seen), pool().rows[order[:BUDGET]])


class StopAfter(keras.callbacks.Callback):
  """Raises at the end of the epoch of a number, over all trainings."""

  def __init__(self, left):
    super().__init__()
    self.left = left

  def on_epoch_begin(self, epoch, logs=None):
    self.left[0] -= 1
    if self.left[0] < 0:
      raise Interruption


@contextlib.contextmanager
def remembered(folder, seen):
  """An oracle whose responses and charges are kept, as `train` keeps them."""
  with ResponseStore(folder / "responses.sqlite", Logits(), CLASSES) as store:
    yield oracle(seen=seen, store=store)


ACTIVE = learning(Distillation(), {"checkpoint_every": 1}, strategy=Entropy(),
                  rounds=3)


@pytest.fixture(name="whole", scope="module")
def fixture_whole():
  """The weights of an attack that nothing interrupted."""
  return run(ACTIVE).surrogate.get_weights()


@pytest.mark.parametrize("epochs", [1, 2, 5])
def test_an_interrupted_attack_goes_on_and_pays_nothing_twice(
    tmp_path, epochs, whole):
  """Stopped in round 2, in round 3, or in the last training."""
  before, after, left = [], [], [epochs]
  with pytest.raises(Interruption), remembered(tmp_path, before) as asked:
    ACTIVE(asked, knowledge(ACTIVE), 0, around(
        tmp_path, lambda name, steps, rows: [StopAfter(left)]))
  chosen = json.loads((tmp_path / "queries.json").read_text())["rounds"]
  assert len(chosen) == 1 + epochs // 2
  assert row_set(np.concatenate(before)) == row_set(
      pool().rows[np.concatenate(chosen)])
  with remembered(tmp_path, after) as asked:
    resumed = ACTIVE(asked, knowledge(ACTIVE), 0, around(tmp_path))
    assert asked.ledger.rows == BUDGET
  both = np.concatenate([*before, *after])
  assert len(both) == len(row_set(both)) == BUDGET
  for a, b in zip(whole, resumed.surrogate.get_weights(), strict=True):
    np.testing.assert_array_equal(a, b)
  assert {path.name for path in tmp_path.iterdir()} == {
      "queries.json", "checkpoint.npz", "responses.sqlite"}


def test_a_choice_once_made_is_not_made_again(tmp_path):
  """Another machine may compute other last bits, and so another choice."""
  run(ACTIVE, runtime=around(tmp_path))
  written = (tmp_path / "queries.json").read_text()
  (tmp_path / "checkpoint.npz").unlink()
  seen = []
  spy = Spy()
  other = dataclasses.replace(ACTIVE, strategy=spy)
  run(other, runtime=around(tmp_path), seen=seen)
  assert not spy.shown
  assert (tmp_path / "queries.json").read_text() == written
  assert len(np.concatenate(seen)) == BUDGET


@pytest.mark.parametrize("content", [
    "{", "[]", '{"rounds": [[1, 1]]}', '{"rounds": [[60]]}', "",
    '{"rounds": [[-1]]}', '{"rounds": [["a"]]}', '{"rounds": 3}',
    '{"rounds": [[]]}', '{"rounds": [[0, 1, 2]]}', '{"rounds": [1.7]}',
    json.dumps({"rounds": [list(range(24)), [24]]})])
def test_damaged_records_are_named_before_any_query(tmp_path, content):
  (tmp_path / "queries.json").write_text(content)
  seen = []
  with pytest.raises(InputError, match=r"queries.json is damaged") as refusal:
    run(learning(Distillation()), runtime=around(tmp_path), seen=seen)
  assert "\n" not in str(refusal.value)
  assert seen == []


def endless_network(input_shape, num_classes, value_range, seed):
  """Does not end in a dense layer."""
  made = linear_network(input_shape, num_classes, value_range, seed)
  return keras.Model(
      made.input, keras.layers.Rescaling(2.0)(made.output))


@pytest.mark.parametrize("change, message", [
    ({"rounds": 0}, "Learning.rounds is 0"),
    ({"rounds": 1.5}, "Learning.rounds is 1.5"),
    ({"rounds": BUDGET + 1}, "Learning.rounds is 25, more than the 24"),
    ({"round_steps": 0}, "Learning.round_steps is 0"),
    ({"strategy": Entropy()}, "Entropy chooses by a surrogate"),
    ({"rounds": 2, "recipe": {"network": endless_network}},
     "its features are needed"),
    ({"objective": MixMatch(), "recipe": {"unlabeled_batch_size": 0}},
     "no unlabelled images"),
    ({"objective": MixMatch(interleave=True),
      "recipe": {"unlabeled_batch_size": 3}}, "interleave needs as many"),
])
def test_settings_that_cannot_be_are_refused_before_any_query(change, message):
  seen = []
  with pytest.raises(InputError, match=message):
    run(learning(**{"objective": Distillation(), **change}), seen=seen)
  assert seen == []


def test_mixmatch_refuses_to_ask_about_all_of_the_pool():
  seen = []
  with pytest.raises(InputError, match="no unlabelled images"):
    run(learning(MixMatch()), budget=POOL, seen=seen)
  assert seen == []


def test_the_baseline_learns_actively_too():
  attack = learning(Supervised(), strategy=Entropy(), rounds=2)
  asked = oracle()
  extraction = attack(asked, knowledge(attack), 0, around())
  assert asked.ledger.rows == 0
  assert extraction.figure("labeled") == BUDGET
