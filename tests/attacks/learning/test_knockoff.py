"""Knockoff: what its bandit is shown, and where it looks then."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from fixtures import learning_attacks
from fixtures.learning_attacks import EAGER, POOL, oracle
from wsl_extraction.attacks.knowledge import Knowledge
from wsl_extraction.attacks.learning.knockoff import Knockoff
from wsl_extraction.attacks.learning.learning import Learning
from wsl_extraction.attacks.learning.session import Session
from wsl_extraction.errors import InputError
from wsl_extraction.objectives.distillation import Distillation
from wsl_extraction.oracle.response import softmax
from wsl_extraction.oracle.response_store import ResponseStore
from wsl_extraction.oracle.reveals import Logits
from wsl_extraction.runtime.runtime import Runtime
from wsl_extraction.strategies import bandit as bandits
from wsl_extraction.strategies.bandit import Bandit

RECIPE = learning_attacks.learning(Distillation(), {
    "network": learning_attacks.linear_network, "augment": None}).recipe
CLASSES = np.arange(POOL) % 4
NAMES = ("cat", "dog", "tree", "car")


@dataclasses.dataclass(frozen=True)
class Spy(Bandit):
  """Remembers the rewards that it is asked for."""

  shown: list = dataclasses.field(default_factory=list)

  def scores(self, responses, losses=None):
    self.shown.append((responses, losses))
    return super().scores(responses, losses)


def attack(bandit, **settings):
  return Knockoff(recipe=RECIPE, bandit=bandit, **{
      "rounds": 3, "round_steps": 1, **settings})


def run(one, folder=None, store=None, **settings):
  return one(oracle(store=store, **settings), Knowledge(
      learning_attacks.pool(), pool_classes=CLASSES, pool_class_names=NAMES),
      0, Runtime(folder=folder, compile_options=EAGER))


def test_without_a_bandit_it_is_learning_from_random_images():
  plain = learning_attacks.run(Learning(
      objective=Distillation(temperature=1.0), recipe=RECIPE))
  knockoff = learning_attacks.run(Knockoff(recipe=RECIPE))
  for a, b in zip(plain.surrogate.get_weights(),
                  knockoff.surrogate.get_weights(), strict=True):
    np.testing.assert_array_equal(a, b)


def test_rewards_are_of_responses_and_of_the_surrogate_that_chose(
    monkeypatch):
  spy, outputs, chosen = Spy(), [], []
  look = Session.surrogate_outputs
  monkeypatch.setattr(
      Session, "surrogate_outputs", lambda self, number: (
          outputs.append(look(self, number)[0]),
          chosen.append(self.log.chosen), (outputs[-1], None))[2])
  extraction = run(attack(spy))
  assert len(outputs) == 3 and len(spy.shown) == 2
  rows = [learning_attacks.pool().rows[one] for one in chosen[-1]]
  expected = [softmax(learning_attacks.predict(one)) for one in rows]
  for number, (responses, losses) in enumerate(spy.shown):
    np.testing.assert_allclose(
        responses, np.concatenate(expected[:number + 1]), rtol=1e-5)
    np.testing.assert_allclose(losses, np.concatenate([
        bandits.losses(expected[past], outputs[past][chosen[-1][past]])
        for past in range(number + 1)]), rtol=1e-5)
  np.testing.assert_allclose(outputs[0], 1 / 3)
  assert sum(extraction.figure("classes_asked")) == 24
  assert extraction.figure("strategy") == "Spy"


def test_no_surrogate_is_trained_for_certainty_and_diversity():
  names = []
  attack(Bandit(("certainty", "diversity")), rounds=6)(
      oracle(), Knowledge(learning_attacks.pool(), pool_classes=CLASSES), 0,
      Runtime(compile_options=EAGER, training_callbacks=lambda name, *size: (
          names.append(name) or ())))
  assert names == ["surrogate"]


def test_it_asks_where_responses_are_sure():
  """Images of one class are bright, and the victim is sure of them."""
  rng = np.random.default_rng(0)
  rows = rng.integers(0, 30, (400, 8, 8, 1), np.uint8)
  classes = np.arange(400) % 4
  rows[classes == 2, 0, 0] = 255
  extraction = attack(Bandit(("certainty",)), rounds=20)(
      oracle(budget=80), Knowledge(
          learning_attacks.Examples(rows), pool_classes=classes,
          pool_class_names=NAMES), 0, Runtime(compile_options=EAGER))
  counts = extraction.figure("classes_asked")
  assert counts[2] > 40  # of 80; 20 at random
  text = next(one.text for one in extraction.figures
              if one.name == "classes_asked")
  assert text.startswith("most of tree")


class Interruption(Exception):
  """What stops an attack here."""


@pytest.mark.parametrize(
    "number", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_after_an_interruption_the_same_choices(tmp_path, monkeypatch, number):
  expected = run(attack(Bandit()))
  ask = Session.ask

  def stopping(self, now):
    if now == number and not (tmp_path / "stopped").exists():
      (tmp_path / "stopped").write_text("")
      raise Interruption
    ask(self, now)

  monkeypatch.setattr(Session, "ask", stopping)
  for stops in (True, False):
    with ResponseStore(tmp_path / "r.sqlite", Logits(), 3) as store:
      if stops:
        with pytest.raises(Interruption):
          run(attack(Bandit()), tmp_path, store)
        continue
      extraction = run(attack(Bandit()), tmp_path, store)
  held = json.loads((tmp_path / "queries.json").read_text())
  assert list(map(len, held["rounds"])) == [8, 8, 8]
  assert list(map(len, held["losses"])) == [8, 8]
  assert extraction.figure("classes_asked") == expected.figure("classes_asked")
  for a, b in zip(expected.surrogate.get_weights(),
                  extraction.surrogate.get_weights(), strict=True):
    np.testing.assert_array_equal(a, b)


def test_what_cannot_be_is_refused():
  for settings, message in (
      ({"bandit": Bandit}, r"Knockoff\.bandit is"),
      ({"bandit": Bandit(), "rounds": 1}, r"Knockoff\.rounds is 1, and a")):
    with pytest.raises(InputError, match=message):
      attack(**settings)
  with pytest.raises(InputError, match="which needs 'label_score'"):
    run(attack(Bandit()), reveal="label")
  with pytest.raises(InputError, match=r"give Experiment\.pool_dataset"):
    learning_attacks.run(attack(Bandit()))
