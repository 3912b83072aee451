"""Files that cannot be used, and cases for tests/test_bad_input.py."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import zipfile

import numpy as np

import commands

# Root may read and write whatever its mode says, unless it gives that up.
UNPRIVILEGED = () if os.geteuid() else (
    "setpriv", "--bounding-set", "-dac_override,-dac_read_search")


def images_of_two_sizes(folder: pathlib.Path, shared: pathlib.Path) -> None:
  from PIL import Image

  for index, side in enumerate((8, 9)):
    place = folder / "images" / str(index)
    place.mkdir(parents=True)
    Image.new("L", (side, side)).save(place / "a.png")


def nan_pool(folder: pathlib.Path, shared: pathlib.Path) -> None:
  images = np.zeros((200, 8, 8, 1), np.float32)
  images[7, 0, 0, 0] = np.nan
  np.savez(folder / "data.npz", x=images, y=np.arange(200) % 10)


def make_shared(folder: pathlib.Path) -> None:
  """Writes the models, and makes the run that the cases damage."""
  _save_models(folder)
  done = commands.run(
      commands.command("train", "--gin_file=base.gin", "--workdir=run"), folder,
      commands.environment(folder))
  assert done.status == 0, done.stderr


def _save_models(folder: pathlib.Path) -> None:
  import keras

  def save(name: str, shape: tuple[int, ...], classes: int, *extra) -> None:
    keras.Sequential([
        keras.Input(shape), keras.layers.Flatten(), *extra,
        keras.layers.Dense(classes)]).save(folder / name)

  save("good.keras", (8, 8, 1), 10)
  save("other_shape.keras", (9, 9, 1), 10)
  save("other_classes.keras", (8, 8, 1), 7)
  save("lambda.keras", (8, 8, 1), 10, keras.layers.Lambda(
      lambda x: __import__("pathlib").Path("intruded").touch() or x,
      output_shape=(64,)))
  # Keras calls it once to build the model, here.
  pathlib.Path("intruded").unlink(missing_ok=True)
  _with_code(folder / "good.keras", folder / "code.keras")
  whole = (folder / "good.keras").read_bytes()
  (folder / "damaged.keras").write_bytes(
      whole[:500] + bytes(len(whole) - 700) + whole[-200:])
  (folder / "foreign.keras").write_text("no model")


def _with_code(source: pathlib.Path, target: pathlib.Path) -> None:
  """Copies a model whose last layer becomes a class of another module."""
  with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
    for name in old.namelist():
      content = old.read(name)
      if name == "config.json":
        config = json.loads(content)
        config["config"]["layers"][-1] |= {
            "module": "intruder", "class_name": "Layer",
            "registered_name": "Layer"}
        content = json.dumps(config).encode()
      new.writestr(name, content)


def run_with(**files: bytes | None):
  """Copies the finished run and changes files in it; None removes one."""

  def prepare(folder: pathlib.Path, shared: pathlib.Path) -> None:
    shutil.copytree(shared / "run", folder / "run")
    for name, content in files.items():
      path = folder / "run" / name.replace("_", ".")
      path.unlink(missing_ok=True)
      if content is not None:
        path.write_bytes(content)

  return prepare


def copied(name: str):
  return lambda folder, shared: shutil.copy(shared / name, folder) and None


def read_only_run(folder: pathlib.Path, shared: pathlib.Path) -> None:
  run_with(result_json=None)(folder, shared)
  for path in (folder / "run").iterdir():
    path.chmod(0o444)
  (folder / "run").chmod(0o555)


def file_as_parent(folder: pathlib.Path, shared: pathlib.Path) -> None:
  (folder / "file").touch()


def victim(name: str, *said: str, command: str = "train"):
  return {
    "said": (name, *said),
    "command": command,
    "prepare": copied(name),
    "arguments": (
      "--gin_bindings=experiment.Experiment.victim = @keras_file.KerasFile()",
      f"--gin_bindings=keras_file.KerasFile.path = '{name}'",
    ),
  }


def surrogate(name: str, *said: str):
  return {"said": (name, *said), "command": "evaluate",
          "prepare": copied(name), "arguments": (f"--surrogate={name}",)}


RUN = ("--workdir=run",)
CASES = {
    "damaged responses": {
        "said": ("run/responses.sqlite", "damaged", "restore"),
        "arguments": RUN,
        "prepare": run_with(result_json=None, checkpoint_npz=None,
                            responses_sqlite=b"garbage" * 500)},
    "responses taken away from their checkpoint": {
        "said": ("run/responses.sqlite is missing", "put it back"),
        "arguments": RUN,
        "prepare": run_with(result_json=None, responses_sqlite=None)},
    "damaged checkpoint": {
        "said": ("run/checkpoint.npz is damaged", "delete it"),
        "arguments": RUN,
        "prepare": run_with(result_json=None, checkpoint_npz=b"PK garbage")},
    "damaged result": {
        "said": ("run/result.json is damaged", "delete it"), "arguments": RUN,
        "prepare": run_with(result_json=b'{"attack": "lear')},
    "another configuration": {
        "said": ("another configuration", "budget is 32 there and 16 here",
                 "choose another"), "prepare": run_with(),
        "arguments": (
            *RUN, "--gin_bindings=experiment.Experiment.budget = 16")},
    "labels of another access": {
        "said": ("run/responses.sqlite", "'scores'", "'label'", "choose"),
        "command": "label", "prepare": run_with(),
        "arguments": ("--output=run/responses.sqlite",
                      "--gin_bindings=experiment.Experiment.access = 'label'")},
    "read-only run folder": {
        "said": ("cannot write run", "Permission denied", "choose"),
        "arguments": RUN, "prefix": UNPRIVILEGED, "prepare": read_only_run},
    "run folder below a file": {
        "said": ("file/run", "choose another --workdir"),
        "arguments": ("--workdir=file/run",), "prepare": file_as_parent},
    "labels below a file": {
        "said": ("cannot write file/l.sqlite", "choose"), "command": "label",
        "arguments": ("--output=file/l.sqlite",), "prepare": file_as_parent},
    "foreign victim": victim("foreign.keras", "no .keras file", "save"),
    "damaged victim": victim("damaged.keras", "damaged", command="label"),
    "victim with a lambda": victim("lambda.keras", "code", "not run"),
    "victim of another shape": victim(
        "other_shape.keras", "(None, 9, 9, 1)", "(None, 8, 8, 1)", "use"),
    "surrogate of other classes": surrogate(
        "other_classes.keras", "(None, 7)", "(None, 10)", "use"),
    "surrogate with code": surrogate("code.keras", "code", "not run"),
    "surrogate with a lambda": surrogate("lambda.keras", "code", "not run"),
    "missing surrogate": {
        "said": ("no model file nowhere.keras", "give"), "command": "evaluate",
        "arguments": ("--surrogate=nowhere.keras",)},
}
