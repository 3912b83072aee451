"""The fields of result.json."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from wsl_extraction.evaluation.by_goal import Evaluation


@dataclasses.dataclass(frozen=True)
class Charges:
  """Charges of an attack.

  Attributes:
    budget: What it might spend, in words; None for no limit.
    queries: The rows charged, on whatever meter.
    meters: What was charged on each meter, by its name.
    sent_again: The rows of these that were charged again, as the answer of a
      remote victim was lost.
    equal_cost: The rows that would cost as much; see `Ledger.equal_cost`.
  """

  budget: Any
  queries: int
  meters: Mapping[str, int]
  sent_again: int
  equal_cost: int


def fields(*, attack: str, goal: str, status: str, missing: str,
           figures: Iterable[Any], reveal: str, defences: str,
           dtype: str | None, charges: Charges, seed: int,
           provenance: Mapping[str, Any],
           evaluation: Evaluation | None, asked: int = 0) -> dict[str, Any]:
  """The fields of result.json, in the order in which people read them.

  Args:
    attack: Its name.
    goal: What it is for.
    status: How it ended.
    missing: What the surrogate lacks.
    figures: `attack.Figure` of it.
    reveal: What the oracle revealed.
    defences: What it did to answers before.
    dtype: The type of what was revealed; None for the victim's own.
    charges: What was paid.
    seed: Of the attack.
    provenance: Victim, data, machine and versions.
    evaluation: What was measured, if anything.
    asked: The rows that the victim's owner asked about beside the test set's,
      to see that the victim is what it is declared to be.
  """
  result = {
      "attack": attack, "goal": goal, "status": status, "missing": missing,
      "seed": seed, "reveal": reveal, "defences": defences, "dtype": dtype,
      **dataclasses.asdict(charges),
      "figures": {one.name: {"value": one.value, "text": one.text}
                  for one in figures},
      **provenance}
  asked += evaluation.asked if evaluation is not None else 0
  result |= {"measured": max(evaluation.measured if evaluation else 0, asked),
             "measured_anew": asked}
  if evaluation is not None:
    result |= {"oracle": evaluation.oracle, "surrogate": evaluation.surrogate,
               "constant_class": evaluation.constant_class}
    if evaluation.more:
      result["more"] = evaluation.more
    proof = evaluation.certificate
    if proof is not None:
      result["proof"] = dict(proof.fields())
  return result
