"""Curves of measurements beside what theory says, on whichever axes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from wsl_extraction.evaluation.metrics import Estimate
from wsl_extraction.report import plots

if TYPE_CHECKING:
  from matplotlib.axes import Axes
  from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class Curve:
  """Points with intervals, or a line that theory predicts.

  Attributes:
    name: For the legend.
    points: Places on the x axis, and what is there.
    is_theory: Whether it is drawn as a line without points.
    look: Curves of the same number share colour and marker.
  """

  name: str
  points: Sequence[tuple[float, Estimate]]
  is_theory: bool = False
  look: int = 0


@dataclasses.dataclass(frozen=True)
class Panel:
  """Curves on the same axes.

  Attributes:
    title: A few words above it.
    x_label: What the x axis shows, with its unit.
    y_label: Likewise.
    curves: In the order of the legend.
    log: Which axes are logarithmic: "", "x", "y" or "xy".
  """

  title: str
  x_label: str
  y_label: str
  curves: Sequence[Curve]
  log: str = ""


def drawn(name: str, title: str, panels: Sequence[Panel]
          ) -> Iterator[tuple[str, bytes]]:
  """Draws panels side by side: name.png and name.pdf."""
  return plots.rendered(name, lambda: _figure(title, panels))


def _figure(title: str, panels: Sequence[Panel]) -> Figure:
  from matplotlib import figure as figures

  width = max(6.5, 4.6 * len(panels))
  figure = figures.Figure(figsize=(width, 4.6), layout="constrained")
  is_shared = len({(panel.y_label, panel.log) for panel in panels}) == 1
  axes = figure.subplots(1, len(panels), sharey=is_shared, squeeze=False)[0]
  for axis, panel in zip(axes, panels, strict=True):
    axis.yaxis.set_tick_params(labelleft=True)
    _draw(axis, panel)
  figure.suptitle(title, fontsize=10)
  return figure


def _draw(axis: Axes, panel: Panel) -> None:
  from matplotlib import ticker

  if "x" in panel.log:
    axis.set_xscale("log")
  if "y" in panel.log:
    axis.set_yscale("log")
  measured = [curve for curve in panel.curves if not curve.is_theory]
  for curve in panel.curves:
    # Beside one another, so that no interval hides another.
    aside = 0.0 if curve.is_theory or "x" in panel.log else 0.06 * (
        measured.index(curve) - (len(measured) - 1) / 2)
    _draw_curve(axis, curve, aside)
  places = sorted({x for curve in panel.curves for x, _ in curve.points})
  if len(places) <= 9 and "x" in panel.log:
    axis.set_xticks(places, [f"{x:g}" for x in places])
    axis.xaxis.set_minor_locator(ticker.NullLocator())
  elif "x" not in panel.log:
    axis.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
  axis.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label)
  axis.title.set_fontsize(9)
  # Below the axes, where no curve can be.
  axis.legend(frameon=False, fontsize=8, loc="upper center",
              bbox_to_anchor=(0.5, -0.16), ncols=2)


def _draw_curve(axis: Axes, curve: Curve, aside: float) -> None:
  colour = plots.COLOURS[curve.look % len(plots.COLOURS)]
  places = [x + aside for x, _ in curve.points]
  values = [estimate.value for _, estimate in curve.points]
  if curve.is_theory:
    axis.plot(places, values, color=colour, linestyle="--", linewidth=1,
              label=curve.name)
    return
  halves = [[_length(e.value - e.low) for _, e in curve.points],
            [_length(e.high - e.value) for _, e in curve.points]]
  axis.errorbar(
      places, values, halves, color=colour, linestyle="none", markersize=5,
      marker=plots.MARKERS[curve.look % len(plots.MARKERS)], capsize=3,
      linewidth=1.2, label=curve.name)


def _length(length: float) -> float:
  return 0.0 if math.isnan(length) else max(length, 0.0)
