"""Curves of measurements beside what theory says, on whichever axes.

Each panel has a title, an x axis and a legend of its own; `plots.drawn` draws
panels that share them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from wsl_extraction.report import plots
from wsl_extraction.report.panels import Panel, Series

if TYPE_CHECKING:
  from matplotlib.axes import Axes
  from matplotlib.figure import Figure


def drawn(name: str, title: str, panels: Sequence[Panel]
          ) -> Iterator[tuple[str, bytes]]:
  """Draws panels side by side: name.png and name.pdf."""
  return plots.rendered(name, lambda: _figure(title, panels))


def _figure(title: str, panels: Sequence[Panel]) -> Figure:
  from matplotlib import figure as figures

  width = max(6.5, 4.6 * len(panels))
  figure = figures.Figure(figsize=(width, 4.6), layout="constrained")
  is_shared = len({(panel.label, panel.log) for panel in panels}) == 1
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
  measured = [curve for curve in panel.series if not curve.is_theory]
  for order, curve in enumerate(panel.series):
    # Beside one another, so that no interval hides another.
    aside = 0.0 if curve.is_theory or "x" in panel.log else 0.06 * (
        measured.index(curve) - (len(measured) - 1) / 2)
    _draw_curve(axis, panel, curve, order, aside)
  places = sorted({x for curve in panel.series for x, _ in curve.points})
  if len(places) <= 9 and "x" in panel.log:
    axis.set_xticks(places, [f"{x:g}" for x in places])
    axis.xaxis.set_minor_locator(ticker.NullLocator())
  elif "x" not in panel.log:
    axis.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
  axis.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.label)
  axis.title.set_fontsize(9)
  # Below the axes, where no curve can be.
  axis.legend(frameon=False, fontsize=8, loc="upper center",
              bbox_to_anchor=(0.5, -0.16), ncols=2)


def _draw_curve(axis: Axes, panel: Panel, curve: Series, order: int,
                aside: float) -> None:
  colour, marker = plots.look_of(curve, order)
  places = [x + aside for x, _ in curve.points]
  values = [estimate.value for _, estimate in curve.points]
  if curve.is_theory:
    axis.plot(places, values, color=colour, linestyle="--", linewidth=1,
              label=curve.name)
    return
  axis.errorbar(
      places, values, panel.bars([e for _, e in curve.points]), color=colour,
      marker=marker, linestyle="none", markersize=5, capsize=3, linewidth=1.2,
      label=curve.name)
