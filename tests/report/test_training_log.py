"""Callbacks under `fit`, on whichever backend is chosen."""

import dataclasses
import io
import json
import math
import os
import sys
import types

import keras
import numpy as np
import pytest

from wsl_extraction.errors import InputError
from wsl_extraction.report import metrics_file, tensorboard, training_log

# Keras 3.15 reads variables so under numpy 2.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept:DeprecationWarning")


@dataclasses.dataclass
class _Clock:
  now: float = 0.0

  def __call__(self):
    return self.now


class Counted(keras.Sequential):
  """A model that counts its steps, as a student does."""

  def __init__(self):
    super().__init__([
        keras.Input((3,)),
        keras.layers.Dense(2, kernel_initializer="ones")])
    self.step = keras.Variable(0, dtype="int32", trainable=False, name="step")
    self.compile(keras.optimizers.SGD(0.01), "mse")


class _Step(keras.callbacks.Callback):
  """Stands for the student's own counting."""

  def __init__(self, steps):
    super().__init__()
    self.steps = steps

  def on_epoch_end(self, epoch, logs=None):
    self.model.step.assign(self.model.step + self.steps)


def _fit(model, *given, epochs=2, steps=5):
  x = np.random.default_rng(0).normal(size=(4 * steps, 3)).astype("float32")
  counting = [_Step(steps)] if hasattr(model, "step") else []
  model.fit(
      x, x[:, :2], batch_size=4, epochs=epochs, shuffle=False, verbose=0,
      callbacks=[*counting, *given])
  return model


def test_progress_of_fit_starts_at_the_restored_step():
  model = Counted()
  model.step.assign(10)
  stream = io.StringIO()
  with training_log.Progress(
      "surrogate", 20, 4, stream=stream, interval=0.0) as shown:
    _fit(model, shown)
  lines = stream.getvalue().splitlines()
  # Keras hands figures over from threads: a line may overtake another.
  assert lines[0].startswith("surrogate  1")
  assert " steps  loss " in lines[0]
  assert lines[-1].startswith("surrogate  20/20 steps  loss ")
  assert "examples/s" in lines[-1] and " in " in lines[-1]


def test_progress_serves_models_that_count_no_steps():
  model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
  model.compile("sgd", "mse")
  stream = io.StringIO()
  shown = training_log.Progress("victim", 10, stream=stream, interval=0.0)
  _fit(model, shown)
  assert stream.getvalue().splitlines()[-1].startswith("victim  10/10 steps")


def test_progress_is_closed_when_fit_fails():
  class Failing(keras.callbacks.Callback):

    def on_epoch_end(self, epoch, logs=None):
      raise InputError("the disk is full")

  stream = io.StringIO()
  with (pytest.raises(InputError, match="the disk is full"),
        training_log.Progress("surrogate", 10, stream=stream) as shown):
    _fit(Counted(), shown, Failing())
  assert stream.getvalue().startswith("surrogate  5/10 steps")
  assert stream.getvalue().endswith("s\n")


def test_callbacks_change_no_weights(tmp_path):
  bare = _fit(Counted())
  watched = _fit(
      Counted(), training_log.Progress("surrogate", 10, stream=io.StringIO()),
      metrics_file.MetricsFile(tmp_path / "metrics.jsonl"),
      tensorboard.TensorBoard(tmp_path / "events"))
  for a, b in zip(bare.get_weights(), watched.get_weights(), strict=True):
    np.testing.assert_array_equal(a, b)


