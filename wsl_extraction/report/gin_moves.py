"""Settings of gin files that were written for earlier versions."""

from __future__ import annotations

import re

_RECIPE = ("network|optimizer|steps|batch_size|unlabeled_batch_size|augment|"
           "crop|accumulate|rematerialize|checkpoint_every")
# A binding as it was, and what is written now; the first that fits counts.
_SETTINGS = {
    r"Experiment\.access *= *['\"](?!top)(\w+)['\"]":
        r"Experiment.reveal = '\1'",
    r"Experiment\.k *= *(\d+)": r"Experiment.reveal = 'top_k:\1'",
    r"Experiment\.(?:access|k)\b": "Experiment.reveal = 'top_k:3', for k = 3",
    rf"Learning\.({_RECIPE})\b":
        r"surrogate/recipe.Recipe.\1, with learning.Learning.recipe = "
        "@surrogate/recipe.Recipe()",
    rf"Trained\.({_RECIPE})\b":
        r"victim/recipe.Recipe.\1, with trained.Trained.recipe = "
        "@victim/recipe.Recipe()",
    r"Split\.shuffle_pool\b":
        "Split.balanced = 100, for a pool that begins with so many",
}
# A module or class as it was, and where it is now.
_PLACES = {
    "attacks.functional": "attacks.relu.functional",
    "attacks.learning.Learning": "attacks.learning.learning.Learning",
    "data.crops": "data.images.crops",
    "data.datasets.Split": "data.split.Split",
    "data.preprocess": "training.augment",
    "objectives.optimizers": "training.optimizers",
    "report.grids.Grid": "report.grids.grid.Grid",
    "report.searches": "report.grids.search",
    "strategies.first": "strategies.pool_order",
    "victims.files": "victims.keras_file or wsl_extraction.victims.function",
}


def explained(error: str) -> tuple[str, str]:
  """Says of what gin does not know what has become of it.

  Args:
    error: Gin's message: a line with the reason, then the place, then the
      statement.

  Returns:
    The message, with another reason if the setting has moved, and what to do.
  """
  reason, *place = error.split("\n")
  moved = _moved(reason, "\n".join(place))
  if moved is None:
    return error, "check the spelling and what is imported"
  name, successor = moved
  return "\n".join([f"{name} is gone", *place]), f"write {successor}"


def _moved(reason: str, place: str) -> tuple[str, str] | None:
  """A binding that is gone, and the one that takes its place."""
  unknown = re.search(
      r"'(?:[\w.]*\.)?(\w+)' doesn't have a parameter named '(\w+)'", reason)
  if unknown:
    # In a block of bindings the statement does not name the class.
    value = re.search(r"=.*", place)
    return _setting(
        f"{unknown[1]}.{unknown[2]} {value[0] if value else ''}")
  lost = re.search(
      r"<module 'wsl_extraction\.([\w.]+)'.* has no attribute (\w+)|"
      r"No module named 'wsl_extraction\.([\w.]+)'", reason)
  if lost is None:
    return None
  path = ".".join(filter(None, lost.groups()))
  if path not in _PLACES:
    return None
  return _setting(place) or (
      f"wsl_extraction.{path}", f"wsl_extraction.{_PLACES[path]}")


def _setting(binding: str) -> tuple[str, str] | None:
  for old, new in _SETTINGS.items():
    if match := re.search(rf"\b{old}", binding):
      return ".".join(re.findall(r"\w+", match[0])[:2]), match.expand(new)
  return None
