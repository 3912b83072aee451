"""The split of a data set between victim, adversary and test."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from wsl_extraction import checks
from wsl_extraction.data.examples import Dataset, Examples
from wsl_extraction.data.images import decode
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.rows import LazyRows
from wsl_extraction.oracle.spaces import Space


@dataclasses.dataclass(frozen=True)
class Split:
  """The numbers of examples of victim, adversary and examiner.

  Each part has the classes in the proportions of the data set, up to rounding,
  and is in random order. Private and pool come from the training examples; the
  test set from the data set's own, or from training examples that are in
  neither part if it has none. One seed gives the same private part and the
  same test set whatever the size of the pool.

  Attributes:
    private: Examples that the victim learns from.
    pool: Examples that the adversary may query.
    test: Examples on which both are measured.
    overlap: How many examples of the pool are also private.
    seed: Which split, 0 or more.
    balanced: The size of a class-balanced subset with which the pool begins,
      in random order, for the strategy `pool_order.PoolOrder`.
  """

  private: int
  pool: int
  test: int
  overlap: int = 0
  seed: int = 0
  balanced: int = 0

  def __post_init__(self):
    for field in dataclasses.fields(self):
      value = checks.whole(f"Split.{field.name}", getattr(self, field.name))
      object.__setattr__(self, field.name, value)
    if self.balanced > self.pool:
      raise InputError(f"Split.balanced is {self.balanced}, more than the pool "
                       f"of {self.pool}; choose it smaller")
    if self.overlap > min(self.private, self.pool):
      raise InputError(
          f"Split.overlap is {self.overlap}, more than private"
          f" ({self.private}) or pool ({self.pool}) hold; choose it smaller")

  def __call__(self, dataset: Dataset) -> Parts:
    """Splits a data set.

    Raises:
      InputError: The parts ask for more examples than there are.
    """
    self._check_size(dataset)
    order, private, pool, test = np.random.default_rng(self.seed).spawn(4)
    train = _stratified_order(dataset.train.known_labels, order)
    end = self.private - self.overlap + self.pool
    if dataset.test is None:
      source, held_out = dataset.train, train[::-1]
    else:
      source = dataset.test
      held_out = _stratified_order(dataset.test.known_labels, order)
    own = dataset.train.take(private.permutation(train[:self.private]))
    offered = train[self.private - self.overlap:end]
    # No order within the subset: it would tell which labels are equal.
    queried = dataset.train.take(np.concatenate([
        pool.permutation(part)
        for part in (offered[:self.balanced], offered[self.balanced:])
        if len(part)]) if len(offered) else offered)
    known = set(own.keys)
    return Parts(
        private=own,
        pool=queried,
        test=source.take(test.permutation(held_out[:self.test])),
        overlap=sum(key in known for key in queried.keys) if known else 0,
        space=dataset.space, class_names=dataset.class_names)

  def _check_size(self, dataset: Dataset) -> None:
    parts = {"private": self.private, "pool": self.pool}
    if dataset.test is None:
      parts["test"] = self.test
    elif self.test > len(dataset.test):
      raise InputError(
          f"Split.test is {self.test} and data set"
          f" {decode.printable(dataset.name)} has {len(dataset.test)} test"
          " examples; choose it smaller")
    needed = sum(parts.values()) - self.overlap
    if needed > len(dataset.train):
      shared = f" - overlap {self.overlap}" if self.overlap else ""
      listed = " + ".join(f"{name} {size}" for name, size in parts.items())
      raise InputError(
          f"Split needs {needed} examples ({listed}{shared}) and data set"
          f" {decode.printable(dataset.name)} has {len(dataset.train)} to"
          " split; choose smaller parts")


@dataclasses.dataclass(frozen=True, eq=False)
class Parts:
  """The parts of a data set that victim, adversary and examiner get.

  Attributes:
    private: What the victim learns from.
    pool: What the adversary may query.
    test: What both are measured on.
    overlap: Measured: how many rows of the pool are also private. Data sets
      with duplicates can exceed what the split asked for.
    space: The inputs.
    class_names: The names of the classes in the order of their numbers; None
      where their number is not known.
    pool_classes: Of a pool that is of another data set (`off_domain`), the
      classes int32 [n] of its rows there; None of the victim's own data set.
    pool_class_names: The names of these.
  """

  private: Examples
  pool: Examples
  test: Examples
  overlap: int
  space: Space
  class_names: tuple[str, ...] | None
  pool_classes: np.ndarray | None = None
  pool_class_names: tuple[str, ...] = ()

  @property
  def num_classes(self) -> int | None:
    """The number of classes, c; None where it is not known."""
    return None if self.class_names is None else len(self.class_names)

  @functools.cached_property
  def feature_ranges(self) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest value of each feature, finite [d] each.

    Those of the space; where it has none, of the rows of pool and test set.
    """
    d = self.space.features
    rows = [np.asarray(part.rows, np.float64).reshape(-1, d)
            for part in (self.pool, self.test)
            if not isinstance(part.rows, LazyRows)]
    rows = np.concatenate([np.zeros((0, d)), *rows])
    rows = np.where(np.isfinite(rows), rows, np.nan)
    seen = [np.fmin.reduce(rows, axis=0, initial=np.inf),
            np.fmax.reduce(rows, axis=0, initial=-np.inf)]
    low, high = (
        np.where(np.isfinite(end), end, other) for end, other in zip((
            np.broadcast_to(np.asarray(end, np.float64),
                            self.space.shape).ravel()
            for end in (self.space.low, self.space.high)), seen, strict=True))
    known = np.isfinite(low) & np.isfinite(high)
    return np.where(known, low, -1.0), np.where(known, high, 1.0)

  @functools.cached_property
  def repeats(self) -> dict[str, int]:
    """Equal rows: "in_pool", rows of the pool that are equal to one before.

    And "test_in_pool": rows of the test set that the pool holds too, by which
    a surrogate is measured on what it may have learned by heart. Beside them
    the sizes of both.
    """
    pool = set(self.pool.keys)
    return {"pool": len(self.pool), "in_pool": len(self.pool) - len(pool),
            "test": len(self.test),
            "test_in_pool": sum(key in pool for key in self.test.keys)}


def _stratified_order(labels: np.ndarray,
                      rng: np.random.Generator) -> np.ndarray:
  """Orders examples so that every stretch has the proportions of the whole.

  The shuffled members of a class of size m are laid at (j + u) / m for
  j = 0..m-1, one u in [0, 1) a class: systematic sampling within strata.

  Args:
    labels: `[n]` class numbers.
    rng: What decides.

  Returns:
    `[n]` indices.

  References:
    Madow and Madow, 1944, On the Theory of Systematic Sampling, I.
  """
  places = np.empty(len(labels))
  for label in np.unique(labels):
    members = rng.permutation(np.flatnonzero(labels == label))
    size = len(members)
    places[members] = (np.arange(size) + rng.random()) / size
  return np.argsort(places, kind="stable")
