"""The Python interface: `extract` gives a `Copy`, which prints as a table."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from wsl_extraction import checks
from wsl_extraction.attacks.attack import Attack
from wsl_extraction.attacks.data_sheet import Queries
from wsl_extraction.attacks.defaults import default_attack
from wsl_extraction.attacks.extraction import Extraction, Status
from wsl_extraction.attacks.knowledge import Knowledge
from wsl_extraction.attacks.learning import query_log
from wsl_extraction.attacks.tree.leaf_queries import domain_of
from wsl_extraction.data import convert as data
from wsl_extraction.data.split import Parts
from wsl_extraction.equivalence import proofs
from wsl_extraction.equivalence.certify import Certificate
from wsl_extraction.errors import InputError, VictimWarning
from wsl_extraction.evaluation import by_goal
from wsl_extraction.evaluation.adversarial import Measures
from wsl_extraction.evaluation.by_goal import Evaluation
from wsl_extraction.oracle import reveal_names
from wsl_extraction.oracle.ledger import Budget, Ledger
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.replays import Silent
from wsl_extraction.oracle.response import Quantity
from wsl_extraction.oracle.rows import LazyRows
from wsl_extraction.oracle.settings import OracleSettings
from wsl_extraction.oracle.stores import (
    NO_STORES,
    Stores,
    attack_oracle,
    examiner_oracle,
)
from wsl_extraction.report import json_text, result, run_table
from wsl_extraction.runtime import devices, distribution, files, keras_saving
from wsl_extraction.runtime.runtime import Runtime
from wsl_extraction.victims import convert as victims
from wsl_extraction.victims.inspection import check_victim
from wsl_extraction.victims.victim import Victim


def _warn(text: str) -> None:
  # The caller of `extract` is where a user looks.
  warnings.warn(text, VictimWarning, stacklevel=5)


@dataclasses.dataclass(frozen=True, eq=False)
class Copy:
  """A surrogate, and what there is to say of it; prints as a table.

  Attributes:
    surrogate: A Keras model that maps rows to logits [n, c].
    extraction: What the attack gave.
    evaluation: What was measured; None without a test set.
    ledger: What was paid.
    result: All of it as the fields of result.json.
  """

  surrogate: keras.Model
  extraction: Extraction
  evaluation: Evaluation | None
  ledger: Ledger
  result: Mapping[str, Any]

  def __str__(self) -> str:
    return run_table.result_table(self.result)

  @property
  def queries(self) -> int:
    """The rows that the oracle charged."""
    return self.ledger.rows

  @property
  def status(self) -> str:
    """"DONE", "BUDGET_EXHAUSTED" or "INCOMPLETE"."""
    return self.extraction.status.value

  @property
  def fidelity(self) -> float | None:
    """The share of test rows on which surrogate and oracle agree."""
    return self._figure("fidelity_top1")

  @property
  def accuracy(self) -> float | None:
    """The share of test rows that the surrogate classifies right."""
    return self._figure("accuracy_top1")

  def _figure(self, name: str) -> float | None:
    figures = {} if self.evaluation is None else self.evaluation.surrogate
    return figures[name].value if name in figures else None

  def save(self, folder: str | os.PathLike) -> pathlib.Path:
    """Writes surrogate.keras and result.json to a folder, which is made.

    Raises:
      InputError: The folder cannot be written.
    """
    folder = pathlib.Path(folder).expanduser()
    with files.atomic_write(folder / "surrogate.keras") as path:
      keras_saving.save(self.surrogate, path)
    with files.atomic_write(folder / "result.json") as path:
      path.write_text(json_text.json_text(self.result, indent=2) + "\n",
                      encoding="utf-8")
    return folder


def extract(victim: Any, pool: Any = None, *, reveal: Any = "scores",
            budget: Budget | int | None = None, attack: Attack | None = None,
            test: Any = None, seed: int = 0, outputs: str | None = None,
            value_range: Any = None, defences: Any = (),
            decimals: int | None = None, dtype: str | None = None,
            witnesses: np.ndarray | None = None,
            measures: Measures | None = None,
            runtime: Runtime | None = None) -> Copy:
  """Extracts a model through an oracle that charges for every row.

  Args:
    victim: The path of a `.keras` file, a Keras model, a fitted classifier of
      scikit-learn, any function of an array [n, ...] that gives [n, c], or one
      of this package's victims.
    pool: The adversary's examples: an array [n, h, w, d] of images or [n, d] of
      vectors, a DataFrame of features, or a data set (by name, a `Dataset`, or
      the `Parts` of one), of which the labels are left out; or `OffDomain`,
      another data set than the victim's, brought into the space of the test
      rows.
    reveal: What a query shows: "label", "label_score", "top_k:3", "scores",
      "logits", or an object.
    budget: The rows that the attack may ask about; None is the whole pool.
    attack: The attack; None learns from the responses, see `default_attack`.
    test: What the copy is measured on: a pair (rows, labels), rows alone, or
      None to measure nothing; a named data set brings its own.
    seed: Of all that is random in the attack.
    outputs: What the victim gives, "logits" or "probabilities"; None tells by
      its answers to a few rows of the test set.
    value_range: The least and the largest value of the inputs; None tells by
      the pool, or by the test rows where the pool is an `OffDomain`.
    defences: What the oracle does to answers before it reveals them.
    decimals: Rounds what is revealed.
    dtype: Casts it to "float16", "float32" or "float64".
    witnesses: One row of each class, for attacks that need them.
    measures: What to measure beside the test rows, on uniform and adversarial
      inputs; it asks the victim about more rows.
    runtime: Devices, folders and callbacks; None takes the defaults.

  Raises:
    InputError: Something of it cannot be used; the message says what.
  """
  options = OracleSettings(
      reveal=reveal_names.parse("reveal", reveal), budget=Budget.of(budget),
      defences=defences, decimals=decimals, dtype=dtype)
  seed = checks.seed("seed", seed)
  if pool is None:
    raise InputError("there is no pool; give the adversary's examples, an "
                     "array or the name of a data set")
  parts = data.parts_of(pool, test, value_range)
  if runtime is None:
    runtime = Runtime(compile_options=devices.compile_options(),
                      adapt=devices.adapt)
  checks.instance("runtime", runtime, Runtime, "a Runtime")
  if measures is not None:
    checks.instance("measures", measures, Measures, "Measures(...), or None")
    measures.check(parts.space)
  source, asked = victims.source_of(
      victim, victims.probe_rows(parts), outputs)
  if test is not None and parts.test.labels is not None:
    labels = victims.label_numbers(source, parts.test.labels)
    parts = dataclasses.replace(parts, test=dataclasses.replace(
        parts.test, labels=labels))
  if attack is None:
    attack = default_attack(parts.space)
  loaded = source.load(parts, runtime)
  check(attack, options, parts, loaded.outputs, runtime)
  return perform(loaded, attack, parts, options, seed=seed, runtime=runtime,
                 witnesses=witnesses, asked=asked, measures=measures)


def check(attack: Attack, options: OracleSettings, parts: Parts,
          num_classes: int, runtime: Runtime) -> None:
  """Raises what oracle and attack would refuse, before there is a victim.

  Raises:
    InputError: The reveal cannot be, it or the pool does not fit the attack, a
      budget exceeds the pool, or a batch cannot be divided among the devices.
  """
  checks.instance("attack", attack, Attack, "an attack, such as Learning(...)")
  options.reveal.check(num_classes, tuple(Quantity))
  oracle = Oracle(Silent(parts.space, num_classes, options.reveal),
                  options.budget)
  knowledge = knowledge_of(attack, parts)
  attack.refuse_unfit(oracle, knowledge)
  distribution.check_batches(
      attack.batch_sizes(oracle, knowledge), runtime.placement.replicas,
      runtime.placement.count)


def knowledge_of(attack: Attack, parts: Parts,
                 witnesses: np.ndarray | None = None) -> Knowledge:
  """The adversary's pool, with labels or classes only if it reads them."""
  classes = attack.reads_pool_classes and parts.pool_classes is not None
  return Knowledge(
      parts.pool.unlabeled(), witnesses,
      parts.pool.labels if attack.reads_labels else None,
      parts.pool_classes if classes else None,
      parts.pool_class_names if classes else ())


