"""Responses that a process hands to others, which never open its store."""

from __future__ import annotations

import numpy as np
import pytest

from fixtures import oracles
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.published import PublishedResponses, Publisher
from wsl_extraction.oracle.replays import Replay
from wsl_extraction.oracle.response_store import ResponseStore
from wsl_extraction.oracle.reveals import Scores, TopK
from wsl_extraction.oracle.settings import OracleSettings
from wsl_extraction.oracle.store_file import Mode
from wsl_extraction.oracle.stores import Stores, attack_oracle

ROWS = np.arange(12.0)[:, None]


@pytest.mark.parametrize("reveal", [Scores(), TopK(2)])
@pytest.mark.parametrize("dtype", ["float16", "log16"])
def test_others_get_what_the_main_process_got(tmp_path, reveal, dtype):
  victim = oracles.victim(lambda x: np.sin(x + np.arange(3)), 3, 1)
  options = OracleSettings(reveal=reveal, response_dtype=dtype)
  folder = tmp_path / "published"
  (folder / "old").mkdir(parents=True)  # an interrupted process has left it
  # A store that knows some of them from an earlier process.
  with attack_oracle(victim, options, Stores(responses=tmp_path / "s"),
                     None) as oracle:
    oracle.query(ROWS[3:6])
  with attack_oracle(victim, options, Stores(
      responses=tmp_path / "s", published=folder), None) as main:
    other = Oracle(Replay(PublishedResponses(folder, reveal, 3, 0.0),
                          victim.space, 3, reveal))
    # Some are new beside others that were asked about; then none.
    for some in (ROWS[:4], ROWS[2:], ROWS[[11, 0, 5, 5]]):
      theirs, ours = main.query(some), other.query(some)
      assert theirs.arrays.keys() == ours.arrays.keys()
      for name, array in theirs.arrays.items():
        np.testing.assert_array_equal(ours.arrays[name], array)
    assert (main.ledger.rows, len(list(folder.iterdir()))) == (12, 2)
    # What the main process has not asked about, no other one gets.
    with pytest.raises(InputError, match=(
        "holds no response to 1 of 2 examples; give a --workdir that all")):
      other.query(np.array([[0.0], [99.0]]))


def test_nothing_is_written_where_none_train_with_it(tmp_path):
  victim = oracles.victim(lambda x: np.sin(x + np.arange(3)), 3, 1)
  with attack_oracle(victim, OracleSettings(), Stores(
      responses=tmp_path / "s"), None) as oracle:
    oracle.query(ROWS)
  assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_a_folder_that_cannot_be_made(tmp_path):
  (tmp_path / "file").touch()
  with pytest.raises(InputError, match="file"):
    Publisher(tmp_path / "file" / "published")


def test_there_is_no_way_to_open_a_store_beside_its_owner(tmp_path):
  with ResponseStore(tmp_path / "s", Scores(), 3):
    for mode in Mode:
      with pytest.raises(InputError, match="in use by process"):
        ResponseStore(tmp_path / "s", Scores(), 3, mode=mode)
