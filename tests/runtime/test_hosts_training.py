"""Two processes on jax train as one, of which one asks and writes."""

from __future__ import annotations

import json
import sqlite3

import pytest

from fixtures import host_commands as hosts

ROUNDS = ("--gin_bindings=Learning.rounds = 2",
          "--gin_bindings=Learning.round_steps = 4",
          "--gin_bindings=Learning.strategy = @uncertainty.Entropy()")


@pytest.fixture(scope="module", name="folder")
def fixture_folder(tmp_path_factory):
  """The run of one process in alone/, of two in pair/."""
  folder = tmp_path_factory.mktemp("hosts")
  hosts.prepare(folder)
  (end,) = hosts.finish(hosts.start(folder, "alone", *ROUNDS))
  assert end[0] == 0, end
  return folder


@pytest.fixture(scope="module", name="ends")
def fixture_ends(folder):
  return hosts.finish(*hosts.start_hosts(folder, "pair", *ROUNDS))


def test_they_train_as_one(folder, ends):
  """With rounds, dropout, augmentation, batch statistics and averages."""
  assert [end[0] for end in ends] == [0, 0], ends
  hosts.assert_same_training(folder / "alone", folder / "pair")
  alone, pair = (
      json.loads((folder / name / "result.json").read_text())
      for name in ("alone", "pair"))
  assert (alone["processes"], pair["processes"]) == (1, 2)
  assert (alone["replicas"], pair["replicas"]) == (1, 2)
  assert pair["surrogate"] == alone["surrogate"]


@pytest.mark.slow
def test_four_train_as_one(folder):
  ends = hosts.finish(*hosts.start_hosts(folder, "four", *ROUNDS, count=4))
  assert [end[0] for end in ends] == [0, 0, 0, 0], ends
  assert [end[1:] for end in ends[1:]] == [("", "")] * 3
  hosts.assert_same_training(folder / "alone", folder / "four")
  result = json.loads((folder / "four" / "result.json").read_text())
  assert (result["processes"], result["replicas"]) == (4, 4)


def test_one_of_them_asks_and_writes(folder, ends):
  assert [end[0] for end in ends] == [0, 0], ends
  for name in ("alone", "pair"):
    asked = (folder / f"{name}.log").read_text().split()
    # The pool by the attack, and the test set by the examiner.
    assert sum(map(int, asked)) == 40 + 50
    with sqlite3.connect(folder / name / "responses.sqlite") as store:
      rows, = store.execute("SELECT SUM(rows) FROM charges").fetchone()
    store.close()
    assert rows == 40
  alone, pair = (
      {path.relative_to(folder / name).as_posix()
       for path in (folder / name).rglob("*") if path.parent.name != "events"}
      for name in ("alone", "pair"))
  assert pair == alone
  assert len([*(folder / "pair" / "events").iterdir()]) == len(
      [*(folder / "alone" / "events").iterdir()])
  (_, out, _), (_, silence, errors) = ends
  assert "40 charged of a budget of 40" in out
  assert (silence, errors) == ("", "")


def test_the_same_questions_are_chosen(folder, ends):
  assert [end[0] for end in ends] == [0, 0], ends
  alone, pair = (json.loads((folder / name / "queries.json").read_text())
                 for name in ("alone", "pair"))
  assert pair == alone
  assert [len(one) for one in pair["rounds"]] == [20, 20]
