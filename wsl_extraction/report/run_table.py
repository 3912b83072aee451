"""What a single run is summed up in."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from wsl_extraction.report import progress

_COLUMNS = (
    ("accuracy", "top-1", "accuracy_top1"),
    ("accuracy", "top-5", "accuracy_top5"),
    ("fidelity", "top-1", "fidelity_top1"),
    ("fidelity", "top-5", "fidelity_top5"),
)
_MODELS = ("oracle", "surrogate")
_LEGEND = (
    "In %, with 95% intervals below. Accuracy: agreement with the data set's "
    "labels; fidelity: agreement with the oracle's label. Top-5: that label "
    "is among the five best.")


def result_table(result: Mapping[str, Any]) -> str:
  """Sums up one run in plain text of at most 80 columns.

  Args:
    result: The fields of result.json: attack, access, status, queries,
      budget (None: unlimited), seconds, and `oracle` and `surrogate`, each
      {figure: {"value", "low", "high"}} in 0..1. What is missing or None is
      shown as "-". Of `evaluate`: what was scored, in place of the attack.

  Returns:
    Lines without a newline at the end: what was run, then a row each for
    oracle and surrogate.
  """
  lines = []
  for name, text in _facts(result):
    lines += textwrap.wrap(
        text, 80, initial_indent=f"{name:<11}", subsequent_indent=" " * 11,
        break_on_hyphens=False)
  cells = [_row("", [column[:2] for column in _COLUMNS])]
  cells += [_row(who, _figures(result.get(who))) for who in _MODELS]
  lines += ["", *(line for row in cells for line in row), ""]
  return "\n".join(lines + textwrap.wrap(_LEGEND, 80))


def _facts(result: Mapping[str, Any]) -> list[tuple[str, str]]:
  if "surrogate_file" in result:
    return _scored(result)
  budget = result.get("budget")
  limit = "no limit" if budget is None else f"a budget of {budget}"
  seconds = result.get("seconds")
  return [
      ("attack", _said(result.get("attack"))),
      ("access", _said(result.get("access"))),
      ("status", _said(result.get("status"))),
      ("queries", f"{_said(result.get('queries'))} of {limit}"),
      *_computed(result.get("notes") or {}),
      *_proved(result.get("proof")),
      ("seconds", "-" if seconds is None else _seconds(seconds)),
  ]


def _computed(notes: Mapping[str, Any]) -> list[tuple[str, str]]:
  """What an attack that computes a network says of its result."""
  if "bound" not in notes:
    return []
  lines = [("bound", f"{notes['bound']:.0f} queries by counting unknowns; "
            f"{notes['queries_per_bound']:.2f} of it were spent"),
           ("units", f"{notes['hidden_units']} hidden ones found")]
  if notes.get("held_out_rows"):
    lines.append(("error", f"{notes['held_out_error']:.1e} of the largest "
                  f"output, on {notes['held_out_rows']} fresh rows"))
  if notes.get("missing"):
    lines.append(("missing", notes["missing"]))
  return lines


def _proved(proof: Mapping[str, float] | None) -> list[tuple[str, str]]:
  if proof is None:
    return []
  return [("proved", f"logits differ by at most {proof['most']:.1e} on all "
           f"images there can be, somewhere by {proof['least']:.1e}")]


def _scored(result: Mapping[str, Any]) -> list[tuple[str, str]]:
  data, victim = result["dataset"], result["victim"]
  if result.get("attacked", victim) != victim:
    victim += f", another than the one attacked, {result['attacked']}"
  return [
      ("surrogate", result["surrogate_file"]),
      ("data set", f"{data['name']}, {data['test']} examples to test on"),
      ("victim", victim),
  ]


def _said(value: Any) -> str:
  return "-" if value is None else str(value)


def _seconds(seconds: float) -> str:
  text = f"{seconds:.1f}"
  return text if seconds < 60 else f"{text} ({progress.duration(seconds)})"


def _row(name: str, cells: Sequence[tuple[str, str]]) -> list[str]:
  """Lays out a row of two lines, the second line of each cell below."""
  upper, lower = zip(*cells, strict=True)
  return [
      f"{head:<11}{''.join(f'{cell:>16}' for cell in line)}".rstrip()
      for head, line in ((name, upper), ("", lower))]


def _figures(
    measured: Mapping[str, Any] | None) -> list[tuple[str, str]]:
  cells = []
  for _, _, name in _COLUMNS:
    figure = (measured or {}).get(name)
    if figure is None or figure["value"] is None:
      cells.append(("-", ""))
      continue
    cells.append((f"{_percent(figure['value'])}%", _interval(figure)))
  return cells


def _interval(figure: Mapping[str, float | None]) -> str:
  low, high = figure["low"], figure["high"]
  if low is None or high is None:
    return ""
  return f"[{_percent(low)}, {_percent(high)}]"


def _percent(share: float) -> str:
  return f"{100 * share:.1f}"
