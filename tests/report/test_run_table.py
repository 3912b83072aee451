"""The table that sums up a run."""

from __future__ import annotations

from wsl_extraction.report import run_folder, run_table


def _estimate(value, low=None, high=None):
  return {"value": value, "low": low, "high": high}


RESULT = {
    "attack": "Learning(objective=Rotation(base=Distillation(temperature=1.5)"
              ", weight=1.0), epochs=10, learning_rate=0.1)",
    "status": "DONE",
    "reveal": "scores",
    "budget": 100,
    "queries": 100,
    "oracle": {
        "accuracy_top1": _estimate(0.974, 0.966, 0.98),
        "accuracy_top5": _estimate(1.0, 0.998, 1.0)},
    "surrogate": {
        "accuracy_top1": _estimate(0.931, 0.919, 0.941),
        "accuracy_top5": _estimate(1.0, 0.998, 1.0),
        "fidelity_top1": _estimate(0.936, 0.924, 0.946),
        "fidelity_top5": _estimate(1.0, 0.998, 1.0)},
    "seconds": 141.33,
}


def test_the_table_of_a_run_holds_its_figures_in_80_columns():
  lines = run_table.result_table(RESULT).splitlines()
  assert max(map(len, lines)) <= 80
  assert "reveal     scores" in lines
  assert "queries    100 charged of a budget of 100" in lines
  assert "seconds    141.3 (2 min 21 s)" in lines
  oracle = next(n for n, line in enumerate(lines) if line.startswith("oracle"))
  assert lines[oracle].split() == ["oracle", "97.4%", "100.0%", "-", "-"]
  assert lines[oracle + 1].strip() == "[96.6, 98.0]   [99.8, 100.0]"
  assert lines[oracle + 2].split() == [
      "surrogate", "93.1%", "100.0%", "93.6%", "100.0%"]
  assert "[92.4, 94.6]" in lines[oracle + 3]


def test_a_surrogate_that_learned_nothing_is_warned_of():
  assert "warning" not in run_table.result_table(
      {**RESULT, "constant_class": None})
  text = run_table.result_table({**RESULT, "constant_class": 0})
  assert "warning    the surrogate gives class 0 to every test example" in text
  assert "try a smaller learning" in text


def test_the_table_of_a_run_shows_what_it_paid_and_what_it_lacks():
  text = run_table.result_table({
      **RESULT, "defences": "Rounded(decimals=2); Top(3)",
      "meters": {"rows": 100, "gradient rows": 7, "traces": 0},
      "equal_cost": 555, "sent_again": 4, "measured": 1500,
      "measured_anew": 200, "missing": "two of ten units",
      "figures": {
          "pool": {"value": 9, "text": ""},
          "queries_per_bound": {"value": 2.21, "text": "2.21 times the least"}},
      "proof": {"least": 1.2e-12, "most": 3.4e-10, "seconds": 2.0}})
  lines = text[:text.index("\n\n")].splitlines()
  assert lines[2:] == [
      "reveal             scores, after Rounded(decimals=2); Top(3)",
      "status             DONE",
      "queries            100 charged of a budget of 100, 4 of them rows sent "
      "again,",
      "                   1,500 more to measure, of which 200 were asked now",
      "charged            7 gradient rows; as much as 555 rows",
      "queries per bound  2.21 times the least",
      "missing            two of ten units",
      "proved             logits differ by at most 3.4e-10 on all inputs in "
      "range,",
      "                   somewhere by 1.2e-12",
      "seconds            141.3 (2 min 21 s)"]
  again = run_table.result_table(
      {**RESULT, "measured": 1500, "measured_anew": 1500})
  assert "1,500 more to measure\n" in again


def test_the_table_of_a_run_reads_json_and_bears_gaps(tmp_path):
  run = run_folder.RunFolder(tmp_path)
  run.write_json("result.json", RESULT)
  result = run.read_json("result.json")
  assert result is not None
  assert run_table.result_table(result) == run_table.result_table(RESULT)
  sparse = run_table.result_table({
      "attack": "x", "budget": None, "queries": 0, "surrogate": None,
      "oracle": {"accuracy_top1": _estimate(None)}})
  assert "queries    0 charged, no limit" in sparse
  assert "status     -" in sparse


def test_the_table_of_a_saved_surrogate_says_what_was_scored():
  scored = {"surrogate_file": "copy.keras", "victim": "a1", "attacked": "a1",
            "dataset": {"name": "digits", "test": 50},
            "surrogate": RESULT["surrogate"], "oracle": RESULT["oracle"]}
  text = run_table.result_table(scored)
  assert text.startswith(
      "surrogate  copy.keras\n"
      "data set   digits, 50 examples to test on\n"
      "victim     a1\n\n")
  other = run_table.result_table({**scored, "victim": "b2"})
  assert "victim     b2, another than the one attacked, a1\n" in other


def test_five_classes_or_fewer_have_no_best_five():
  text = run_table.result_table({**RESULT, **{
      model: {name: value for name, value in RESULT[model].items()
              if name.endswith("top1")} for model in ("oracle", "surrogate")}})
  assert "top-5" not in text.lower()
  lines = text.splitlines()
  (head,) = [line for line in lines if "accuracy" in line and "In" not in line]
  assert head.split() == ["accuracy", "fidelity"]
  assert "top-5" in run_table.result_table(RESULT).lower()


def test_an_export_is_told_with_its_difference():
  text = run_table.result_table({
      "surrogate_file": "a.keras", "victim": "a1", "surrogate": {},
      "dataset": {"name": "digits", "test": 50}, "export": {
          "path": "a.onnx", "program": "onnxruntime 1.32.0", "rows": 1024,
          "largest_difference": 3.6e-7, "other_classes": 0}})
  assert "exported   a.onnx\n" in text
  assert " ".join(text.split()).endswith(
      "its answers, by onnxruntime 1.32.0, differ by at most 3.6e-07 on 1,024 "
      "test examples, and its class on none of them")
