"""Plots of figures with intervals, as PNG and PDF."""

from __future__ import annotations

import io
import itertools
import math
import textwrap
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from wsl_extraction.report.panels import Panel, Plot, Series

if TYPE_CHECKING:
  from matplotlib.axes import Axes
  from matplotlib.figure import Figure
  from matplotlib.typing import RcKeyType


# Told apart by those who see no red or no green (M. Okabe, K. Ito, "Color
# Universal Design", 2008), and by the markers when printed in black.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9",
            "#000000")
# One more than there are colours, so that pairs repeat late.
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_HOLLOW = "hollow: the paper"
_VICTIM = ("the victim", "the victims, least to best")
_STYLE: dict[RcKeyType, Any] = {
    "font.size": 9, "axes.grid": True, "grid.alpha": 0.3,
    "axes.spines.top": False, "axes.spines.right": False, "pdf.fonttype": 42}


def drawn(plot: Plot) -> Iterator[tuple[str, bytes]]:
  """Draws a plot: plot.png and plot.pdf, the same bytes for the same plot."""
  return rendered("plot", lambda: _figure(plot))


def look_of(series: Series, order: int) -> tuple[str, str]:
  """The colour and the marker of the series in that place of a panel."""
  look = order if series.look is None else series.look
  return _COLOURS[look % len(_COLOURS)], _MARKERS[look % len(_MARKERS)]


def rendered(name: str, draw: Callable[[], Figure]
             ) -> Iterator[tuple[str, bytes]]:
  """Draws a figure in the style of all plots, as name.png and name.pdf."""
  import matplotlib  # slow to import

  with matplotlib.rc_context():
    # Not what the user's own settings make of it.
    matplotlib.rcdefaults()
    matplotlib.rcParams.update(_STYLE)
    figure = draw()
    for kind, metadata in (("png", {"Software": None}),
                           ("pdf", {"CreationDate": None, "Producer": None})):
      stream = io.BytesIO()
      figure.savefig(stream, format=kind, dpi=150, metadata=metadata)
      yield f"{name}.{kind}", stream.getvalue()


def _figure(plot: Plot) -> Figure:
  # Not by pyplot, which looks for a display and remembers figures.
  from matplotlib import figure as figures
  from matplotlib import layout_engine

  width = max(7, 1.5 + 4 * len(plot.panels))
  title = textwrap.wrap(plot.title, int(12 * width))
  columns = _legend_columns(plot, width)
  names = len(plot.panels[0].series)
  height = 3.8 + 0.15 * len(title) + 0.2 * math.ceil(names / columns)
  figure = figures.Figure(
      figsize=(width, height),
      layout=layout_engine.ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08))
  axes = figure.subplots(1, len(plot.panels), sharey=True, squeeze=False)[0]
  named = [_draw_panel(axis, plot, panel)
           for axis, panel in zip(axes, plot.panels, strict=True)]
  # The series of one name look the same in all panels.
  handles: dict[str, Any] = {}
  for handle, name in itertools.chain(*named):
    handles.setdefault(name, handle)
  shown = [(handle, name) for name, handle in handles.items()]
  low, high = axes[0].get_ylim()
  is_empty = not any(_drawn(panel) for panel in plot.panels)
  axes[0].set_ylim(*(0, 100) if is_empty else (max(low, -1), min(high, 101)))
  figure.suptitle(_literal("\n".join(title)), fontsize=9)
  legend = figure.legend(
      [handle for handle, _ in shown], [str(n) for n in range(len(shown))],
      frameon=False, loc="outside lower center", ncols=columns)
  # Names that begin with _ are none to matplotlib, if they are given at once.
  for text, (_, name) in zip(legend.get_texts(), shown, strict=True):
    text.set_text(_literal(name))
  return figure


def _literal(text: str) -> str:
  # What stands between two $ is a formula to matplotlib.
  return text.replace("$", r"\$")


