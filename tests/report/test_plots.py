"""Plots: what they show, and that equal data give equal bytes."""

import io
import math

import matplotlib
import matplotlib.figure
import numpy as np
import pytest

from wsl_extraction.evaluation.metrics import Estimate
from wsl_extraction.report import curves, panels, plots
from wsl_extraction.report.panels import Panel, Plot, Series

LONG = ("A caption that is far too long for a single line, with $ signs and "
        "100% of what captions hold; ") * 4


def points(*values, half=2.0):
  return [(25 * 4**n, Estimate(value, value - half, value + half))
          for n, value in enumerate(values)]


def plot(**changes):
  both = [Panel(label, [
      Series("fully supervised", points(70, 80, 90), []),
      Series("MixMatch", points(85, 90), [(25, 87.98), (400, 93.29)])])
      for label in ("Top-1 accuracy (%)", "Top-1 fidelity (%)")]
  return Plot(**{"title": LONG, "panels": both, "x_label": "Queries",
                 "ticks": {25: "25", 100: "100", 400: "400"},
                 "is_log": True} | changes)


def test_equal_plots_have_equal_bytes_whatever_the_users_settings():
  first = dict(plots.drawn(plot()))
  assert set(first) == {"plot.png", "plot.pdf"}
  assert first["plot.png"].startswith(b"\x89PNG")
  assert first["plot.pdf"].startswith(b"%PDF")
  with matplotlib.rc_context({"lines.linewidth": 7, "font.size": 20}):
    assert dict(plots.drawn(plot())) == first
    assert matplotlib.rcParams["font.size"] == 20
  assert b"CreationDate" not in first["plot.pdf"]
  assert b"matplotlib" not in first["plot.png"].lower()
  other = plot(title="Another.")
  assert dict(plots.drawn(other))["plot.png"] != first["plot.png"]


def test_no_window_and_no_figure_is_left():
  import sys

  dict(plots.drawn(plot()))
  pyplot = sys.modules.get("matplotlib.pyplot")
  assert pyplot is None or not pyplot.get_fignums()


def test_axes_hold_means_intervals_and_the_papers_points():
  figure = plots._figure(plot())
  axes = figure.axes
  assert [axis.get_ylabel() for axis in axes] == [
      "Top-1 accuracy (%)", "Top-1 fidelity (%)"]
  assert {axis.get_xlabel() for axis in axes} == {"Queries"}
  assert axes[0].get_xscale() == "log"
  assert [label.get_text() for label in axes[0].get_xticklabels()] == [
      "25", "100", "400"]
  supervised, mixmatch = axes[0].containers
  assert list(supervised[0].get_ydata()) == [70, 80, 90]
  segments = [bar[:, 1] for bar in supervised[2][0].get_segments()]
  np.testing.assert_allclose(segments, [(68, 72), (78, 82), (88, 92)])
  # Side by side, at one place to the eye.
  assert list(mixmatch[0].get_xdata()) == pytest.approx([25, 100], rel=0.02)
  hollow = [line for line in axes[0].lines
            if line.get_markerfacecolor() == "none"
            and np.size(line.get_xdata())]
  assert np.asarray(hollow[-1].get_ydata()).tolist() == [87.98, 93.29]
  assert hollow[-1].get_color() == mixmatch[0].get_color()
  legend, = figure.legends
  assert [text.get_text() for text in legend.get_texts()] == [
      "fully supervised", "MixMatch", "hollow: the paper"]


@pytest.mark.parametrize("count", [1, 2])
def test_the_title_is_wrapped_into_the_figure(count):
  made = plot()
  figure = plots._figure(plot(panels=made.panels[:count]))
  figure.savefig(io.BytesIO(), format="png")
  frame = figure.bbox
  (title,) = figure.texts
  for artist in (title, figure.legends[0]):
    box = artist.get_window_extent()
    assert frame.x0 <= box.x0 and box.x1 <= frame.x1
    assert frame.y0 <= box.y0 and box.y1 <= frame.y1
  assert title.get_text().count("\n") >= 2


def test_columns_that_are_no_numbers_stand_side_by_side():
  series = Series("a", [(0, Estimate(90, 89, 91)), (2, Estimate(95, 94, 96))],
                  [])
  figure = plots._figure(plot(
      panels=[Panel("accuracy, %", [series])], x_label="", is_log=False,
      is_joined=False,
      ticks={0: "labels", 1: "oracle", 2: "oracle + rotation"}))
  axis, = figure.axes
  assert axis.get_xscale() == "linear"
  assert axis.get_xticklabels()[2].get_text() == "oracle + rotation"
  assert axis.containers[0][0].get_linestyle() == "None"


def test_a_single_seed_and_nothing_at_all_can_be_drawn():
  alone = Series("a", [(25, Estimate(90, math.nan, math.nan))], [])
  for series in (alone, Series("b", [], [])):
    made = plot(panels=[Panel("accuracy, %", [series])])
    assert len(dict(plots.drawn(made))) == 2