def perform(victim: Victim, attack: Attack, parts: Parts,
            options: OracleSettings, *, seed: int, runtime: Runtime,
            stores: Stores = NO_STORES, fingerprint: str | None = None,
            witnesses: np.ndarray | None = None,
            provenance: Mapping[str, Any] | None = None,
            asked: int = 0, measures: Measures | None = None,
            begin: Callable[[], None] = lambda: None,
            stage: Callable[[str, str], None] = lambda name, words: None,
            warn: Callable[[str], None] = _warn) -> Copy:
  """Checks the victim, runs the attack, and measures the surrogate.

  Args:
    victim: What is attacked.
    attack: How.
    parts: The adversary's pool, and the test set.
    options: What the oracle reveals and what may be spent.
    seed: Of the attack.
    runtime: Devices, folder and callbacks.
    stores: The files of responses.
    fingerprint: Of the data set, by which stores know theirs.
    witnesses: One row of each class, for attacks that need them.
    provenance: Goes into the result.
    asked: The rows that the victim's owner has asked about so far.
    measures: What to measure beside the test rows.
    begin: Called when the attack is about to ask.
    stage: Called with what a proof is doing.
    warn: Called with each doubt about the victim, before the attack asks.

  Raises:
    InputError: The victim is not what it is declared to be, or as for
      `Attack.__call__`.
  """
  started = time.monotonic()
  asked += check_victim(victim, parts, warn, stores, fingerprint)
  with attack_oracle(victim, options, stores, fingerprint) as oracle:
    begin()
    extraction = attack(
        oracle, knowledge_of(attack, parts, witnesses), seed, runtime)
  if isinstance(parts.pool.rows, LazyRows) and runtime.folder is not None:
    _name_queries(runtime.folder, parts)
  evaluation = None
  if len(parts.test):
    with examiner_oracle(victim, stores, fingerprint) as examiner:
      evaluation = by_goal.evaluate(
          extraction.surrogate, examiner, parts.test, measures)
    proof = proofs.if_known(
        victim.weights, extraction.weights, *parts.feature_ranges,
        parts.space.value_range, domain=domain_of(parts.space),
        scores=options.reveal.scale is not None,
        centred=options.reveal.scale is not Quantity.LOGITS, report=stage)
    evaluation = dataclasses.replace(evaluation, certificate=proof)
    extraction = _held_against(extraction, proof)
  fields = result.fields(
      attack=attack.name, goal=attack.goal.value,
      status=extraction.status.value, missing=extraction.missing,
      figures=extraction.figures, reveal=str(options.reveal),
      defences="; ".join(map(str, options.all_defences)), dtype=options.dtype,
      charges=_charges(oracle.ledger, parts.space.features), seed=seed,
      provenance={**devices.describe(), **(provenance or {}),
                  "repeats": None if attack.queries is Queries.SYNTHETIC
                  else parts.repeats,
                  "victim": victim.fingerprint,
                  "licence": victim.licence or None}, evaluation=evaluation,
      asked=asked)
  fields["seconds"] = time.monotonic() - started
  return Copy(keras_saving.call_once(extraction.surrogate), extraction,
              evaluation, oracle.ledger, json_text.plain(fields))


