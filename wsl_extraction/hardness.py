r"""Measures Theorems 1 to 3: networks that cannot be extracted cheaply.

  python -m wsl_extraction.hardness --gin_file=gin/theorem1.gin

The folder runs/theorem1, or another that --workdir names, then holds config.gin
(what was asked for), result.json (all that was measured, part by part), a CSV
file a table, table.md (what is printed), and plots as PNG and PDF. The same
command goes on after the parts that are finished, and prints the table of a
finished run again. KERAS_BACKEND chooses tensorflow, jax or torch.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gin
from absl import flags

from wsl_extraction import cli
from wsl_extraction.runtime import files

if TYPE_CHECKING:
  from wsl_extraction.report.run_folder import RunFolder
  from wsl_extraction.theorems.theorem import Rows, Theorem, TheoremReport


def define_flags() -> None:
  """Defines this command's own flags."""
  flags.DEFINE_string(
      "workdir", None, "The folder of this run; by default one below runs/ "
      "named after the gin file.")


def main() -> None:
  """Measures what is missing, and prints the tables."""
  folder = cli.results_folder()
  cli.start()
  # Not at the top of the file: see `cli.launch`.
  from wsl_extraction.report import run_folder
  from wsl_extraction.theorems.theorem import Hardness

  cli.configure(flags.FLAGS.gin_file, flags.FLAGS.gin_bindings)
  theorem = cli.built(Hardness).theorem
  with run_folder.RunFolder(folder) as run:
    run.prepare(gin.config_str())
    rows = _measured(theorem, run)
    text = _publish(theorem.findings(rows), rows, run)
    cli.show(f"{text}\n{run.path}")


def _measured(theorem: Theorem, run: RunFolder) -> Rows:
  """Runs the parts that are missing; gives the rows of all."""
  from wsl_extraction.report import damage, progress

  parts = theorem.parts()
  done: dict[str, Any] = (run.read_json("result.json") or {}).get("parts", {})
  with damage.reading(run.result):
    missing = [name for name in parts if name not in done]
  if missing:
    with progress.Meter("parts", len(parts), "parts",
                        done=len(parts) - len(missing)) as meter:
      for name in missing:
        done[name] = parts[name]()
        run.write_json("result.json", {"parts": done})
        meter.update(sum(part in done for part in parts))
  rows: dict[str, list[Mapping[str, Any]]] = {}
  # As they were written, so that a resumed run prints the same.
  with damage.reading(run.result):
    done = (run.read_json("result.json") or {})["parts"]
    for part in parts:
      for table, measured in done[part].items():
        rows.setdefault(table, []).extend(measured)
  return rows


def _publish(findings: TheoremReport, rows: Rows, run: RunFolder) -> str:
  from wsl_extraction.report import curves, text_tables

  text = "\n\n".join([
      f"# {findings.title}",
      *(f"## {name}\n\n{text_tables.markdown(sheet)}"
        for name, sheet in findings.sheets.items() if sheet.rows),
      textwrap.fill(findings.notes, 80)]) + "\n"
  for table, measured in rows.items():
    run.write_text(f"{table}.csv",
                   text_tables.csv_text(list(measured[0]), measured))
  run.write_text("table.md", text)
  for name, panels in findings.plots.items():
    for file, content in curves.drawn(name, findings.title, panels):
      with files.atomic_write(run.path / file) as path:
        path.write_bytes(content)
  return text


def launch() -> int:
  """Runs the command; returns its exit status."""
  return cli.launch(
      main, define_flags, reads=("gin_file", "gin_bindings"),
      instead={"seed": "--seed is for extractions; give --gin_bindings="
                       "\"Theorem1.seed = 1\", say"})


if __name__ == "__main__":
  sys.exit(launch())