def _drawn(panel: Panel) -> bool:
  return any(series.points or series.paper for series in panel.series)


def _legend_columns(plot: Plot, width: float) -> int:
  """The number of columns of names in a legend of that width in inches."""
  names = [series.name for series in plot.panels[0].series]
  names += [_HOLLOW, *_VICTIM] + ([plot.mark[1]] if plot.mark else [])
  # A character of 9 points is 0.08 inches wide, and a marker takes 0.6.
  fitting = int(width / (0.6 + 0.08 * max(map(len, names))))
  return min(max(fitting, 1), 5, len(names))


def _draw_panel(axis: Axes, plot: Plot, panel: Panel) -> list[tuple[Any, str]]:
  """Draws a panel; gives what the legend shows, and its names."""
  if plot.is_log:
    axis.set_xscale("log")
  shown = [
      (_draw_series(axis, plot, panel, order), series.name)
      for order, series in enumerate(panel.series)]
  if panel.victim is not None:
    shown.append(_draw_victim(axis, *panel.victim))
  if any(series.paper for series in panel.series):
    hollow, = axis.plot([], [], linestyle="none", marker="o", color="grey",
                        markerfacecolor="none")
    shown.append((hollow, _HOLLOW))
  if plot.mark:
    line = axis.axvline(plot.mark[0], color="grey", linestyle="--")
    shown.append((line, plot.mark[1]))
  if not any(series.points for series in panel.series):
    axis.text(0.5, 0.5, "nothing was run yet", transform=axis.transAxes,
              horizontalalignment="center", color="grey")
  _draw_ticks(axis, plot, is_empty=not _drawn(panel))
  axis.set_xlabel(_literal(plot.x_label))
  axis.set_ylabel(_literal(panel.label))
  axis.yaxis.set_tick_params(labelleft=True)
  return shown


def _draw_ticks(axis: Axes, plot: Plot, is_empty: bool) -> None:
  from matplotlib import ticker

  if plot.ticks:
    axis.set_xticks(list(plot.ticks), map(_literal, plot.ticks.values()))
    if len(plot.ticks) == 1 or is_empty:
      # Of a single place matplotlib makes a range that is no one's.
      least, most = min(plot.ticks), max(plot.ticks)
      axis.set_xlim(*((least / 2, most * 2) if plot.is_log else
                      (least - 0.5, most + 0.5)))
  elif plot.is_log:
    axis.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter("{x:g}")
  axis.xaxis.set_minor_locator(ticker.NullLocator())
  if max(map(len, plot.ticks.values()), default=0) > 8:
    for label in axis.get_xticklabels():
      label.set(rotation=30, rotation_mode="anchor",
                horizontalalignment="right")


def _draw_victim(axis: Axes, least: float, most: float) -> tuple[Any, str]:
  """Draws the victim's accuracy, or the range of several victims'."""
  if least == most:
    return axis.axhline(least, color="grey", linestyle=":"), _VICTIM[0]
  return axis.axhspan(least, most, color="grey", alpha=0.25,
                      linewidth=0), _VICTIM[1]


def _draw_series(axis: Axes, plot: Plot, panel: Panel, order: int) -> Any:
  series = panel.series[order]
  colour, marker = look_of(series, order)
  # Beside one another, so that no interval hides another.
  aside = order - (len(panel.series) - 1) / 2

  def moved(x: float) -> float:
    return x * 1.03**aside if plot.is_log else x + 0.1 * aside

  estimates = [estimate for _, estimate in series.points]
  drawn_series = axis.errorbar(
      [moved(x) for x, _ in series.points], [one.value for one in estimates],
      panel.bars(estimates), color=colour, marker=marker, markersize=5,
      linestyle="-" if plot.is_joined else "none", capsize=3, linewidth=1.2)
  axis.plot([moved(x) for x, _ in series.paper],
            [value for _, value in series.paper], color=colour, marker=marker,
            linestyle="none", markersize=8, markerfacecolor="none")
  return drawn_series
