r"""Scores a saved surrogate: accuracy on the task, fidelity to the victim.

  python -m wsl_extraction.evaluate --workdir=runs/rotation
  python -m wsl_extraction.evaluate --gin_file=gin/rotation.gin \
      --surrogate=copy.keras --output=scores.json
  python -m wsl_extraction.evaluate --workdir=runs/rotation --export=onnx

The gin file gives data set, split and victim; with --workdir they are those of
that run, as far as --gin_bindings leave them. A victim that is trained on the
private part is another one where that part is another, and the table says so.
Asking the victim here is measurement and charges no attacker. An export is
compared with the surrogate on test examples, as the program that is to read it
answers: onnxruntime, TensorFlow or Keras.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys
from typing import Any

from absl import flags

from wsl_extraction import cli
from wsl_extraction.errors import InputError
from wsl_extraction.runtime import export_paths, files


def define_flags() -> None:
  """Defines this command's own flags."""
  flags.DEFINE_string(
      "surrogate", None, "The .keras file to score; by default the surrogate "
      "of --workdir.")
  flags.DEFINE_string(
      "workdir", None, "A run of `train`, instead of --gin_file and "
      "--surrogate.")
  flags.DEFINE_string(
      "output", None, "Also writes the figures to this JSON file.")
  flags.DEFINE_enum(
      "export", None, ["onnx", "saved_model", "keras"], "Also writes the "
      "surrogate in this format, and tells by how much that file's answers "
      "differ.")
  flags.DEFINE_string(
      "export_path", None, "Where --export writes; by default beside the "
      "surrogate.")


def main() -> None:
  """Prints the scores of a surrogate."""
  _adopt_run()
  cli.check_files()
  _check_export()
  cli.load_backend()
  # Not at the top of the file: see `cli.launch`.
  from wsl_extraction.evaluation import by_goal
  from wsl_extraction.oracle import settings
  from wsl_extraction.oracle.oracle import Oracle
  from wsl_extraction.report import json_text, run_table
  from wsl_extraction.runtime import devices
  from wsl_extraction.victims import keras_file

  path = flags.FLAGS.surrogate
  experiment = cli.experiment()
  surrogate = keras_file.load(path)
  dataset, parts = cli.load_data(experiment)
  keras_file.check_fit(surrogate, path, parts.space.shape, parts.num_classes)
  exported = _export(surrogate, parts.test.rows)
  victim = cli.load_victim(experiment, parts)
  examiner = Oracle(settings.richest(victim).live(victim, is_owner=True))
  evaluation = by_goal.evaluate(surrogate, examiner, parts.test,
                                experiment.measures)
  result = {"surrogate_file": path, **devices.describe(),
            "dataset": {"name": dataset.name,
                        "fingerprint": dataset.fingerprint,
                        "test": len(parts.test)},
            "victim": victim.fingerprint, **_attacked(path),
            "measured": evaluation.measured, "oracle": evaluation.oracle,
            "surrogate": evaluation.surrogate,
            **({"more": evaluation.more} if evaluation.more else {}),
            **exported}
  text = json_text.json_text(result, indent=2) + "\n"
  if flags.FLAGS.output:
    with files.atomic_write(flags.FLAGS.output) as temporary:
      temporary.write_text(text)
  cli.show(run_table.result_table(json.loads(text)))


def _check_export() -> None:
  """Raises InputError where --export cannot be done; Keras is not imported."""
  if flags.FLAGS.export_path and not flags.FLAGS.export:
    raise InputError("--export_path means nothing without --export; give a "
                     "format, such as --export=onnx")
  if flags.FLAGS.export:
    export_paths.check(flags.FLAGS.export, _export_path(),
                       flags.FLAGS.surrogate)


def _export_path() -> pathlib.Path:
  path = flags.FLAGS.export_path
  return files.expanded(path) if path else export_paths.default(
      flags.FLAGS.surrogate, flags.FLAGS.export)


def _export(surrogate: Any, rows: Any) -> dict[str, Any]:
  """Writes the surrogate as --export says; a field of the result."""
  from wsl_extraction.runtime import export

  if not flags.FLAGS.export:
    return {}
  return {"export": dataclasses.asdict(export.export(
      surrogate, flags.FLAGS.export, _export_path(), rows))}


def _attacked(surrogate: str) -> dict[str, str]:
  """The victim of the run that made the surrogate, if it is known."""
  from wsl_extraction.report import damage, run_folder

  if not flags.FLAGS.workdir:
    return {}
  run = run_folder.RunFolder(flags.FLAGS.workdir)
  result = run.read_json("result.json")
  if not result or files.expanded(surrogate) != run.surrogate:
    return {}
  with damage.reading(run.result):
    return {"attacked": result["victim"]}


def _precision(folder: pathlib.Path) -> list[str]:
  """A run's, as a binding, which another device would choose otherwise.

  A victim that is trained in another precision is another one.
  """
  from wsl_extraction.report import run_folder

  result = run_folder.RunFolder(folder).read_json("result.json") or {}
  name = result.get("precision")
  return [f"Experiment.precision = {name!r}"] if name else []


def _adopt_run() -> None:
  """Takes configuration and surrogate from --workdir where none is given."""
  if flags.FLAGS.workdir:
    folder = files.expanded(flags.FLAGS.workdir)
    if not (folder / "config.gin").is_file():
      raise InputError(f"{folder} is no run folder; give one that `train` has "
                       "written")
    if not flags.FLAGS.gin_file:
      flags.FLAGS.gin_file = [str(folder / "config.gin")]
      flags.FLAGS.gin_bindings = [*_precision(folder),
                                  *flags.FLAGS.gin_bindings]
    if not flags.FLAGS.surrogate:
      flags.FLAGS.surrogate = str(folder / "surrogate.keras")
  if not flags.FLAGS.surrogate:
    raise InputError("no surrogate is named; give --surrogate or --workdir")


def launch() -> int:
  """Runs the command; returns its exit status."""
  return cli.launch(main, define_flags)


if __name__ == "__main__":
  sys.exit(launch())
