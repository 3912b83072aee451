"""Run folders with made-up results, for tests that train nothing."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Mapping

import wsl_extraction
from wsl_extraction.report.grids.grid_runs import FIGURES, Run

VERSION = f"# wsl_extraction {wsl_extraction.__version__}\n"


def result(figures: Mapping[str, float | None], seconds: float = 36.0,
           **more: object) -> dict:
  """The result.json of a run whose surrogate reached these figures, in 0..1."""
  return {
      "attack": "made up", "status": "DONE", "seconds": seconds,
      "surrogate": {
          name: {"value": value, "low": None, "high": None}
          for name, value in figures.items()}, **more}


def write(run: Run, root: pathlib.Path, content: dict | str,
          config: str = "made.up = 1\n",
          version: str = VERSION) -> pathlib.Path:
  """Writes the folder of one run; gives it back."""
  folder = run.folder(root)
  folder.mkdir(parents=True)
  (folder / "config.gin").write_text(version + config)
  text = content if isinstance(content, str) else json.dumps(content)
  (folder / "result.json").write_text(text)
  return folder


def figures_of(run: Run, base: Callable[[Run], float]) -> dict[str, float]:
  """Plausible figures around `base`, a little different for each seed."""
  value = base(run) + 0.004 * ((run.seed * 7) % 5 - 2)
  return {name: round(min(value + 0.003 * place, 1.0), 4)
          for place, name in enumerate(FIGURES)}
