"""One call of a learning-based attack: asking, seeing, training."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from wsl_extraction.attacks.attack import Surroundings
from wsl_extraction.attacks.learning import query_log
from wsl_extraction.data.datasets import Examples
from wsl_extraction.errors import InputError
from wsl_extraction.networks.graph import ends, penultimate
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.response import Response
from wsl_extraction.training import batches, fit, optimizers
from wsl_extraction.training.student import Student

# Answers to keep in memory; as targets a value takes five bytes.
_MOST_VALUES = 50_000_000


def streams(*seed: int) -> list[int]:
  """Seeds for choosing, building, ordering and augmenting."""
  return [int(child.generate_state(1)[0] >> 1)
          for child in np.random.SeedSequence(seed).spawn(4)]


class Learner:
  """One call of `Learning`: what it was given, and what it found out.

  Attributes:
    asked: What was chosen so far.
    answers: The oracle's answers to it, if they are kept.
  """

  def __init__(self, attack: Any, oracle: Oracle, pool: Examples,
               surroundings: Surroundings, sizes: Sequence[int]):
    self.attack, self.oracle, self.pool = attack, oracle, pool
    self.surroundings, self.placement = surroundings, surroundings.placement
    self.asked = query_log.QueryLog(surroundings.folder, len(pool), sizes)
    self.placement.wait()  # all have read it, before one writes
    self.answers: list[Response] = []

  def student(self, seeds: Sequence[int]) -> Student:
    """An untrained surrogate, ready to be trained."""
    with self.placement.scope():
      return self._student(seeds)

  def _student(self, seeds: Sequence[int]) -> Student:
    attack, (building, _, augmenting) = self.attack, seeds
    try:
      network = attack.network(
          input_shape=self.oracle.input_shape,
          num_classes=self.oracle.num_classes,
          value_range=self.surroundings.value_range, seed=building)
      augment = attack.augment(seed=augmenting) if attack.augment else None
      optimizer = optimizers.accumulating(
          attack.optimizer(), attack.accumulate)
    except (TypeError, ValueError) as error:  # the user chose the parameters
      raise InputError("Learning's network, augment or optimizer cannot be "
                       f"made: {error}; mend its parameters") from error
    student = Student(
        network, attack.objective, seed=building + 1, augment=augment,
        accumulate=attack.accumulate, rematerialize=attack.rematerialize)
    self.placement.joined(student)
    student.compile(optimizer, **self.surroundings.compile_options)
    return student

  def choose(self, number: int, size: int, rng: np.random.Generator,
             seed: int) -> None:
    """Chooses the `size` examples of a round, in the first process for all."""
    seen = self.seen(number, seed)
    if self.placement.first:
      self.asked.add(
          self.attack.strategy(*seen, size, rng, self.asked.all()),
          self._names if self._streamed else None)
    self.placement.wait()
    if not self.placement.first:
      self.asked.read()

  @property
  def _streamed(self) -> bool:
    return not isinstance(self.pool.images, np.ndarray)

  def _names(self, chosen: np.ndarray) -> list[str]:
    return self.pool.images[chosen].names

  def ask(self, number: int) -> None:
    """Sends the examples of a round to the oracle."""
    if not self.attack.asks:
      return
    if not self.placement.first:
      self.placement.wait()  # until there are answers to be read
    images = self.pool.images[self.asked.chosen[number]]
    size = self.attack.query_batch_size
    for start in range(0, len(images), size):
      answer = self.oracle.query(images[start:start + size])
      if not self._asks_again:
        self.answers.append(answer)
    if self.placement.first:
      self.placement.wait()

  @property
  def _asks_again(self) -> bool:
    """Whether answers are too large to keep, and free when asked for again."""
    size = sum(self.asked.sizes) * self.oracle.num_classes
    return self.oracle.remembers and size > _MOST_VALUES

  def seen(self, number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [m, c] and features [m, f] of the pool, by a surrogate.

    Uniform and none (f = 0) in the first round, before there is one.
    """
    classes = self.oracle.num_classes
    if not number:
      return (np.broadcast_to(1 / classes, (len(self.pool), classes)),
              np.zeros((len(self.pool), 0)))
    _, *of_training = streams(seed, number)
    student = self.student(of_training)
    self.train(student, number, of_training)
    network = self.placement.alone(student.network)
    images, logits = ends(network)
    looking = keras.Model(images, [penultimate(network), logits])
    seen = [looking.predict(np.asarray(self.pool.images[start:start + 1024]),
                            batch_size=256, verbose=0)
            for start in range(0, len(self.pool), 1024)]
    features, logits = map(np.concatenate, zip(*seen, strict=True))
    probabilities = ops.convert_to_numpy(ops.softmax(np.float32(logits)))
    return probabilities, np.float32(features)

  def train(self, student: Student, number: int, seeds: Sequence[int]) -> None:
    """Trains on all answers so far, before round `number` or after the last."""
    attack, chosen = self.attack, self.asked.all()
    last = number == attack.rounds
    self._drop_checkpoints(number)
    rest = np.ones(len(self.pool), bool)
    rest[chosen] = False
    unlabeled = attack.unlabeled(np.count_nonzero(rest))
    steps = attack.steps if last else attack.round_steps or attack.steps
    data = batches.by_step(
        self._entries(chosen), steps * attack.accumulate,
        attack.batch_size // attack.accumulate, seeds[1],
        self.pool.images[rest & bool(unlabeled)],
        unlabeled // attack.accumulate, crop=attack.crop,
        shard=(self.placement.index, self.placement.count),
        rows=attack.asks and self._asks_again)
    with self.placement.scope():
      fit.fit(
          student, data, steps, checkpoint_every=attack.checkpoint_every,
          checkpoint=self._checkpoint(number), placement=self.placement,
          read=self.surroundings.read if self._streamed else None,
          complete=self._completion(chosen),
          callbacks=self.surroundings.callbacks(
              "surrogate" if last else f"round {number + 1}/{attack.rounds}",
              steps, attack.objective.images(attack.batch_size, unlabeled)))

  def _completion(
      self, chosen: np.ndarray) -> Callable[[dict[str, Any]], Any] | None:
    """Gives batches the answers that are not kept, if they are not."""
    if not (self.attack.asks and self._asks_again):
      return None
    asked = self.pool.images[chosen]

    def completed(batch: dict[str, Any]) -> dict[str, Any]:
      rest = {name: array for name, array in batch.items() if name != "rows"}
      answers = self.oracle.query(asked[batch["rows"]])
      return rest | batches.response_entries(answers, self.oracle.num_classes)

    return completed

  def _checkpoint(self, number: int) -> pathlib.Path | None:
    """Where the training before round `number`, or the last, is kept."""
    last = number == self.attack.rounds
    name = "checkpoint.npz" if last else f"round_{number + 1}.npz"
    return self.surroundings.folder and self.surroundings.folder / name

  def _drop_checkpoints(self, number: int) -> None:
    """Drops those before earlier rounds, which have chosen."""
    for old in range(1, number if self.placement.first else 1):
      if path := self._checkpoint(old):
        path.unlink(missing_ok=True)

  def _entries(self, chosen: np.ndarray) -> dict[str, np.ndarray]:
    entries = {"labeled": self.pool.images[chosen]}
    if self.attack.reads_labels:
      entries["labels"] = self.pool.labels[chosen]
    if self.answers:
      entries |= batches.response_entries(
          Response.join(self.answers), self.oracle.num_classes)
    return entries
