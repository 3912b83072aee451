"""Data of plots: series with intervals, on the axes of panels."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from wsl_extraction.evaluation.metrics import Estimate


@dataclasses.dataclass(frozen=True)
class Series:
  """Points with intervals, or a line that theory predicts.

  Attributes:
    name: For the legend.
    points: Places on the x axis, and what is there.
    paper: Places, and the paper's figures.
    is_theory: Whether it is drawn as a line without points.
    look: Series of the same number share colour and marker; None takes the
      place among the series of the panel.
  """

  name: str
  points: Sequence[tuple[float, Estimate]]
  paper: Sequence[tuple[float, float]] = ()
  is_theory: bool = False
  look: int | None = None


@dataclasses.dataclass(frozen=True)
class Panel:
  """Series on the same axes.

  Attributes:
    label: What the y axis shows, with its unit.
    series: In the order of the legend.
    title: A few words above it; for `curves`, as all below.
    x_label: What the x axis shows, with its unit.
    log: Which axes are logarithmic: "", "x", "y" or "xy".
    victim: The least and the largest accuracy of the victims, in the unit of
      the y axis, for a line or a band; None draws none.
  """

  label: str
  series: Sequence[Series]
  title: str = ""
  x_label: str = ""
  log: str = ""
  victim: tuple[float, float] | None = None

  def bars(self, estimates: Sequence[Estimate]) -> list[list[float]]:
    """The lengths of error bars below and above, [2, n].

    The interval of a mean over few seeds may reach beyond what a share can be;
    its bar ends there. One seed alone has no interval.
    """
    is_share = self.label.endswith("(%)")
    low, high = (0.0, 100.0) if is_share else (-math.inf, math.inf)
    return [[_length(e.value - max(e.low, low)) for e in estimates],
            [_length(min(e.high, high) - e.value) for e in estimates]]


def _length(length: float) -> float:
  return 0.0 if math.isnan(length) else max(length, 0.0)


def axis_label(quantity: str, unit: str = "") -> str:
  """The label of an axis as papers print it: "Top-1 fidelity (%)"."""
  words = quantity.replace("_", " ")
  return f"{words[:1].upper()}{words[1:]}" + (f" ({unit})" if unit else "")


@dataclasses.dataclass(frozen=True)
class Plot:
  """Panels side by side over the same x axis.

  Attributes:
    title: A sentence or more; wrapped.
    panels: At least one, with the same series each.
    x_label: What the x axis shows; "" where its ticks say it.
    ticks: Places on the x axis and what stands there; {} leaves it to
      matplotlib.
    is_log: Whether the x axis is logarithmic.
    is_joined: Whether lines join the points of a series.
    mark: A place on the x axis for a vertical line, and its name.
  """

  title: str
  panels: Sequence[Panel]
  x_label: str
  ticks: Mapping[float, str]
  is_log: bool = False
  is_joined: bool = True
  mark: tuple[float, str] | None = None
