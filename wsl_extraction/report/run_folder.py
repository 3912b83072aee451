"""The run folder: one configuration, and all that its run leaves behind."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import shutil
import sqlite3
from types import TracebackType
from typing import Any

import wsl_extraction
from wsl_extraction.errors import InputError
from wsl_extraction.report import gin_diff
from wsl_extraction.report.damage import damaged
from wsl_extraction.report.json_text import json_text
from wsl_extraction.runtime import files, folder_lock


class RunFolder:
  """A folder that belongs to one configuration and to one process at a time.

  The files of a run, as paths: `config` (config.gin, what the user asked
  for), `operative` (operative.gin, every parameter in force), `metrics`
  (metrics.jsonl), `responses` (responses.sqlite), `checkpoint`
  (checkpoint.npz), `queries` (queries.json), `measured` (measured.sqlite),
  `surrogate` (surrogate.keras), `result` (result.json) and the folders `events`
  (TensorBoard) and `published` (responses for processes that train with this
  one, until it ends). Attacks may add files of their own, such
  as those of `attacks.learning`. Nothing is written before `prepare`.

      with RunFolder(workdir) as run:
        run.prepare(gin.config_str())

  Args:
    path: The folder; need not exist, "~" is understood.
  """

  def __init__(self, path: str | os.PathLike):
    self.path = files.expanded(path)
    self.config = self.path / "config.gin"
    self.operative = self.path / "operative.gin"
    self.metrics = self.path / "metrics.jsonl"
    self.queries = self.path / "queries.json"
    self.responses = self.path / "responses.sqlite"
    self.measured = self.path / "measured.sqlite"
    self.checkpoint = self.path / "checkpoint.npz"
    self.surrogate = self.path / "surrogate.keras"
    self.result = self.path / "result.json"
    self.events = self.path / "events"
    self.published = self.path / "published"
    self._lock = folder_lock.Lock(self.path / ".lock")

  def __enter__(self) -> RunFolder:
    return self

  def __exit__(
      self, kind: type[BaseException] | None, error: BaseException | None,
      trace: TracebackType | None) -> None:
    self.close()

  def prepare(self, config: str) -> None:
    """Makes the folder, or takes up the run of the same configuration in it.

    Accepted are a folder that does not exist, an empty one, and one whose
    config.gin was written by this version of the package and binds the same
    names to the same values (other comments and order do not count). So is a
    folder of whatever configuration whose run ended before anything was paid
    for; what it left is removed. Holds the
    folder until `close`, or until the process ends in whatever way. Removes
    what a killed process left half written.

    Args:
      config: The configuration as gin writes it (`gin.config_str()`).

    Raises:
      InputError: The folder belongs to another configuration or version,
        holds other files, is in use by another process, or cannot be written.
    """
    self.refuse_others(config)
    try:
      self.path.mkdir(parents=True, exist_ok=True)
      owner = self._lock.acquire()
    except OSError as error:
      raise files.unwritable(self.path, error) from error
    if owner is not None:
      raise self._in_use(owner)
    try:
      self.refuse_others(config)  # again: it was not held before
      if self._is_other(config):
        self._remove_traces()
      if not self.config.exists():
        self.write_text(self.config.name, f"{_VERSION_LINE}{config.strip()}\n")
      self._sweep()
    except BaseException:
      self.close()
      raise

  def refuse_others(self, config: str | None = None) -> None:
    """Makes sure that `prepare` would accept the folder, and changes nothing.

    Args:
      config: As for `prepare`; None accepts every configuration.

    Raises:
      InputError: As for `prepare`, except that it may be in use.
    """
    self._refuse_foreign()
    try:
      held = self.config.read_text(encoding="utf-8")
    except FileNotFoundError:
      return
    except OSError as error:
      raise InputError(
          f"cannot read {self.config}: {error.strerror}; make it readable, or "
          "choose another --workdir") from error
    except ValueError as error:
      raise damaged(self.config, error, "delete that folder") from error
    if gin_diff.version(held) and self._is_other(config or held) and (
        not self.has_work()):
      return  # a file of that name without a version may be the user's own
    self._refuse_version(held)
    difference = gin_diff.first_difference(held, config or held)
    if difference:
      name, old, new = difference
      raise InputError(
          f"{self.path} holds the run of another configuration: {name} is "
          f"{old} there and {new} here; choose another --workdir, or delete "
          "that folder")

  def refuse_use(self) -> None:
    """Raises InputError while another process uses the folder."""
    owner = self._lock.owner()
    if owner is not None:
      raise self._in_use(owner)

  def close(self) -> None:
    """Lets other processes use the folder."""
    self._lock.release()

  def discard(self) -> None:
    """Removes what `prepare` made, and the folder if nothing else is in it.

    For a run that failed before anything was paid for.
    """
    self._remove_traces()
    (self.path / ".lock").unlink(missing_ok=True)
    self.close()
    with contextlib.suppress(OSError):
      self.path.rmdir()

  def has_work(self) -> bool:
    """True if something was paid for, or there is a result or a training."""
    return any(path.exists() for path in (
        self.metrics, self.events, self.checkpoint, self.operative,
        self.surrogate, self.result, *self.round_files())) or (
            _charged(self.responses))

  def _is_other(self, config: str) -> bool:
    """True if the folder belongs to another configuration or version."""
    try:
      held = self.config.read_text(encoding="utf-8")
    except FileNotFoundError:
      return False
    return gin_diff.version(held) != wsl_extraction.__version__ or (
        gin_diff.first_difference(held, config) is not None)

  def _remove_traces(self) -> None:
    # The configuration last: without it a folder is foreign.
    for path in (self.queries, self.responses, self.measured,
                 *self.round_files(), self.config):
      path.unlink(missing_ok=True)
    shutil.rmtree(self.published, ignore_errors=True)

  def round_files(self) -> list[pathlib.Path]:
    """Checkpoints of trainings before the rounds of an attack, round_*."""
    return sorted(self.path.glob("round_*"))

  def write_text(self, name: str, text: str) -> None:
    """Writes a file of the folder, whole or not at all.

    Raises:
      InputError: The folder is read-only or the disk is full.
    """
    with files.atomic_write(self.path / name) as temporary:
      temporary.write_text(text, encoding="utf-8")

  def write_json(self, name: str, content: dict[str, Any]) -> None:
    """Writes a JSON file of the folder, whole or not at all.

    Args:
      name: Such as "result.json".
      content: Its fields, kept in the order given; see `json_text`.

    Raises:
      InputError: The folder is read-only or the disk is full.
    """
    self.write_text(name, json_text(content, indent=2) + "\n")

  def read_json(self, name: str) -> dict[str, Any] | None:
    """Reads a JSON file of the folder; None where there is none.

    Raises:
      InputError: It is damaged or cannot be read.
    """
    path = self.path / name
    try:
      content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
      return None
    except OSError as error:
      raise InputError(
          f"cannot read {path}: {error.strerror}; make it readable") from error
    except (ValueError, RecursionError) as error:
      raise damaged(path, error) from error
    if not isinstance(content, dict):
      raise damaged(path, "it holds no JSON object")
    return content

  def _refuse_foreign(self) -> None:
    try:
      names = set(os.listdir(self.path))
    except FileNotFoundError:
      return
    except NotADirectoryError as error:
      raise InputError(
          f"{self.path} is no folder; choose another --workdir") from error
    except OSError as error:
      raise InputError(
          f"cannot read {self.path}: {error.strerror}; choose another "
          "--workdir") from error
    if self.config.name in names:
      return
    others = sorted(
        n for n in names if n != ".lock" and not _LEFTOVER.fullmatch(n))
    if others:
      raise InputError(
          f"{self.path} is no run folder: it holds {others[0]} but no "
          "config.gin; choose another --workdir, or one that is empty")

  def _refuse_version(self, held: str) -> None:
    version = gin_diff.version(held)
    if version != wsl_extraction.__version__:
      raise InputError(
          f"{self.path} holds the run of another version of wsl_extraction, "
          f"{version or 'which left no number'}, not of "
          f"{wsl_extraction.__version__}; delete that folder, or install that "
          "version")

  def _in_use(self, owner: str) -> InputError:
    return InputError(f"{self.path} is in use by process {owner}; wait until "
                      "it ends, or choose another --workdir")

  def _sweep(self) -> None:
    for path in self.path.iterdir():
      if _LEFTOVER.fullmatch(path.name):
        path.unlink(missing_ok=True)


_VERSION_LINE = f"# wsl_extraction {wsl_extraction.__version__}\n"
# The temporary files of `files.atomic_write`, of those that a run writes.
_LEFTOVER = re.compile(
    r"\.(config|operative|metrics|checkpoint|surrogate|result|queries"
    r"|round_\d+(_best|_rows)?)"
    r"-[a-z0-9_]{8}\.(gin|jsonl|npz|keras|json)")


def _charged(path: pathlib.Path) -> bool:
  """Returns True if a store holds a charge, or if that cannot be told."""
  if not path.exists():
    return False
  try:
    with contextlib.closing(sqlite3.connect(path)) as database:
      return database.execute(
          "SELECT EXISTS(SELECT 1 FROM charges)").fetchone()[0] > 0
  except sqlite3.Error:
    return True  # not to be thrown away