def test_names_are_shown_as_they_are():
  names = ["_hidden", "$x$", "a $ and $ b", r"$\\frac"]
  panel = Panel("$y$, %", [Series(name, points(50), []) for name in names])
  made = plot(panels=[panel], x_label="$q$", ticks={25: "$25$"})
  figure = plots._figure(made)
  shown = [text.get_text() for text in figure.legends[0].get_texts()]
  assert [text.replace(r"\$", "$") for text in shown] == names
  assert len(dict(plots.drawn(made))) == 2  # none is a wrong formula


def test_the_eighth_row_differs_from_the_first():
  rows = [Series(str(n), points(50), []) for n in range(9)]
  axis, = plots._figure(plot(panels=[Panel("a, %", rows)])).axes
  looks = [(c[0].get_color(), c[0].get_marker()) for c in axis.containers]
  assert len(set(looks)) == 9


def test_one_budget_is_in_the_middle_and_nothing_has_the_whole_range():
  one = Series("a", points(90), [])
  axis, = plots._figure(plot(panels=[Panel("a, %", [one])],
                             ticks={25: "25"})).axes
  assert axis.get_xlim() == pytest.approx((12.5, 50))
  nothing = Panel("a, %", [Series("a", [], [])])
  axis, = plots._figure(plot(panels=[nothing])).axes
  assert axis.get_ylim() == (0, 100)
  assert axis.get_xlim() == pytest.approx((12.5, 800))
  assert axis.texts[0].get_text() == "nothing was run yet"


def test_a_longer_title_and_more_names_take_no_room_from_the_panels():
  short, long = (plots._figure(plot(title=title)) for title in ("A.", LONG * 4))
  assert long.get_figheight() > short.get_figheight() + 1
  rows = [Series("a name of a good length, say " + str(n), points(50), [])
          for n in range(9)]
  figure = plots._figure(plot(panels=[Panel("a, %", rows)]))
  figure.savefig(io.BytesIO(), format="png")
  box = figure.legends[0].get_window_extent()
  assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1


def test_a_mark_is_a_named_line():
  series = Series("a", points(99), [])
  figure = plots._figure(plot(
      panels=[Panel("Fidelity (%)", [series])], ticks={},
      mark=(1.5, "the paper's 1.5")))
  labels = [text.get_text() for text in figure.legends[0].get_texts()]
  assert labels == ["a", "the paper's 1.5"]


@pytest.mark.parametrize("draw", [
    lambda panel: plots._figure(plot(panels=[panel], ticks={})),
    lambda panel: curves._figure("A title.", [panel])])
def test_error_bars_end_at_what_can_be_inside_the_axes(draw):
  """Student's interval of 5 seeds, 92.9 ± 9.2, as in a table of ours."""
  series = Series("a", [
      (50, Estimate(92.9, 83.7, 102.1)), (200, Estimate(2, -7, 11)),
      (800, Estimate(97.7, 97.4, 98.0)), (900, Estimate(60, math.nan, math.nan))
      ], [])
  (axis,) = draw(Panel("Fidelity (%)", [series])).axes
  low, high = axis.get_ylim()
  (bars,) = axis.containers[0][2]
  ends = np.array([bar[:, 1] for bar in bars.get_segments()])
  np.testing.assert_allclose(
      ends, [(83.7, 100), (0, 11), (97.4, 98), (60, 60)])
  assert low < 0 and high > 100
  # A quantity that is no share keeps its interval, and the axes grow with it.
  (axis,) = curves._figure("A title.", [Panel("Time (s)", [series])]).axes
  assert axis.get_ylim()[0] < -7 and axis.get_ylim()[1] > 102.1


def test_the_victims_accuracy_is_a_line_or_a_band():
  series = [Series("a", points(70, 80), [])]
  both = [Panel("Top-1 fidelity (%)", series),
          Panel("Top-1 accuracy (%)", series, victim=(98.6, 98.6))]
  figure = plots._figure(plot(panels=both))
  names = [text.get_text() for text in figure.legends[0].get_texts()]
  assert names == ["a", "the victim"]
  assert not [line for line in figure.axes[0].lines
              if line.get_linestyle() == ":"]
  (line,) = [line for line in figure.axes[1].lines
             if line.get_linestyle() == ":"]
  assert np.asarray(line.get_ydata()).tolist() == [98.6, 98.6]
  # Both panels share an axis that shows it.
  assert figure.axes[0].get_ylim()[1] > 98.6
  figure = plots._figure(plot(panels=[both[0], both[1], both[1]]))
  assert [text.get_text() for text in figure.legends[0].get_texts()] == names
  panel = Panel("Top-1 accuracy (%)", series, victim=(97, 98.6))
  figure = plots._figure(plot(panels=[panel]))
  assert figure.legends[0].get_texts()[-1].get_text() == (
      "the victims, least to best")
  (band,) = figure.axes[0].patches
  assert band.get_extents().transformed(
      figure.axes[0].transData.inverted()).intervaly == pytest.approx(
          (97, 98.6))


def test_labels_are_those_that_papers_print():
  assert panels.axis_label("top-1 fidelity", "%") == "Top-1 fidelity (%)"
  assert panels.axis_label("learning_rate") == "Learning rate"
