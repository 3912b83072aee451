"""The contract that every attack keeps; an attack is added to ATTACKS."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import keras
import numpy as np
import pytest

from example.least_squares import LeastSquares
from fixtures import (
    learning_attacks,
    oracles,
    tree_victims,
    two_layer_networks,
)
from fixtures.learning_attacks import BUDGET, EAGER, learning
from wsl_extraction.attacks.attack import Attack
from wsl_extraction.attacks.data_sheet import Goal, Model, Queries
from wsl_extraction.attacks.extraction import Extraction, Status
from wsl_extraction.attacks.knowledge import Knowledge
from wsl_extraction.attacks.learning.copycat import Copycat
from wsl_extraction.attacks.learning.jacobian_augmentation import (
    JacobianAugmentation,
)
from wsl_extraction.attacks.learning.knockoff import Knockoff
from wsl_extraction.attacks.linear.dimension_coupling import DimensionCoupling
from wsl_extraction.attacks.linear.equation_solving import EquationSolving
from wsl_extraction.attacks.linear.lowd_meek import LowdMeek
from wsl_extraction.attacks.relu.functional import Functional
from wsl_extraction.attacks.tree.axis_search import AxisSearch
from wsl_extraction.attacks.tree.path_finding import PathFinding
from wsl_extraction.data.examples import Examples
from wsl_extraction.errors import InputError
from wsl_extraction.objectives.distillation import Distillation, LogitMatching
from wsl_extraction.objectives.mixmatch import MixMatch
from wsl_extraction.objectives.objective import Supervised
from wsl_extraction.objectives.rotation import Rotation
from wsl_extraction.oracle.response import NotRevealed
from wsl_extraction.oracle.reveals import (
    Label,
    LabelScore,
    Logits,
    Reveal,
    Scores,
    TopK,
)
from wsl_extraction.oracle.spaces import Images, Space, Vectors
from wsl_extraction.runtime import devices
from wsl_extraction.runtime.runtime import Runtime
from wsl_extraction.strategies.adversarial import DeepFoolKCenter
from wsl_extraction.strategies.bandit import Bandit
from wsl_extraction.strategies.coverage import KCenter
from wsl_extraction.strategies.uncertainty import Margin


@dataclasses.dataclass(frozen=True, kw_only=True)
class Victim:
  """A victim, and what the adversary has."""

  space: Space
  outputs: int
  predict: Callable[[np.ndarray], np.ndarray]
  knowledge: Callable[[Attack], Knowledge]


def linear(rows):
  weights = np.random.default_rng(0).normal(size=(6, 3))
  return rows @ weights - 0.1


IMAGES = Victim(space=Images(*learning_attacks.SHAPE),
                outputs=learning_attacks.CLASSES,
                predict=learning_attacks.predict,
                knowledge=learning_attacks.knowledge)
MANY_IMAGES = dataclasses.replace(IMAGES, knowledge=lambda attack: (
    learning_attacks.knowledge(attack, learning_attacks.labelled_pool(400))))
VECTORS = Victim(space=Vectors(6), outputs=3, predict=linear,
                 knowledge=lambda attack: Knowledge())
TWO_CLASSES = Victim(
    space=Vectors(6), outputs=2, knowledge=lambda attack: Knowledge(),
    predict=lambda rows: linear(rows)[:, :2])
TWO_LAYERS = Victim(
    space=two_layer_networks.space(), outputs=two_layer_networks.C,
    predict=two_layer_networks.function(*two_layer_networks.weights()),
    knowledge=lambda attack: Knowledge(Examples(
        two_layer_networks.images(50).astype(np.float32))))


UNIT_CUBE = Vectors(3, 0.0, 1.0)
TREE = Victim(
    space=UNIT_CUBE, outputs=3, knowledge=lambda attack: Knowledge(),
    predict=tree_victims.grown(0, UNIT_CUBE, 8))
STUMPS = dataclasses.replace(TREE, predict=tree_victims.stumps(0, 3, 9))


LABEL = Label()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
  """An attack, its victim, and what it is known to need and to spend.

  Attributes:
    needs: The least reveal that suffices.
    budget: What it gets.
    queries: What it spends of that; None if that depends on the seed.
    agreement: The share of fresh inputs on which surrogate and victim agree,
      at the least.
    thorough: A row with the settings that reach it, if they take long.
    canonical: Whether every seed gives the same result, to the last bit; None
      where rounding decides.
  """

  attack: Attack
  victim: Victim = IMAGES
  needs: Reveal = LABEL
  budget: int = BUDGET
  queries: int | None = BUDGET
  agreement: float = 0.0
  thorough: Row | None = None
  canonical: bool | None = False


IN_EARNEST = {
    "network": learning_attacks.linear_network, "augment": None, "steps": 150,
    "batch_size": 30,
    "optimizer": functools.partial(keras.optimizers.Adam, 0.05)}


def thorough(objective, agreement=0.75, **settings):
  """Training in earnest, of a network that can learn the victim."""
  attack = learning(objective, IN_EARNEST, **settings)
  return Row(attack=attack, victim=MANY_IMAGES, budget=200, agreement=agreement)


def linear_copy(kind, victim=None, agreement=0.75, **settings):
  """Training in earnest of an attack that has its own objective."""
  return Row(
      attack=kind(recipe=learning(Distillation(), IN_EARNEST).recipe,
                  **settings),
      victim=victim or MANY_IMAGES, budget=200, agreement=agreement)


BANDIT = Bandit(("certainty", "diversity"))
FEW = {"network": learning_attacks.linear_network, "augment": None}
FEW_STEPS = learning(Distillation(), FEW).recipe
# A pool of another data set than the victim's, in four folders.
FOLDERS = dataclasses.replace(IMAGES, knowledge=lambda attack: Knowledge(
    learning_attacks.labelled_pool(400).unlabeled(),
    pool_classes=np.arange(400) % 4))

ATTACKS = {
    "supervised": Row(
        attack=learning(Supervised()), queries=0,
        thorough=thorough(Supervised(), agreement=0.65)),
    "distillation": Row(
        attack=learning(Distillation()), thorough=thorough(Distillation())),
    "logit matching": Row(
        attack=learning(LogitMatching()), needs=Logits(),
        thorough=thorough(LogitMatching())),
    "rotation": Row(
        attack=learning(Rotation(base=Distillation())),
        thorough=thorough(Rotation(base=Distillation()))),
    "mixmatch": Row(
        attack=learning(MixMatch()),
        thorough=thorough(MixMatch(weight=1.0), agreement=0.6)),
    "active learning": Row(
        attack=learning(Distillation(), strategy=Margin(), rounds=3),
        thorough=thorough(Distillation(), strategy=Margin(), rounds=3)),
    "active and semi-supervised": Row(
        attack=learning(MixMatch(), strategy=KCenter(), rounds=2),
        thorough=thorough(MixMatch(weight=1.0), strategy=KCenter(), rounds=2,
                          agreement=0.6)),
    "copycat": Row(
        attack=Copycat(recipe=FEW_STEPS, balance=True),
        thorough=linear_copy(Copycat, agreement=0.6, balance=True)),
    "knockoff": Row(
        attack=Knockoff(recipe=FEW_STEPS, bandit=BANDIT, rounds=3),
        victim=FOLDERS, needs=LabelScore(),
        thorough=linear_copy(Knockoff, FOLDERS, bandit=BANDIT, rounds=10)),
    "active thief": Row(
        attack=learning(Distillation(), FEW, strategy=DeepFoolKCenter(),
                        rounds=2, validation=0.2),
        thorough=thorough(Distillation(), strategy=DeepFoolKCenter(), rounds=2,
                          validation=0.2, agreement=0.6)),
    "jacobian augmentation": Row(
        attack=JacobianAugmentation(recipe=FEW_STEPS, seeds=12, rho=1),
        thorough=linear_copy(JacobianAugmentation, agreement=0.6, seeds=100,
                             rho=1)),
    "functional": Row(
        attack=Functional(), victim=TWO_LAYERS, needs=Scores(), budget=2000,
        queries=None, agreement=1.0),
    "lowd meek": Row(
        attack=LowdMeek(), victim=TWO_CLASSES, budget=600, queries=None,
        agreement=1.0),
    "path finding": Row(
        attack=PathFinding(unique_scores=True), victim=TREE, needs=Scores(),
        budget=2000, queries=None, agreement=1.0, canonical=True),
    "equation solving": Row(
        attack=EquationSolving(), victim=VECTORS, needs=Scores(), budget=100,
        queries=6 + 1 + 16, agreement=1.0),
    "axis search": Row(
        attack=AxisSearch(points=8), victim=STUMPS, needs=Scores(), budget=1500,
        queries=None, agreement=1.0, canonical=None),
    "dimension coupling": Row(
        attack=DimensionCoupling(), victim=TWO_CLASSES, budget=400,
        queries=None, agreement=0.99, canonical=True),
    "least squares": Row(
        attack=LeastSquares(), victim=VECTORS, budget=600, queries=500,
        agreement=0.85),
}
CHAIN = (Label(), LabelScore(), TopK(2), Scores(), Logits())


def oracle(row, reveal=None, budget=None, seen=None):
  def predict(rows):
    if seen is not None:
      seen.append(rows)
    return row.victim.predict(rows)

  return oracles.oracle(
      predict, row.victim.outputs, row.victim.space, reveal or Logits(),
      budget=row.budget if budget is None else budget)


def run(row, seed=0, runtime=None, **settings) -> Extraction:
  return row.attack(
      oracle(row, **settings), row.victim.knowledge(row.attack), seed,
      runtime or Runtime(compile_options=EAGER))


@pytest.fixture(params=ATTACKS)
def row(request):
  return ATTACKS[request.param]


def test_it_states_what_it_is(row):
  attack = row.attack
  assert all(isinstance(need, Reveal) for need in attack.needs)
  assert isinstance(attack.queries, Queries)
  assert isinstance(attack.goal, Goal)
  assert isinstance(attack.model, Model)
  assert attack.name == attack.name.strip().lower()
  assert type(attack).__doc__


def test_it_spends_what_the_ledger_says(row):
  seen = []
  asked = oracle(row, seen=seen)
  extraction = row.attack(asked, row.victim.knowledge(row.attack), 0,
                          Runtime(compile_options=EAGER))
  assert asked.ledger.rows == sum(map(len, seen)) <= row.budget
  if row.queries is not None:
    assert asked.ledger.rows == row.queries
  assert extraction.status is Status.DONE, extraction.missing
  fresh = row.victim.space.sample(5, np.random.default_rng(0))
  assert extraction.surrogate.predict(
      fresh, verbose=0).shape == (5, row.victim.outputs)


def test_same_seed_same_result_other_seed_another(row):
  first, second, other = (
      run(row, seed).surrogate.get_weights() for seed in (3, 3, 4))
  for a, b in zip(first, second, strict=True):
    np.testing.assert_array_equal(a, b)
  if row.canonical is not None:
    assert row.canonical != any(a.shape != b.shape or (a != b).any()
                                for a, b in zip(first, other, strict=False))


def test_too_little_is_refused_before_the_first_query(row):
  sufficient = [reveal for reveal in CHAIN if reveal.covers(row.needs)]
  for reveal in CHAIN:
    seen = []
    if reveal in sufficient:
      row.attack.refuse_unfit(oracle(row, reveal),
                              row.victim.knowledge(row.attack))
      continue
    with pytest.raises(NotRevealed, match="is too little for"):
      run(row, reveal=reveal, seen=seen)
    assert seen == []


@pytest.mark.parametrize("budget", [0, 1, 7])
def test_it_stays_within_a_budget_that_is_too_small(row, budget):
  """It says so before it asks, or says so of what it gives back."""
  asked = oracle(row, budget=budget)
  try:
    extraction = row.attack(asked, row.victim.knowledge(row.attack), 0,
                            Runtime(compile_options=EAGER))
  except InputError:
    assert asked.ledger.rows == 0
  else:
    assert asked.ledger.rows <= budget
    assert row.attack.queries is not Queries.SYNTHETIC or (
        extraction.status is not Status.DONE and extraction.missing)


def test_it_recovers_its_victim(row):
  row = row.thorough or row
  extraction = run(row, runtime=Runtime(
      compile_options=devices.compile_options()))
  fresh = row.victim.space.sample(500, np.random.default_rng(9))
  copied = extraction.surrogate.predict(fresh, verbose=0)
  agreement = (copied.argmax(1) == row.victim.predict(fresh).argmax(1)).mean()
  assert agreement >= row.agreement


def test_inputs_of_another_kind_are_refused_before_the_first_query(row):
  seen = []
  for space in (Vectors(6), Images(8, 8, 1)):
    if isinstance(space, row.attack.space):
      continue
    other = oracles.oracle(seen.append, row.victim.outputs, space, "logits")
    with pytest.raises(InputError, match="choose another attack"):
      row.attack(other, row.victim.knowledge(row.attack), 0)
  assert seen == []


@pytest.mark.parametrize("seed", [-1, 2**31, 1.5, True, "0"])
def test_seeds_are_checked(row, seed):
  with pytest.raises(InputError, match="seed is"):
    run(row, seed)


@pytest.mark.parametrize("knowledge", [None, Examples(np.zeros((3, 6)))])
def test_knowledge_is_checked(row, knowledge):
  with pytest.raises(InputError, match="knowledge is"):
    row.attack(oracle(row), knowledge, 0)


def test_only_baselines_get_labels_and_none_gets_them_with_the_pool(
    row, monkeypatch):
  handed = []

  def spy(self, oracle, knowledge, rng, runtime):
    handed.append(knowledge)
    raise StopIteration

  monkeypatch.setattr(type(row.attack), "run", spy)
  labels = np.zeros(learning_attacks.POOL, np.int32)
  knowledge = dataclasses.replace(
      row.victim.knowledge(row.attack), pool_labels=labels)
  with pytest.raises(StopIteration):
    row.attack(oracle(row), knowledge, 0)
  assert handed[0].pool is None or handed[0].pool.labels is None
  assert (handed[0].pool_labels is not None) == row.attack.reads_labels


def test_an_attack_without_a_data_sheet_is_no_attack():
  with pytest.raises(TypeError, match="lacks the class attribute 'space'"):

    class Incomplete(Attack):
      needs = (Label(),)

      def run(self, oracle, knowledge, rng, runtime):
        del oracle, knowledge, rng, runtime