def _lines(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_resumed_metrics_file_is_that_of_an_uninterrupted_run(tmp_path):
  whole, parts = tmp_path / "whole.jsonl", tmp_path / "parts.jsonl"
  _fit(Counted(), metrics_file.MetricsFile(whole), epochs=3)

  model = _fit(Counted(), metrics_file.MetricsFile(parts), epochs=1)
  checkpoint = model.get_weights()
  _fit(model, metrics_file.MetricsFile(parts), epochs=1)
  with open(parts, "a") as file:
    file.write('{"step": 15, "seco')  # Killed while it wrote.
  restored = Counted()
  restored.set_weights(checkpoint)
  restored.step.assign(5)
  _fit(restored, metrics_file.MetricsFile(parts))

  figures = [(line["step"], line["loss"]) for line in _lines(whole)]
  assert [step for step, _ in figures] == [5, 10, 15]
  assert [(line["step"], line["loss"]) for line in _lines(parts)] == figures
  assert list(_lines(whole)[0]) == ["step", "seconds", "loss"]


def _told(callback, model, *events):
  callback.set_model(model)
  callback.on_train_begin()
  for step, logs in events:
    model.step.assign(step)
    callback.on_epoch_end(0, logs)
  callback.on_train_end()


def test_seconds_go_on_and_nan_is_null(tmp_path):
  path, clock = tmp_path / "metrics.jsonl", _Clock(100.0)
  clocked = metrics_file.MetricsFile(path, clock=clock)
  model = Counted()
  clocked.set_model(model)
  clocked.on_train_begin()
  clock.now += 12.5
  model.step.assign(5)
  clocked.on_epoch_end(0, {"loss": math.nan})
  again = metrics_file.MetricsFile(path, clock=lambda: clock.now)
  again.set_model(model)
  clock.now += 1000  # Between the two processes.
  again.on_train_begin()
  clock.now += 2
  model.step.assign(10)
  again.on_epoch_end(0, {"loss": 0.5})
  assert _lines(path) == [
      {"step": 5, "seconds": 12.5, "loss": None},
      {"step": 10, "seconds": 14.5, "loss": 0.5}]


@pytest.mark.parametrize("tail", [
    "", "\n", "{", '{"step": 6, "seconds": 1}', "null\n", '{"step": "x"}\n',
    '{"step": 3, "seconds": null}\n', "\x00\x00\x00"])
def test_damaged_lines_are_dropped(tmp_path, tail):
  path = tmp_path / "metrics.jsonl"
  good = '{"step": 5, "seconds": 1.5, "loss": 0.25}\n'
  path.write_text(good + tail)
  model = Counted()
  model.step.assign(5)
  _told(metrics_file.MetricsFile(path), model)
  assert path.read_text() == good


def test_a_fresh_run_empties_an_old_metrics_file(tmp_path):
  path = tmp_path / "metrics.jsonl"
  path.write_text('{"step": 5, "seconds": 1.5}\n')
  _told(metrics_file.MetricsFile(path), Counted())
  assert path.read_text() == ""


@pytest.mark.skipif(
    not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")
def test_a_full_disk_is_the_users_to_mend(tmp_path):
  path = tmp_path / "metrics.jsonl"
  recorded = metrics_file.MetricsFile(path)
  model = Counted()
  recorded.set_model(model)
  recorded.on_train_begin()
  path.symlink_to("/dev/full")
  with pytest.raises(InputError, match="free some space"):
    recorded.on_epoch_end(0, {"loss": 1.0})


def test_tensorboard_reads_what_was_written(tmp_path):
  pytest.importorskip(
      "tensorboard", reason="the package tensorboard is not installed")
  from tensorboard.backend.event_processing import plugin_event_accumulator

  model = Counted()
  _told(tensorboard.TensorBoard(tmp_path), model,
        (5, {"loss": 0.5}), (10, {"loss": 9.0}))
  model.step.assign(5)
  _told(tensorboard.TensorBoard(tmp_path), model,
        (10, {"loss": 0.25, "rotation": math.nan}))
  assert len(list(tmp_path.iterdir())) == 2
  read = plugin_event_accumulator.EventAccumulator(str(tmp_path))
  read.Reload()
  assert set(read.Tags()["tensors"]) == {"loss", "rotation"}
  losses = [(e.step, e.tensor_proto.float_val[0]) for e in read.Tensors("loss")]
  assert losses == [(5, 0.5), (10, 0.25)]


def test_without_tensorboard_nothing_is_written(tmp_path, monkeypatch, capsys):
  for name in ("tensorboard", "tensorboard.compat.proto.event_pb2",
               "tensorboard.summary.writer.record_writer"):
    monkeypatch.setitem(sys.modules, name, None)
  folder = tmp_path / "events"
  _told(tensorboard.TensorBoard(folder), Counted(), (5, {"loss": 0.5}))
  assert not folder.exists()
  assert capsys.readouterr() == ("", "")


def test_tensorboard_gets_steps_and_figures(tmp_path, monkeypatch):
  """The same calls against a stand-in, where the package is missing."""
  written = []

  class Record:

    def __init__(self, **fields):
      self.fields = fields

    def SerializeToString(self):
      return self.fields

  class RecordWriter:

    def __init__(self, file):
      assert file.writable()

    def write(self, fields):
      written.append(fields)

  class SessionLog(Record):
    START = 1

  events = types.SimpleNamespace(Event=Record, SessionLog=SessionLog)
  monkeypatch.setitem(
      sys.modules, "tensorboard.compat.proto.event_pb2", events)
  monkeypatch.setitem(
      sys.modules, "tensorboard.summary.writer.record_writer",
      types.SimpleNamespace(RecordWriter=RecordWriter))
  _told(tensorboard.TensorBoard(tmp_path), Counted(), (5, {"loss": 0.5}))
  assert written[0]["file_version"] == "brain.Event:2"
  assert written[1]["step"] == 1
  assert written[2]["step"] == 5
  assert written[2]["summary"] == {
      "value": [{"tag": "loss", "simple_value": 0.5}]}
