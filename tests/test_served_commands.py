"""`label` against a service that fails, while the command is killed."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import time

import numpy as np
import pytest

from fixtures import commands
from fixtures.services import POOL, scores, serving

GIN = """\
from __gin__ import dynamic_registration

from wsl_extraction import experiment
from wsl_extraction.data import split
from wsl_extraction.victims import served

experiment.Experiment.dataset = "rows.npz"
experiment.Experiment.victim = @served.Served()
split.Split.private = 0
split.Split.pool = 2000
split.Split.test = 10
served.Served.url = "{url}/v2/models/practice"
served.Served.protocol = "kserve_v2"
served.Served.headers = {{"Authorization": "WSL_TEST_TOKEN"}}
served.Served.backoff = 0.01
served.Served.batch_size = 25
"""
COMMAND = commands.command("label", "--gin_file=base.gin",
                           "--gin_file=served.gin", "--output=labels.sqlite")


def charges(path):
  """The rows charged, those sent again, those answered."""
  with contextlib.closing(sqlite3.connect(path)) as held:
    return (*held.execute("SELECT SUM(rows), SUM(resent) FROM charges"
                          ).fetchone(),
            *held.execute("SELECT COUNT(*) FROM responses").fetchone())


def test_the_same_command_goes_on_after_an_error_and_after_kill_9(tmp_path):
  commands.write_modules(tmp_path)
  rows = np.concatenate([POOL, POOL[:10] + 100])
  np.savez(tmp_path / "rows.npz", x=rows, y=scores(rows).argmax(axis=1))
  environ = commands.environment(tmp_path, WSL_TEST_TOKEN="s3cr3t")

  def fault(number):
    """One answer of 20 is lost and one request of 10 turned away."""
    return {19: "error", 59: "late"}.get(number) or {
        0: "busy", 10: "busy", 7: "drop"}.get(number % 20, "")

  with serving(fault=fault, retry_after="0") as (service, address):
    (tmp_path / "served.gin").write_text(GIN.format(url=address))

    failed = commands.run(COMMAND, tmp_path, environ)
    assert failed.status == 2
    assert "status 500 (out of memory)" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert service.headers["Authorization"] == "s3cr3t"
    first = charges(tmp_path / "labels.sqlite")

    with subprocess.Popen(COMMAND, cwd=tmp_path, env=environ,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE
                          ) as process:
      while service.requests < 59 and process.poll() is None:
        time.sleep(0.01)
      assert process.poll() is None
      process.send_signal(signal.SIGKILL)
      process.communicate()
    service.released.set()
    second = charges(tmp_path / "labels.sqlite")
    answered = second[2]
    assert first[2] < answered < 2000

    done = commands.run(COMMAND, tmp_path, environ)
    assert done.status == 0, done.stderr

  charged, resent, kept = charges(tmp_path / "labels.sqlite")
  probes = service.rows - charged  # rows of the owner, before the first charge
  seen = np.concatenate(service.seen)[probes:]
  assert kept == 2000
  assert len(seen) == charged == 2000 + resent
  assert f"{resent} of them rows sent again" in done.stdout
  # Sent again are only batches whose answer was lost: of the error, of the
  # kill, and of each dropped connection.
  drops = sum(fault(number) == "drop"
              for number in range(1, service.requests + 1))
  assert resent == 25 * (2 + drops) and drops >= 4
  assert probes <= 25
  assert not any("s3cr3t" in text for one in (failed, done)
                 for text in (one.stdout, one.stderr))


@pytest.mark.slow
def test_several_processes_do_not_ask_a_service(tmp_path):
  commands.write_modules(tmp_path)
  rows = np.concatenate([POOL, POOL[:10] + 100])
  np.savez(tmp_path / "rows.npz", x=rows, y=scores(rows).argmax(axis=1))
  environ = commands.environment(tmp_path, WSL_TEST_TOKEN="s3cr3t")
  with serving() as (service, address):
    (tmp_path / "served.gin").write_text(GIN.format(url=address))
    refused = commands.run([*COMMAND, "--processes=2"], tmp_path, environ)
  assert (refused.status, refused.stderr.count("\n")) == (2, 1)
  assert refused.stderr.startswith(
      "error: a served victim computes elsewhere already, and its requests ")
  assert service.rows == 0
  assert set(refused.after) == set(refused.before)
