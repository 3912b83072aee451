"""Equal rows: duplicates in the pool, and test rows that the pool holds."""

from __future__ import annotations

import numpy as np

import wsl_extraction as wsl
from example import least_squares
from fixtures import commands, learning_attacks
from wsl_extraction.objectives.distillation import Distillation
from wsl_extraction.report import run_table
from wsl_extraction.runtime.runtime import Runtime


def victim():
  def scores(images):
    logits = learning_attacks.predict(images)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)

  return wsl.Function(scores, outputs="probabilities", num_classes=3)


def extracted(pool, test, budget):
  return wsl.extract(
      victim(), pool=pool, test=test, budget=budget, value_range=(0, 255),
      attack=learning_attacks.learning(Distillation()),
      runtime=Runtime(compile_options=learning_attacks.EAGER))


def rows(count, seed=0):
  examples = learning_attacks.labelled_pool(count, seed)
  return np.asarray(examples.rows), examples.labels


def test_repeats_are_counted_and_shown():
  images, _ = rows(20)
  test = rows(10, seed=5)
  test[0][:3] = images[[4, 4, 9]]
  copy = extracted(np.concatenate([images, images[:8]]), test, 28)
  assert copy.queries == 28  # a service without a store has seen them all
  assert copy.result["repeats"] == {
      "pool": 28, "in_pool": 8, "test": 10, "test_in_pool": 3}
  shown = " ".join(str(copy).split())
  assert "pool 20 of 28 examples are distinct" in shown
  assert "test set 3 of 10 examples are in the pool too" in shown
  with_store = run_table.result_table({**copy.result, "queries": 20})
  assert ("20 charged of a budget of 28, as equal examples are charged once"
          in " ".join(with_store.split()))
  # A baseline that asks nothing saves nothing by them.
  assert "equal" not in run_table.result_table({**copy.result, "queries": 0})


def test_nothing_is_said_of_distinct_rows():
  copy = extracted(rows(20)[0], rows(10, seed=5), 20)
  assert copy.result["repeats"] == {
      "pool": 20, "in_pool": 0, "test": 10, "test_in_pool": 0}
  assert "equal" not in str(copy) and "pool" not in str(copy)


def test_an_attack_that_makes_up_its_rows_has_no_repeats():
  x = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
  copy = wsl.extract(
      wsl.Function(lambda rows: np.eye(3)[rows[:, :3].argmax(axis=1)],
                   outputs="probabilities", num_classes=3),
      pool=np.concatenate([x, x]), test=x, value_range=(-9, 9), budget=80,
      reveal="label", attack=least_squares.LeastSquares(rows=80))
  assert copy.result["repeats"] is None
  assert "pool too" not in str(copy)


def test_label_says_how_many_examples_are_distinct(tmp_path):
  commands.write_modules(tmp_path)
  images = np.random.default_rng(0).integers(0, 256, (100, 8, 8, 1), np.uint8)
  np.savez(tmp_path / "d.npz", x=np.concatenate([images, images]),
           y=np.arange(200) % 10)
  done = commands.run_label(tmp_path, "d.npz", 180, 20)
  assert done.status == 0, done.stderr
  distinct = int(done.stdout.split("(")[1].split(" of them")[0])
  assert 90 <= distinct <= 100
  assert f"180 of 180 examples ({distinct} of them distinct) answered" in (
      done.stdout)
  assert f"{distinct} queries charged" in done.stdout
