"""The table that sums up a single run."""

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
_METHODS = {"fgsm": "FGSM", "pgd": "PGD", "random": "random signs"}
_LEGEND = (
    "In %, with 95% intervals below. Accuracy: agreement with the data set's "
    "labels; fidelity: agreement with the oracle's label.")
_TOP_FIVE = " Top-5: that label is among the five best."


def result_table(result: Mapping[str, Any]) -> str:
  """Sums up one run in plain text of at most 80 columns.

  Args:
    result: The fields of result.json, see `result.fields`, with "seconds". What
      is missing or None is shown as "-". Of `evaluate`: what was scored, in
      place of the attack.

  Returns:
    Lines without a newline at the end: what was run, then a row each for
    oracle and surrogate.
  """
  facts = _scored(result) if "surrogate_file" in result else _run(result)
  facts += _more(result.get("more") or {})
  margin = max(11, 2 + max(len(name) for name, _ in facts))
  lines = []
  for name, text in facts:
    lines += textwrap.wrap(
        text, 80, initial_indent=f"{name:<{margin}}",
        subsequent_indent=" " * margin, break_on_hyphens=False)
  if not result.get("surrogate"):
    return "\n".join(lines)
  measured = {name for model in _MODELS for name in result.get(model) or {}}
  # Of five classes or fewer every label is among the five best.
  has_five = not measured or any(name.endswith("top5") for name in measured)
  columns = [column for column in _COLUMNS if has_five or column[1] != "top-5"]
  cells = [_row("", [column[:2] for column in columns])]
  cells += [_row(model, _figures(result.get(model), columns))
            for model in _MODELS]
  lines += ["", *(line for row in cells for line in row), ""]
  legend = _LEGEND + _TOP_FIVE * has_five
  return "\n".join(lines + textwrap.wrap(legend, 80))


def _run(result: Mapping[str, Any]) -> list[tuple[str, str]]:
  seconds = result.get("seconds")
  reveal = _said(result.get("reveal"))
  if result.get("defences"):
    reveal += f", after {result['defences']}"
  lines = [
      ("attack", _said(result.get("attack"))),
      ("reveal", reveal),
      ("status", _said(result.get("status"))),
      ("queries", _queries(result))]
  meters = {name: count for name, count in (result.get("meters") or {}).items()
            if count and name != "rows"}
  if meters:
    charged = ", ".join(f"{count} {name}" for name, count in meters.items())
    lines.append(("charged", f"{charged}; as much as {result['equal_cost']} "
                  "rows"))
  lines += _repeated(result.get("repeats"))
  lines += [(name.replace("_", " "), figure["text"])
            for name, figure in (result.get("figures") or {}).items()
            if figure["text"]]
  if result.get("missing"):
    lines.append(("missing", result["missing"]))
  if result.get("constant_class") is not None:
    lines.append(("warning", "the surrogate gives class "
                  f"{result['constant_class']} to every test example, and the "
                  "oracle does not: training failed; try a smaller learning "
                  "rate, or more steps"))
  lines += _proved(result.get("proof"))
  lines.append(("seconds", "-" if seconds is None else _seconds(seconds)))
  return lines


def _queries(result: Mapping[str, Any]) -> str:
  budget = result.get("budget")
  text = f"{_said(result.get('queries'))} charged" + (
      ", no limit" if budget is None else f" of a budget of {budget}")
  if isinstance(budget, int) and 0 < result["queries"] < budget and (
      result.get("repeats") or {}).get("in_pool"):
    text += ", as equal examples are charged once"
  if result.get("sent_again"):
    text += f", {result['sent_again']} of them rows sent again"
  measured = result.get("measured")
  if measured:
    text += f", {measured:,} more to measure"
    if result.get("measured_anew", measured) < measured:
      text += f", of which {result['measured_anew']:,} were asked now"
  return text


def _repeated(repeats: Mapping[str, int] | None) -> list[tuple[str, str]]:
  lines = []
  if repeats and repeats["in_pool"]:
    distinct = repeats["pool"] - repeats["in_pool"]
    lines.append(("pool", f"{distinct:,} of {repeats['pool']:,} examples are "
                  "distinct"))
  if repeats and repeats["test_in_pool"]:
    lines.append(("test set", f"{repeats['test_in_pool']:,} of "
                  f"{repeats['test']:,} examples are in the pool too, and may "
                  "be learned by heart"))
  return lines


def _proved(proof: Mapping[str, Any] | None) -> list[tuple[str, str]]:
  if proof is None:
    return []
  text = proof.get("text") or (
      f"logits differ by at most {proof['most']:.1e} on all inputs in range, "
      f"somewhere by {proof['least']:.1e}")
  return [("proved", text)]


def _more(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
  """Figures on other inputs than the test set's, a line for each kind."""
  lines = []
  if "fidelity_uniform" in figures:
    lines.append(("uniform", "copy and oracle agree on "
                  f"{_with_interval(figures['fidelity_uniform'])}"))
  sizes = dict.fromkeys(name.split("_")[-1] for name in figures
                        if name.startswith("transfer_"))
  for size in sizes:
    lines.append((f"eps {size}", "made on the copy, the oracle's class changes "
                  "for " + ", ".join(
                      f"{said} {_with_interval(figures[name])}"
                      for method, said in _METHODS.items()
                      if (name := f"transfer_{method}_{size}") in figures)))
  return lines


def _with_interval(figure: Mapping[str, Any]) -> str:
  return f"{_percent(figure['value'])}% {_interval(figure)}".rstrip()


def _scored(result: Mapping[str, Any]) -> list[tuple[str, str]]:
  dataset, victim = result["dataset"], result["victim"]
  if result.get("attacked", victim) != victim:
    victim += f", another than the one attacked, {result['attacked']}"
  return [
      ("surrogate", result["surrogate_file"]),
      ("data set",
       f"{dataset['name']}, {dataset['test']} examples to test on"),
      ("victim", victim),
      *_exported(result.get("export"))]


def _exported(export: Mapping[str, Any] | None) -> list[tuple[str, str]]:
  if export is None:
    return []
  classes = export["other_classes"]
  return [
      ("exported", export["path"]),
      ("", f"its answers, by {export['program']}, differ by at most "
       f"{export['largest_difference']:.1e} on {export['rows']:,} test "
       f"examples, and its class on {classes or 'none'} of them")]


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


def _figures(measured: Mapping[str, Any] | None,
             columns: Sequence[tuple[str, str, str]]) -> list[tuple[str, str]]:
  cells = []
  for _, _, name in columns:
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
