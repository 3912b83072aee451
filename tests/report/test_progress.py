"""Bars, lines, rates and time left."""

import dataclasses
import io
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest

from wsl_extraction.report import progress, training_log


@dataclasses.dataclass
class _Clock:
  now: float = 0.0

  def __call__(self):
    return self.now


class _Terminal(io.StringIO):

  def isatty(self):
    return True


def _metered(stream, clock, steps, seconds, **options):
  with progress.Meter(
      "surrogate", 400, "steps", stream=stream, clock=clock,
      **options) as meter:
    for done in steps:
      clock.now += seconds
      meter.update(done, loss=np.float32(0.4123))


def test_plain_lines_come_at_most_every_five_seconds_and_once_at_the_end():
  stream = io.StringIO()
  _metered(stream, _Clock(), range(1, 101), 0.125, examples=64)
  assert stream.getvalue().splitlines() == [
      "surrogate  40/400 steps  loss 0.412  512 examples/s  45 s left",
      "surrogate  80/400 steps  loss 0.412  512 examples/s  40 s left",
      "surrogate  100/400 steps  loss 0.412  512 examples/s  in 12 s"]


def test_time_left_ignores_compilation_and_earlier_processes():
  clock, stream = _Clock(), io.StringIO()
  with progress.Meter(
      "surrogate", 400, "steps", done=200, stream=stream,
      clock=clock) as meter:
    clock.now += 60  # Compilation, within the first step.
    meter.update(201)
    for done in range(202, 212):
      clock.now += 1
      meter.update(done)
  lines = stream.getvalue().splitlines()
  assert lines[0] == "surrogate  201/400 steps"
  assert lines[1] == "surrogate  206/400 steps  1 steps/s  3 min 14 s left"
  assert lines[-1] == "surrogate  211/400 steps  1 steps/s  in 1 min 10 s"


def test_time_left_follows_the_recent_rate():
  clock, stream = _Clock(), io.StringIO()
  with progress.Meter("label", 1000, stream=stream, clock=clock) as meter:
    for done in range(1, 101):
      clock.now += 1
      meter.update(done)
    for done in range(110, 501, 10):
      clock.now += 1
      meter.update(done)
    assert stream.getvalue().endswith("10 examples/s  50 s left\n")


def test_a_unit_longer_than_the_window_still_gives_a_rate():
  clock, stream = _Clock(), io.StringIO()
  with progress.Meter("label", 10, stream=stream, clock=clock) as meter:
    for done in range(1, 6):
      clock.now += 100
      meter.update(done)
  assert "label  4/10 examples  0.01 examples/s  10 min 00 s left" in (
      stream.getvalue())


def test_nothing_to_do_still_says_so():
  stream = io.StringIO()
  progress.Meter("label", 100, done=100, stream=stream).close()
  assert stream.getvalue() == "label  100/100 examples  in 0 s\n"


def test_updates_out_of_order_never_go_back():
  stream = io.StringIO()
  with progress.Meter("label", 9, stream=stream) as meter:
    for done in (3, 5, 4):
      meter.update(done)
    assert meter.done == 5
    meter.close()
    meter.update(6)
  assert stream.getvalue().startswith("label  5/9 examples")
  assert stream.getvalue().count("\n") == 1


def test_a_terminal_gets_a_bar_and_its_cursor_back(monkeypatch):
  monkeypatch.setenv("TERM", "xterm")
  monkeypatch.setenv("COLUMNS", "120")
  stream, out = _Terminal(), sys.stdout
  _metered(stream, _Clock(), range(1, 401), 0.125, examples=64)
  text = stream.getvalue()
  assert "━" in text and "\x1b[2K" in text
  assert "200/400  25 s left  512 examples/s  loss 0.412" in text
  assert "400/400  in 50 s  512 examples/s  loss 0.412" in text
  assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")
  assert text.find("\x1b[?25h") < text.find("━") + len(text) // 10
  assert sys.stdout is out


def test_a_dumb_terminal_gets_lines(monkeypatch):
  monkeypatch.setenv("TERM", "dumb")
  stream = _Terminal()
  progress.Meter("label", 2, stream=stream).close()
  assert stream.getvalue() == "label  0/2 examples  in 0 s\n"


@pytest.mark.parametrize("terminal", [False, True])
def test_a_closed_stream_ends_the_display_not_the_work(monkeypatch, terminal):
  monkeypatch.setenv("TERM", "xterm")
  stream = _Terminal() if terminal else io.StringIO()
  clock = _Clock()
  with progress.Meter("label", 100, stream=stream, clock=clock) as meter:
    meter.update(1)
    stream.close()
    for done in range(2, 100):
      clock.now += 10
      meter.update(done)
  assert meter.done == 99
  progress.Meter("label", 1, stream=stream).close()


def test_a_closed_standard_error_is_borne(monkeypatch):
  monkeypatch.setattr(sys, "stderr", None)
  with progress.Meter("label", 2, interval=0.0) as meter:
    meter.update(2)


def test_a_narrow_terminal_keeps_one_line_with_the_time_left(monkeypatch):
  monkeypatch.setenv("TERM", "xterm")
  monkeypatch.setenv("COLUMNS", "50")
  stream = _Terminal()
  _metered(stream, _Clock(), range(1, 201), 0.125, examples=64)
  assert "25 s left" in stream.getvalue()
  assert "…" in stream.getvalue()
  assert stream.getvalue().count("\n") == 1


def test_the_meter_needs_no_keras():
  code = (
      "import sys\n"
      "from wsl_extraction.report import progress, run_folder, run_table\n"
      "assert not {'keras', 'tensorflow', 'rich'} & set(sys.modules)\n")
  subprocess.run([sys.executable, "-c", code], check=True)


class Watched(training_log.Progress):
  """Notes from which of its methods, and on which threads, it is used."""

  def __init__(self, *arguments, **options):
    super().__init__(*arguments, **options)
    self.begun, self.reads, self.threads = False, [], set()

  @property
  def model(self):
    # On jax, Keras then writes the state of the last step to the variables.
    self.reads.append("in training" if self.begun else "before")
    return super().model

  def on_train_begin(self, logs=None):
    super().on_train_begin(logs)
    self.begun = True

  def on_train_batch_end(self, batch, logs=None):
    self.threads.add(threading.current_thread())
    super().on_train_batch_end(batch, logs)


def test_the_model_is_left_alone_once_training_has_begun():
  """Figures come on a thread of Keras' own, beside the next step."""
  model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
  model.compile("sgd", "mse")
  model.step = keras.Variable(0, dtype="int32", trainable=False)
  stream = io.StringIO()
  with Watched("victim", 12, stream=stream, interval=0.0) as shown:
    model.fit(np.ones((24, 3)), np.ones((24, 2)), batch_size=4, epochs=2,
              shuffle=False, verbose=0, callbacks=[shown])
  assert set(shown.reads) == {"before"}
  assert stream.getvalue().splitlines()[-1].startswith("victim  12/12 steps")
  if keras.backend.backend() != "tensorflow":
    assert threading.main_thread() not in shown.threads


@pytest.mark.parametrize("seconds, words", [
    (0, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (3599, "59 min 59 s"),
    (7505, "2 h 05 min"), (97200, "1 d 3 h"), (-3, "0 s")])
def test_durations_are_worded(seconds, words):
  assert progress.duration(seconds) == words
