"""One extraction experiment, as gin files describe it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np

from wsl_extraction import cli
from wsl_extraction.attacks.attack import Attack
from wsl_extraction.data import datasets
from wsl_extraction.data.datasets import Dataset, Examples
from wsl_extraction.data.split import Parts, Split
from wsl_extraction.errors import InputError
from wsl_extraction.evaluation import metrics
from wsl_extraction.oracle import response_store
from wsl_extraction.oracle.ledger import Ledger
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.response import Response
from wsl_extraction.oracle.response_codec import ResponseCodec
from wsl_extraction.oracle.reveals import Access
from wsl_extraction.report import progress
from wsl_extraction.runtime import devices, distribution
from wsl_extraction.runtime.placement import ONE_DEVICE, Placement
from wsl_extraction.victims import victim as victims
from wsl_extraction.victims.victim import Victim

_EXAMINED = 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
  """Who attacks whom, with what data, through which window, at what cost.

  Attributes:
    dataset: The name of a data set, or a path; see `datasets.load`.
    split: How it is divided between victim, adversary and test.
    victim: Makes the victim: `trained.Trained`, `keras_file.KerasFile` or
      `function.Function`.
    attack: The attack.
    access: What the oracle reveals: label, label_score, top_k, scores, logits.
    k: At top_k, how many classes.
    decimals: The oracle rounds what it reveals to so many; None does not.
    dtype: The type of what it reveals; None is the victim's own.
    budget: The queries that the attack may spend; None is the whole
      pool, or no limit for an attack that makes up its queries.
    image_size: For data sets whose images differ in size: pixels a side.
    streamed: Images stay files, and are decoded when they are needed: for data
      sets that are larger than memory, and for `Learning.crop`.
    transfer_set: A file written by `label`, whose responses are used instead
      of asking the victim again (they count as queries all the same).
    response_dtype: The type in which responses are kept: float16, float32,
      float64, or log16 for scores of many classes, of which float16 loses the
      small ones (docs/results/label_encoding.md).
    precision: In what numbers networks compute: float32, mixed_bfloat16, or
      auto for the one that suits the device; see `devices.set_precision`.
    seed: Of the attack.
  """

  dataset: str = "mnist5k"
  split: Split
  victim: Callable[[Dataset, Parts, victims.Surroundings], Victim]
  attack: Attack
  access: Access | str = "scores"
  k: int | None = None
  decimals: int | None = None
  dtype: str | None = None
  budget: int | None = None
  image_size: int | None = None
  streamed: bool = False
  transfer_set: str | None = None
  response_dtype: str = "float32"
  precision: str = "auto"
  seed: int = 0

  def __post_init__(self):
    if self.budget is not None and (
        isinstance(self.budget, bool) or not isinstance(self.budget, int)
        or self.budget < 1):
      raise InputError(f"Experiment.budget is {self.budget!r}; give a whole "
                       "number of queries, 1 or more")
    object.__setattr__(self, "access", Access.parse(self.access))
    self._check_types()
    devices.check_precision(self.precision, "Experiment.precision")
    if not isinstance(self.streamed, bool):
      raise InputError(f"Experiment.streamed is {self.streamed!r}; give True or"
                       " False")
    if isinstance(self.seed, bool) or not isinstance(self.seed, int) or (
        not 0 <= self.seed < 2**31):
      raise InputError(f"Experiment.seed is {self.seed!r}; give a whole number "
                       f"from 0 to {2**31 - 1}")
    if self.access < self.attack.requires:
      raise InputError(
          f"Experiment.access is {self.access.name.lower()!r}, too little for "
          f"{self.attack.name}, which needs "
          f"{self.attack.requires.name.lower()!r}; raise it or choose another "
          "objective")

  def _check_types(self):
    transfer_set = self.transfer_set
    if transfer_set is not None and not isinstance(transfer_set, str):
      raise InputError(f"Experiment.transfer_set is {transfer_set!r}; give the "
                       "path of a file, or None")
    for name, kind in (("attack", Attack), ("split", Split), ("dataset", str)):
      if not isinstance(getattr(self, name), kind):
        raise InputError(f"Experiment.{name} is {getattr(self, name)!r}; give "
                         f"an object of type {kind.__name__}")
    # A class is callable too: of a reference without parentheses.
    if not callable(self.victim) or isinstance(self.victim, type):
      raise InputError(f"Experiment.victim is {self.victim!r}; give what makes "
                       "one, such as @trained.Trained()")

  def check(self, dataset: Dataset, parts: Parts,
            placement: Placement = ONE_DEVICE) -> None:
    """Raises what oracle and attack would refuse, before a victim is trained.

    Raises:
      InputError: The oracle's settings cannot be, the transfer set is missing,
        the budget exceeds the pool, there is nothing to test on, or a batch
        cannot be divided among the devices.
    """
    oracle = self.check_oracle(dataset)
    ResponseCodec(self.access, self.k, dataset.num_classes, self.response_dtype)
    if self.transfer_set and not pathlib.Path(self.transfer_set).is_file():
      raise InputError(f"there is no transfer set {self.transfer_set}; write "
                       "it with `python -m wsl_extraction.label`")
    if self.attack.asks_pool and self.budget is not None and (
        self.budget > len(parts.pool)):
      raise InputError(f"Experiment.budget is {self.budget}, more than the "
                       f"pool of {len(parts.pool)}; lower it or raise "
                       "Split.pool")
    if not len(parts.test):
      raise InputError("there is nothing to test on; raise Split.test")
    self.attack.check(oracle, parts.pool)
    distribution.check_batches(
        self.attack.batch_sizes(oracle, parts.pool), placement.replicas,
        placement.count)

  def check_oracle(self, dataset: Dataset) -> Oracle:
    """An oracle without a victim, on the attack's budget.

    Raises:
      InputError: k, decimals or dtype cannot be.
    """
    nobody = Victim(lambda _: None, "logits", dataset.input_shape,
                    dataset.num_classes, "")
    return self.oracle(nobody, Ledger(self.budget))

  def data(self) -> tuple[Dataset, Parts]:
    """Loads the data set and splits it."""
    with contextlib.ExitStack() as shown:
      dataset = datasets.load(
          self.dataset, data_dir=cli.FLAGS.data_dir,
          image_size=self.image_size, streamed=self.streamed,
          progress=_Indexing(shown))
    return dataset, self.split(dataset)

  def oracle(self, victim: Victim, ledger: Ledger) -> Oracle:
    """The victim as the adversary sees it."""
    return Oracle(
        victim.predict, outputs=victim.outputs, input_shape=victim.input_shape,
        num_classes=victim.num_classes, access=self.access, ledger=ledger,
        k=self.k, decimals=self.decimals, dtype=self.dtype)

  @contextlib.contextmanager
  def attacked(self, path: str | os.PathLike, victim: Victim,
               dataset: Dataset) -> Iterator[Oracle]:
    """The oracle that the attack gets: on a budget, remembering in `path`.

    With a transfer set, what that holds is taken from it; it is charged to the
    attack like any other query.
    """
    with contextlib.ExitStack() as stack:
      store = stack.enter_context(self.store(path, victim, dataset))
      ledger = response_store.resumed_ledger(self.budget, store)
      oracle = self.oracle(victim, ledger)
      if self.transfer_set:
        paid = stack.enter_context(
            self.store(self.transfer_set, victim, dataset))
        outside = response_store.recorded(
          self.oracle(victim, response_store.resumed_ledger(None, paid)),
          paid,
          keys,
        )
        oracle = oracle.relayed(
            lambda images: _charged(ledger, outside, images))
      yield response_store.recorded(oracle, store, keys)

  @contextlib.contextmanager
  def overheard(self, path: str | os.PathLike, facts: Mapping[str, Any],
                dataset: Dataset) -> Iterator[Oracle]:
    """The oracle of a process that reads what another one was answered.

    Args:
      path: Where that one, which has begun, keeps the responses.
      facts: Of the victim, without its function.
      dataset: As that one has it.

    Raises:
      InputError: The file is not there.
    """
    if not pathlib.Path(path).is_file():
      raise InputError(f"there is no {path} on this host, which process 0 has "
                       "made; give a --workdir that all hosts share")
    shape = tuple(facts["input_shape"])
    victim = Victim(lambda _: None, **{**facts, "input_shape": shape})
    with self.store(path, victim, dataset) as store:
      yield self.oracle(victim, Ledger(self.budget)).relayed(
          lambda images: store.read(keys(images)))

  def store(self, path: str | os.PathLike, victim: Victim,
            dataset: Dataset) -> response_store.ResponseStore:
    """Opens the responses at `path`, which must be of this experiment."""
    path = pathlib.Path(path)
    identity = {
        "access": self.access, "k": self.k, "num_classes": victim.num_classes,
        "decimals": self.decimals, "revealed dtype": self.dtype,
        "victim": victim.fingerprint,
        # Not its name, which may be one of several paths to it.
        "data set": dataset.fingerprint}
    new = not path.exists()
    try:
      return response_store.ResponseStore(path, identity, self.response_dtype)
    except InputError:
      # What SQLite makes of a new file on a full disk.
      if new and path.is_file() and not path.stat().st_size:
        path.unlink()
      raise


class _Indexing:
  """Shows how many files of a split were read, where that takes time."""

  def __init__(self, shown: contextlib.ExitStack):
    self._shown = shown
    self._meter: progress.Meter | None = None

  def __call__(self, done: int, total: int) -> None:
    if self._meter is None and done < total:
      self._meter = self._shown.enter_context(
          progress.Meter("index", total, "files"))
    if self._meter is not None:
      self._meter.update(done)
    if done == total:  # of this split
      self._shown.close()
      self._meter = None


def _charged(ledger: Ledger, oracle: Oracle, images: np.ndarray) -> Response:
  with ledger.charging(len(images)):
    return oracle.query(images)


def configured() -> Experiment:
  """Reads the flags' gin files and bindings and constructs the experiment.

  Networks that are made afterwards have its precision.

  Raises:
    InputError: They cannot be used.
  """
  flags = cli.FLAGS
  bindings = list(flags.gin_bindings)
  if flags.seed is not None:
    bindings.append(f"Experiment.seed = {flags.seed}")
  cli.configure(flags.gin_file, bindings)
  experiment = cli.built(Experiment)
  devices.set_precision(experiment.precision)
  return experiment


def make_victim(experiment: Experiment, dataset: Dataset, parts: Parts,
                callbacks: Callable[[int, int], Any]) -> Victim:
  """Loads the victim or trains it, and says under what licence it is.

  Raises:
    InputError: It cannot be had, or cannot give the experiment's access.
  """
  victim = experiment.victim(dataset, parts, victims.Surroundings(
      cli.cache_folder(), callbacks, devices.compile_options()))
  experiment.oracle(victim, Ledger())  # refuses what does not go together
  if victim.licence:
    cli.say(f"licence: {victim.licence}")
  return victim


@contextlib.contextmanager
def without_traces(path: pathlib.Path) -> Iterator[None]:
  """Removes the folders above `path` that were made for it in vain."""
  new = [folder for folder in path.parents if not folder.exists()]
  try:
    yield
  except InputError:
    with contextlib.suppress(OSError):  # one is not empty
      for folder in new:
        folder.rmdir()
    raise


def keys(images: np.ndarray) -> list[bytes]:
  """The identities of images [n, h, w, d] in a store of responses."""
  return Examples(images).keys


def examine(surrogate: keras.Model, victim: Victim,
            test: Examples) -> dict[str, dict[str, metrics.Estimate]]:
  """Scores oracle and surrogate on examples that neither was trained on.

  The victim is asked through an oracle of its own, with a ledger of its own:
  measuring never charges the attacker.

  Returns:
    "oracle" with accuracy_top1 and accuracy_top5, and "surrogate" with the
    same and fidelity_top1 and fidelity_top5; see `metrics.fidelity`.
  """
  # Logits where there are any: small scores would be rounded to equal zeros.
  access = Access.LOGITS if victim.outputs == "logits" else Access.SCORES
  examiner = Oracle(
      victim.predict, outputs=victim.outputs, input_shape=victim.input_shape,
      num_classes=victim.num_classes, access=access)
  parts = []
  for start in range(0, len(test), _EXAMINED):
    # Decoded once for both.
    images = np.asarray(test.images[start:start + _EXAMINED])
    parts.append((examiner.query(images),
                  surrogate.predict(images, batch_size=256, verbose=0)))
  answers = Response.join([answer for answer, _ in parts])
  scores = np.concatenate([score for _, score in parts])
  if not np.isfinite(scores).all():
    raise InputError("the surrogate answers with NaN or infinity; train it "
                     "with a smaller learning rate")
  figures = {"oracle": {}, "surrogate": {}}
  for k in (1, 5):
    figures["oracle"][f"accuracy_top{k}"] = metrics.accuracy(
        answers.values, test.labels, k)
    figures["surrogate"][f"accuracy_top{k}"] = metrics.accuracy(
        scores, test.labels, k)
  for k in (1, 5):
    figures["surrogate"][f"fidelity_top{k}"] = metrics.fidelity(
        scores, answers.labels, k)
  return figures