def _held_against(extraction: Extraction,
                  proof: proofs.Proof | None) -> Extraction:
  """The extraction, INCOMPLETE where a proof contradicts its tolerance."""
  figures = {one.name: one.value for one in extraction.figures}
  if (extraction.status is not Status.DONE or "tolerance" not in figures
      or not isinstance(proof, Certificate)):
    return extraction
  # A backend may keep weights in fewer digits than fresh rows were judged by.
  kept = max(np.finfo(one.dtype).eps
             for one in extraction.surrogate.get_weights())
  tolerance = max(figures["tolerance"], 1000 * kept)
  if not proof.exceeds(tolerance):
    return extraction
  return dataclasses.replace(
      extraction, status=Status.INCOMPLETE, missing=(
          "fresh rows were right, but it is proved that somewhere logits "
          f"differ by more than the tolerance, {tolerance:.1e} of the largest"))


def _charges(ledger: Ledger, features: int) -> result.Charges:
  budget: Any = ledger.budget
  if budget == Budget(rows=budget.rows):
    budget = budget.rows
  return result.Charges(
      budget if budget is None or isinstance(budget, int) else str(budget),
      ledger.rows, {meter.value: count for meter, count in
                    ledger.spent.items()},
      ledger.resent, ledger.equal_cost(features))


def _name_queries(folder: pathlib.Path, parts: Parts) -> None:
  rows: Any = parts.pool.rows
  if (folder / query_log.NAME).exists():
    query_log.add_names(folder, lambda chosen: rows[chosen].names)
