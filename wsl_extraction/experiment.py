"""One extraction experiment, as gin files describe it."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

from wsl_extraction import api, checks
from wsl_extraction.attacks.attack import Attack
from wsl_extraction.attacks.data_sheet import Queries
from wsl_extraction.data import datasets, off_domain
from wsl_extraction.data.columns import Columns
from wsl_extraction.data.examples import Dataset
from wsl_extraction.data.off_domain import OffDomain
from wsl_extraction.data.split import Parts, Split
from wsl_extraction.errors import InputError
from wsl_extraction.evaluation.adversarial import Measures
from wsl_extraction.oracle import reveal_names
from wsl_extraction.oracle.ledger import Budget
from wsl_extraction.oracle.reveals import Reveal
from wsl_extraction.oracle.settings import OracleSettings
from wsl_extraction.oracle.stores import Stores
from wsl_extraction.runtime import devices
from wsl_extraction.runtime.runtime import Runtime
from wsl_extraction.victims.victim import VictimSource


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
  """One extraction: victim, attack, data, reveal and budget.

  Attributes:
    dataset: The name of a data set, or a path; see `datasets.load`.
    columns: Of a table in a CSV or Parquet file: which column holds the
      classes, and which are left out.
    split: How it is divided between victim, adversary and test.
    pool_dataset: Another data set that the adversary's pool comes from: its
      name, its path, or `@off_domain.OffDomain()`, which states the rule by
      which images are resized and converted to the victim's. `Split.pool` is
      how many of them.
    victim: Makes the victim: `trained.Trained`, `keras_file.KerasFile` or
      `function.Function`, say.
    attack: The attack.
    reveal: What the oracle reveals: "label", "label_score", "top_k:3",
      "scores", "logits", or an object, `@reveals.TopK()`.
    defences: What it does to answers before, `(@defences.Rounded(),)`.
    decimals: The oracle rounds what it reveals to so many; None does not.
    dtype: The type of what it reveals; None is the victim's own.
    bounded: Whether the oracle refuses inputs outside of the data's range of
      values. False answers all real inputs, as functional extraction needs
      outside of a box.
    budget: The queries that the attack may spend; None is the whole
      pool, or no limit for an attack that makes up its queries.
    image_size: For data sets whose images differ in size: pixels a side.
    streamed: Images stay files, and are decoded when they are needed: for data
      sets that are larger than memory, and for `Recipe.crop`.
    transfer_set: A file written by `label`, whose responses are used instead
      of asking the victim again (they count as queries all the same).
    response_dtype: The type in which responses are kept: float16, float32,
      float64, or log16 for scores of many classes, of which float16 loses the
      small ones (docs/speed/label_encoding.md).
    precision: In what numbers networks compute: float32, mixed_bfloat16, or
      auto for the one that suits the device; see `devices.set_precision`.
    measures: What is measured of the copy beside the test set, such as
      `@adversarial.Measures()` for uniform and adversarial inputs, which ask
      the victim about more rows; None measures nothing else.
    seed: Of the attack.
  """

  dataset: str = "mnist5k"
  columns: Columns | None = None
  split: Split
  pool_dataset: OffDomain | str | None = None
  victim: VictimSource
  attack: Attack
  reveal: Reveal | str = "scores"
  defences: Any = ()
  decimals: int | None = None
  dtype: str | None = None
  bounded: bool = True
  budget: Budget | int | None = None
  image_size: int | None = None
  streamed: bool = False
  transfer_set: str | None = None
  response_dtype: str = "float32"
  precision: str = "auto"
  measures: Measures | None = None
  seed: int = 0

  def __post_init__(self):
    for name, kind, example in (
        ("attack", Attack, "an attack, such as @learning.Learning()"),
        ("split", Split, "a split, such as @split.Split()"),
        ("victim", VictimSource, "a victim, such as @trained.Trained()")):
      checks.instance(f"Experiment.{name}", getattr(self, name), kind, example)
    checks.text("Experiment.dataset", self.dataset, "the name of a data set, "
                "or a path")
    if self.columns is not None:
      checks.instance("Experiment.columns", self.columns, Columns, "the "
                      "columns of a table, such as @columns.Columns(), or None")
    if self.pool_dataset is not None:
      object.__setattr__(
          self, "pool_dataset", off_domain.of(self.pool_dataset))
    if self.measures is not None:
      checks.instance("Experiment.measures", self.measures, Measures,
                      "measures, such as @adversarial.Measures(), or None")
    checks.text("Experiment.transfer_set", self.transfer_set,
                "the path of a file", optional=True)
    for name in ("bounded", "streamed"):
      checks.flag(f"Experiment.{name}", getattr(self, name))
    devices.check_precision(self.precision, "Experiment.precision")
    object.__setattr__(self, "seed", checks.seed("Experiment.seed", self.seed))
    if not isinstance(self.budget, Budget):
      object.__setattr__(self, "budget", checks.whole(
          "Experiment.budget", self.budget, 1, optional=True))
    reveal = self.oracle.reveal
    if not any(reveal.covers(need) for need in self.attack.needs):
      needed = " or ".join(f"'{need}'" for need in self.attack.needs)
      raise InputError(
          f"Experiment.reveal is '{reveal}', too little for "
          f"{self.attack.name}, which needs {needed}; raise it or choose "
          "another objective")

  @property
  def oracle(self) -> OracleSettings:
    """The settings of the oracle, and the budget.

    Raises:
      InputError: One of the settings cannot be.
    """
    try:
      return OracleSettings(
          reveal=reveal_names.parse("reveal", self.reveal),
          budget=Budget.of(self.budget), defences=self.defences,
          decimals=self.decimals, dtype=self.dtype,
          response_dtype=self.response_dtype)
    except InputError as error:
      raise InputError(f"Experiment.{error}") from error

  def data(self, data_dir: str | None = None,
           progress: Callable[[int, int], None] | None = None
           ) -> tuple[Dataset, Parts]:
    """Loads the data set and splits it, and another for the pool if named.

    Args:
      data_dir: Where tensorflow-datasets lie.
      progress: See `datasets.load`.
    """
    dataset = datasets.load(
        self.dataset, data_dir=data_dir, image_size=self.image_size,
        streamed=self.streamed, progress=progress, columns=self.columns)
    if isinstance(self.pool_dataset, OffDomain):
      pool = self.pool_dataset.load(
          dataset.space, data_dir, self.streamed, progress)
      parts = self.pool_dataset.parts(dataset, pool, self.split)
      dataset = dataclasses.replace(dataset, pool=pool)
    else:
      parts = self.split(dataset)
    if not self.bounded:
      parts = dataclasses.replace(
          parts, space=parts.space.unbounded())
    return dataset, parts

  def check(self, parts: Parts, runtime: Runtime) -> None:
    """Raises what oracle and attack would refuse, before a victim is made.

    Raises:
      InputError: The oracle's settings cannot be, the transfer set is missing,
        the budget exceeds the pool, there is nothing to test on, or a batch
        cannot be divided among the devices.
    """
    if self.transfer_set and not pathlib.Path(
        self.transfer_set).expanduser().is_file():
      raise InputError(f"there is no transfer set {self.transfer_set}; write "
                       "it with `python -m wsl_extraction.label`")
    rows = self.oracle.budget.rows
    if self.attack.queries is not Queries.SYNTHETIC and (
        rows is not None and rows > len(parts.pool)):
      raise InputError(f"Experiment.budget is {rows}, more than the "
                       f"pool of {len(parts.pool)}; lower it or raise "
                       "Split.pool")
    if not len(parts.test):
      raise InputError("there is nothing to test on; raise Split.test")
    if self.measures is not None:
      self.measures.check(parts.space)
    assert parts.num_classes is not None, "a data set has names of classes"
    api.check(self.attack, self.oracle, parts, parts.num_classes, runtime)

  def stores(self, responses: pathlib.Path,
             measured: pathlib.Path,
             published: pathlib.Path | None = None) -> Stores:
    """The files of responses, the transfer set included; see `Stores`."""
    transfer = self.transfer_set and pathlib.Path(
        self.transfer_set).expanduser()
    return Stores(responses=responses, measured=measured,
                  transfer_set=transfer or None, published=published)
