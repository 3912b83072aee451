"""The runtime of a run: its trainings are shown and recorded in its folder."""

from __future__ import annotations

import functools
from typing import Any

from wsl_extraction.report import (
    metrics_file,
    stages,
    tensorboard,
    training_log,
)
from wsl_extraction.report.run_folder import RunFolder
from wsl_extraction.runtime import devices, workers
from wsl_extraction.runtime.placement import Placement
from wsl_extraction.runtime.runtime import Runtime


def runtime(run: RunFolder, placement: Placement,
            processes: int | None = None) -> Runtime:
  """Gives the runtime of a run, which the first of several hosts shows.

  Args:
    run: Its folder.
    placement: Where to train.
    processes: Those that decode images of a streamed data set; None is one
      less than there are CPUs, 0 threads of this one.
  """
  common: dict[str, Any] = {
      "folder": run.path, "placement": placement, "adapt": devices.adapt,
      "compile_options": devices.compile_options(placement.replicas),
      "read_batches": functools.partial(
          workers.read_ahead, workers=processes)}
  if not placement.is_main:
    return Runtime(**common)

  def shown_and_recorded(name: str, *size: int) -> list[Any]:
    shown = training_log.Progress(name, *size)
    if name != "surrogate":
      path = run.path / f"{name.split('/')[0].replace(' ', '_')}.jsonl"
      return [metrics_file.MetricsFile(path), shown]
    return [metrics_file.MetricsFile(run.metrics),
            tensorboard.TensorBoard(run.events), shown]

  return Runtime(**common, training_callbacks=shown_and_recorded,
                 stage=stages.Stages())
