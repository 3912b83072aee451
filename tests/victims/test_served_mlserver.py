"""A scikit-learn model behind mlserver, in an environment of its own.

`make test-mlserver` makes .venv-mlserver; WSL_MLSERVER names another command.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import socket
import subprocess
import time

import numpy as np
import pytest
import urllib3
from sklearn.datasets import load_iris

from fixtures import guide
from fixtures.source_tree import ROOT
from wsl_extraction.data.convert import parts_of
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.responders import Live
from wsl_extraction.oracle.reveals import Label, Scores
from wsl_extraction.runtime.runtime import Runtime
from wsl_extraction.victims.served import Served

MLSERVER = pathlib.Path(os.environ.get(
    "WSL_MLSERVER", ROOT / ".venv-mlserver" / "bin" / "mlserver"))
X, Y = load_iris(return_X_y=True)

pytestmark = pytest.mark.skipif(
    not shutil.which(MLSERVER),
    reason=f"there is no mlserver at {MLSERVER}; make test-mlserver makes it")

# Its own scikit-learn fits the model, as docs/guide/served.md has it, and says
# what it answers.
FIT = guide.block("served.md", "import joblib").text + """
import numpy as np
np.save("scores.npy", model.predict_proba(x))
"""
((*START,),) = guide.commands_of(
    guide.block("served.md", "mlserver start .").text)
SETTINGS = json.loads(guide.block("served.md", "{").text)
# `inputs` and `outputs` are what its metadata says.
MODELS = {"iris": SETTINGS, "untold": {
    "name": "untold", "implementation": SETTINGS["implementation"],
    "parameters": {**SETTINGS["parameters"], "uri": "../iris/model.joblib",
                   "version": "v1"}}}


def free_ports(count):
  sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
  ports = [one.getsockname()[1] for one in sockets]
  for one in sockets:
    one.close()
  return ports


@pytest.fixture(scope="module")
def server(tmp_path_factory):
  """The address of the models, and the scores [150, 3] that they give."""
  folder = tmp_path_factory.mktemp("mlserver")
  environ = {name: value for name, value in os.environ.items()
             if name != "PYTHONPATH"}
  for name, settings in MODELS.items():
    (folder / name).mkdir()
    (folder / name / "model-settings.json").write_text(json.dumps(settings))
  subprocess.run([MLSERVER.parent / "python", "-c", FIT], check=True,
                 cwd=folder / "iris", env=environ)
  http, grpc, metrics = free_ports(3)
  (folder / "settings.json").write_text(json.dumps({
      "host": "127.0.0.1", "http_port": http, "grpc_port": grpc,
      "metrics_port": metrics, "parallel_workers": 0}))
  with (folder / "log").open("w") as log, subprocess.Popen(
      [MLSERVER, *START[1:]], stdout=log, stderr=log, cwd=folder,
      env=environ) as process:
    try:
      wait_until_ready(f"http://127.0.0.1:{http}", process, folder / "log")
      yield f"http://127.0.0.1:{http}", np.load(
          folder / "iris" / "scores.npy")
    finally:
      process.terminate()


def wait_until_ready(address, process, log):
  end = time.monotonic() + 120
  with urllib3.PoolManager() as pool:
    while time.monotonic() < end and process.poll() is None:
      try:
        if pool.request("GET", f"{address}/v2/health/ready", retries=False
                        ).status == 200:
          return
      except urllib3.exceptions.HTTPError:
        pass
      time.sleep(0.2)
  raise AssertionError(f"mlserver did not start: {log.read_text()}")


def loaded(address, name="iris", classes=None, **settings):
  return Served(url=f"{address}/v2/models/{name}", protocol="kserve_v2",
                **settings).load(parts_of(X, num_classes=classes), Runtime())


def test_answers_are_the_models_to_the_last_digit(server):
  address, scores = server
  victim = loaded(address)
  assert victim.outputs == 3
  oracle = Oracle(Live(victim, Scores(), is_owner=True))
  np.testing.assert_array_equal(oracle.query(X).values, scores)
  assert oracle.ledger.rows == 150


def test_a_model_that_tells_nothing_is_asked_by_what_is_given(server):
  address, scores = server
  with pytest.raises(InputError, match="does not tell the number of classes"):
    loaded(address, "untold")
  np.testing.assert_array_equal(
      loaded(address, "untold", num_classes=3).predict(X), scores)


def test_labels_by_the_output_of_that_name(server):
  address, scores = server
  victim = loaded(address, "untold", 3, outputs="label", output="predict")
  np.testing.assert_array_equal(
      Oracle(Live(victim, Label())).query(X).top_classes,
      scores.argmax(axis=1))


def test_what_it_refuses_is_one_line(server):
  address, _ = server
  with pytest.raises(InputError, match=r"status 404 .*correct Served.url"):
    loaded(address, "absent")
  victim = loaded(address, "untold", 3, output="explain")
  with pytest.raises(InputError, match=r"status 4\d\d \(.*explain") as refusal:
    victim.predict(X)
  assert "\n" not in str(refusal.value)


def test_the_page_s_script_makes_a_copy(server, capsys):
  address, _ = server
  script = guide.block("served.md", "import wsl_extraction as wsl").text
  assert "http://127.0.0.1:8080/v2/models/iris" in script
  names = {}
  exec(script.replace("http://127.0.0.1:8080", address), names)
  assert names["copy"].queries == 60
  assert names["copy"].fidelity > 0.8
  assert "60 charged of a budget of 60" in capsys.readouterr().out
