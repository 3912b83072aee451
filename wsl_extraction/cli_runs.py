"""Runs of a table on the hosts of a cluster."""

from __future__ import annotations

import contextlib
import io
import pathlib
import sys
import traceback
import uuid
from collections.abc import Iterator, Sequence

from wsl_extraction import cli
from wsl_extraction.cli_workers import Surroundings
from wsl_extraction.report.grids import run_processes
from wsl_extraction.report.grids.grid_runs import Run
from wsl_extraction.report.grids.run_processes import Ended
from wsl_extraction.runtime import files

_TEXT = 4000  # characters of what a failed run wrote
# Of no use to the owner of the table.
_LEFT_BEHIND = ("checkpoint.npz", ".lock")


class ClusterRuns:
  """Does runs on whatever host it is, in a process that ends with the run."""

  def __init__(self, root: pathlib.Path, mark: str,
               surroundings: Surroundings):
    """Starts nothing yet.

    Args:
      root: The folder of the table, as all hosts call it.
      mark: The name of a file in it. A host that does not see it has a file
        system of its own, and gives the files of its runs back.
      surroundings: Those of the command; its flags are those of `train`.
    """
    self._root, self._mark = root, mark
    self._surroundings = surroundings

  def train(self, run: Run) -> Ended:
    """Does a run, or the rest of it where its files are here."""
    self._surroundings.take_on()
    is_shared = (self._root / self._mark).exists()
    status, text = _launched(
        run_processes.arguments(run, self._root, self._surroundings.words))
    if status:
      return Ended(status, text[-_TEXT:])
    return Ended(0, "", {} if is_shared else _contents(run.folder(self._root)))


def _launched(words: Sequence[str]) -> tuple[int, str]:
  """Runs `train` in this process; its status and its standard error."""
  from wsl_extraction import train

  sys.argv[:] = ["train", *words]
  written = io.StringIO()
  with (contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(written)):
    try:
      status = train.launch()
    except Exception:  # a defect, which ends a process with status 1
      traceback.print_exc()
      status = 1
  return status, written.getvalue()


def _contents(folder: pathlib.Path) -> dict[str, bytes]:
  return {path.name: path.read_bytes() for path in folder.iterdir()
          if path.is_file() and path.name not in _LEFT_BEHIND}


@contextlib.contextmanager
def marked(root: pathlib.Path) -> Iterator[str]:
  """Lays a file into a folder by which other hosts know it; gives its name.

  Raises:
    InputError: The folder cannot be written.
  """
  path = root / f".owner-{uuid.uuid4().hex}"
  with cli.without_traces(path):
    with files.atomic_write(path) as temporary:
      temporary.write_bytes(b"")
    try:
      yield path.name
    finally:
      path.unlink(missing_ok=True)
