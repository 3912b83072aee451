"""Exported surrogates answer, in other programs, as the surrogate does."""

from __future__ import annotations

import keras
import numpy as np
import onnxruntime
import pytest

from fixtures import learning_attacks, students
from wsl_extraction.errors import InputError
from wsl_extraction.runtime import export, export_paths
from wsl_extraction.victims import keras_file

ROWS = np.random.default_rng(0).integers(0, 256, (70, 8, 8, 1), np.uint8)


@pytest.fixture(scope="module", name="model")
def fixture_model():
  model = learning_attacks.network((8, 8, 1), 3, (0, 255), seed=0)
  rng = np.random.default_rng(1)
  for weight in model.weights:  # the statistics of batch norm, too
    weight.assign(rng.uniform(0.5, 1.5, weight.shape))
  return model


@pytest.mark.parametrize("form", export_paths.FORMATS)
def test_an_export_answers_as_the_surrogate(form, model, tmp_path, capfd):
  path = export_paths.default(str(tmp_path / "surrogate.keras"), form)
  export_paths.check(form, path, "surrogate.keras")
  exported = export.export(model, form, path, ROWS)
  assert exported.rows == 70 and exported.other_classes == 0
  assert exported.largest_difference < 1e-4
  assert list(tmp_path.iterdir()) == [path]
  assert capfd.readouterr() == ("", "")
  if form != "onnx":
    return
  session = onnxruntime.InferenceSession(path)
  (entry,) = session.get_inputs()
  (answers,) = session.run(None, {entry.name: ROWS.astype(np.float32)})
  difference = np.abs(answers - model.predict(ROWS, verbose=0)).max()
  assert exported.largest_difference == pytest.approx(difference, abs=1e-12)


def test_a_float64_network_stays_one(tmp_path):
  model = keras.Sequential([
      keras.Input((4,), dtype="float64"),
      keras.layers.Dense(3, dtype="float64", activation="relu"),
      keras.layers.Dense(2, dtype="float64")])
  rows = np.random.default_rng(0).normal(size=(9, 4))
  exported = export.export(model, "onnx", tmp_path / "copy.onnx", rows)
  assert exported.largest_difference < 1e-12


def test_mixed_precision_is_written_in_float32(tmp_path):
  keras.config.set_dtype_policy("mixed_bfloat16")
  try:
    model = learning_attacks.network((8, 8, 1), 3, (0, 255), seed=0)
  finally:
    keras.config.set_dtype_policy("float32")
  path = tmp_path / "copy.keras"
  exported = export.export(model, "keras", path, ROWS)
  assert 0 < exported.largest_difference < 0.1
  loaded = keras.saving.load_model(path)
  assert {layer.compute_dtype for layer in loaded.layers} == {"float32"}
  np.testing.assert_array_equal(loaded.layers[2].get_weights()[0],
                                model.layers[2].get_weights()[0])


@pytest.mark.parametrize("form", ["onnx", "saved_model"])
def test_a_broken_export_leaves_nothing(form, model, tmp_path, monkeypatch):
  monkeypatch.setitem(export._READERS, form, lambda path: (
      "it 1.0", lambda rows: np.full((len(rows), 3), np.nan)))
  with pytest.raises(InputError, match=(
      f"^the surrogate cannot be exported as {form} .*finite.*; choose")):
    export.export(model, form, tmp_path / "copy", ROWS)
  assert not list(tmp_path.iterdir())


def test_a_file_that_answers_otherwise_is_told(model, tmp_path, monkeypatch):
  monkeypatch.setitem(export._READERS, "onnx", lambda path: (
      "it 1.0", lambda rows: 0.25 + np.roll(
          model.predict(rows, verbose=0), 1, axis=1)))
  exported = export.export(model, "onnx", tmp_path / "copy.onnx", ROWS)
  own = model.predict(ROWS, verbose=0)
  assert exported.largest_difference == pytest.approx(
      np.abs(0.25 + np.roll(own, 1, axis=1) - own).max(), rel=1e-5)
  assert exported.other_classes == 70


def test_a_loaded_surrogate_exports_itself(model, tmp_path):
  model.save(tmp_path / "surrogate.keras")
  loaded = keras_file.load(tmp_path / "surrogate.keras")
  with export._quiet():
    loaded.export(tmp_path / "copy.onnx", format="onnx", verbose=False)
  assert onnxruntime.InferenceSession(tmp_path / "copy.onnx").get_outputs()


def test_paths_that_cannot_be_are_refused_at_once(tmp_path, monkeypatch):
  copy = tmp_path / "copy.keras"
  copy.mkdir()
  for form, path, message in (
      ("keras", copy, "is the surrogate itself; give the export another"),
      ("saved_model", copy, "is there already; delete it, or give another"),
      ("keras", tmp_path / "b", "give a name that ends in .keras"),
      ("onnx", tmp_path, "is a folder; give --export_path a file's name")):
    surrogate = "a.keras" if form == "saved_model" else str(copy)
    with pytest.raises(InputError, match=message):
      export_paths.check(form, path, surrogate)
  monkeypatch.setattr(export_paths.importlib.util, "find_spec",
                      lambda name: None)
  with pytest.raises(InputError, match=(
      r"^--export=onnx needs onnx and onnxruntime and tf2onnx, not installed "
      r"here; pip install 'wsl-extraction\[onnx\]'$")):
    export_paths.check("onnx", tmp_path / "copy.onnx", "a.keras")


@pytest.mark.slow
def test_exports_of_jax(tmp_path):
  """TensorFlow writes them in a process of its own; jax gives the answers."""
  program = f"""
import sys
from fixtures import students
from wsl_extraction.runtime import export
import numpy as np
model = students.student(students.OBJECTIVES["supervised"]).network
exported = [export.export(model, form, f"{tmp_path}/{{form}}",
                          students.batch(labeled=70)["labeled"])
            for form in ("onnx", "saved_model")]
np.savez(sys.argv[1],
         differences=[one.largest_difference for one in exported],
         rows=[one.rows for one in exported])
"""
  figures = students.run_elsewhere(program, "jax", tmp_path)
  assert list(figures["rows"]) == [70, 70]
  assert max(figures["differences"]) < 1e-4
  assert (tmp_path / "onnx").is_file() and (tmp_path / "saved_model").is_dir()
