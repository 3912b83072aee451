r"""Serves a victim over HTTP, to practise on: a stand-in for one's own service.

  python examples/serve.py
  python examples/serve.py --gin_file=gin/distillation.gin --drop=20 --busy=10

The model is the victim of a gin file, or without one a logistic regression of
handwritten digits. It answers two protocols at the loopback address only:

  http://127.0.0.1:8080/v2/models/practice    Served.protocol = 'kserve_v2'
  http://127.0.0.1:8080/v1/models/practice    Served.protocol = 'tf_serving'

--drop=20 breaks the connection in place of every 20th answer, --busy=10 turns
away every 10th request with status 429 and asks to wait for --retry_after
seconds, as services do. Ctrl-C ends it and says how many rows it has seen.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from absl import flags

from wsl_extraction import cli
from wsl_extraction.errors import InputError

NAME = "practice"
_DATATYPES = {"uint8": "UINT8", "float32": "FP32", "float64": "FP64"}
_TF_DTYPES = {"uint8": "DT_UINT8", "float32": "DT_FLOAT",
              "float64": "DT_DOUBLE"}

# The fault of the n-th request for an answer, from 1: "" or a name below.
FAULTS = ("drop", "busy", "error", "garble", "cut", "repeat", "late", "extra")


class Service:
  """A model, and all that it was asked; see `Handler` for the protocols.

  Attributes:
    rows: The rows that the model has answered, those of lost answers included.
    requests: The requests for answers, those that were turned away included.
    headers: Of the last request.
    sockets: The connections that were opened.
    seen: The batches of rows that the model has answered.
    released: Set to end the faults "late".
  """

  def __init__(self, predict: Callable[[np.ndarray], Any],
               shape: tuple[int, ...], classes: int, dtype: str = "float32",
               fault: Callable[[int], str] = lambda number: "",
               retry_after: str = "1"):
    """Serves a function.

    Args:
      predict: Maps rows [n, *shape] of `dtype` to [n, classes].
      shape: Of one row.
      classes: c.
      dtype: "uint8", "float32" or "float64".
      fault: What goes wrong with the n-th request for an answer, from 1.
      retry_after: Of requests that are turned away: seconds, or a date.
    """
    self.predict, self.shape, self.classes = predict, shape, classes
    self.dtype, self.fault, self.retry_after = dtype, fault, retry_after
    self.rows = self.requests = 0
    self.sockets: list[socket.socket] = []
    self.headers: dict[str, str] = {}
    self.seen: list[np.ndarray] = []
    self.released = threading.Event()
    self.last = b""
    self.lock = threading.Lock()

  def answer(self, rows: Any) -> np.ndarray:
    """The model's answer [n, c] to rows, which count as seen."""
    array = np.asarray(rows, self.dtype).reshape(-1, *self.shape)
    with self.lock:
      self.rows += len(array)
      self.seen.append(array)
    return np.asarray(self.predict(array))

  def start(self, host: str = "127.0.0.1", port: int = 0
            ) -> http.server.ThreadingHTTPServer:
    """A server that runs in a thread until `shutdown`; port 0 takes any."""
    handler = type("BoundHandler", (Handler,), {"service": self})
    server = http.server.ThreadingHTTPServer((host, port), handler)
    server.daemon_threads = True
    threading.Thread(
        target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


def stop(service: Service, server: http.server.ThreadingHTTPServer) -> None:
  """Ends a server, and its connections, as the end of a process does."""
  service.released.set()
  server.shutdown()
  server.server_close()
  for one in service.sockets:
    with contextlib.suppress(OSError):  # closed already
      one.shutdown(socket.SHUT_RDWR)


class Handler(http.server.BaseHTTPRequestHandler):
  """The Open Inference Protocol and TensorFlow Serving's, for one model."""

  service: Service
  protocol_version = "HTTP/1.1"
  disable_nagle_algorithm = True

  def setup(self) -> None:
    super().setup()
    self.service.sockets.append(self.connection)

  def log_message(self, *_: Any) -> None:
    pass

  def do_GET(self) -> None:
    self.service.headers = dict(self.headers)
    one = self.service
    if self.path == f"/v2/models/{NAME}":
      self._reply(200, {
          "name": NAME, "versions": ["1"], "platform": "practice",
          "inputs": [{"name": "x", "datatype": _DATATYPES[one.dtype],
                      "shape": [-1, *one.shape]}],
          "outputs": [{"name": "scores", "datatype": "FP64",
                       "shape": [-1, one.classes]}]})
    elif self.path == f"/v1/models/{NAME}/metadata":
      self._reply(200, {
          "model_spec": {"name": NAME, "version": "1", "signature_name": ""},
          "metadata": {"signature_def": {"signature_def": {"serving_default": {
              "inputs": {"x": _tensor(_TF_DTYPES[one.dtype], one.shape)},
              "outputs": {"scores": _tensor("DT_DOUBLE", (one.classes,))},
              "method_name": "tensorflow/serving/predict"}}}}})
    else:
      self._reply(404, {"error": f"no model at {self.path}"})

  def do_POST(self) -> None:
    one = self.service
    one.headers = dict(self.headers)
    body = self.rfile.read(int(self.headers["content-length"]))
    with one.lock:
      one.requests += 1
      fault = one.fault(one.requests)
    if fault == "busy":
      self._reply(429, {"error": "too many requests"},
                  {"retry-after": one.retry_after})
      return
    try:
      content = json.loads(body)
      if self.path == f"/v2/models/{NAME}/infer":
        reply = self._infer(content)
      elif self.path == f"/v1/models/{NAME}:predict":
        reply = {"predictions": one.answer(content["instances"]).tolist()}
      else:
        self._reply(404, {"error": f"no model at {self.path}"})
        return
    except (ValueError, KeyError, TypeError) as error:
      self._reply(400, {"error": f"no request of the protocol: {error}"})
      return
    self._send(fault, json.dumps(reply).encode())

  def _infer(self, content: Any) -> dict[str, Any]:
    tensor = content["inputs"][0]
    rows = np.reshape(tensor["data"], tensor["shape"])
    values = self.service.answer(rows)
    return {
        "model_name": NAME, "model_version": "1", "id": content.get("id"),
        "outputs": [{
            "name": "scores", "shape": list(values.shape),
            "datatype": "FP64" if values.dtype.kind == "f" else "INT64",
            "data": values.ravel().tolist()}]}

  def _send(self, fault: str, body: bytes) -> None:
    """Sends an answer, or what becomes of it on a bad day."""
    one = self.service
    if fault == "drop":
      self.close_connection = True
      return
    if fault == "late":
      one.released.wait(60)
    if fault == "error":
      self._reply(500, {"error": "out of memory"})
    elif fault == "garble":
      self._write(200, body[:len(body) // 2])
    elif fault == "cut":  # fewer bytes than were announced
      self._write(200, body[:-5], {}, len(body))
      self.close_connection = True
    elif fault == "repeat":
      self._write(200, one.last)
    else:
      self._write(200, body)
    if fault == "extra":
      self._write(200, body)
    one.last = body

  def _reply(self, status: int, content: Any,
             headers: dict[str, str] | None = None) -> None:
    self._write(status, json.dumps(content).encode(), headers)

  def _write(self, status: int, body: bytes,
             headers: dict[str, str] | None = None,
             length: int | None = None) -> None:
    try:
      self.send_response(status)
      self.send_header("content-type", "application/json")
      self.send_header("content-length", str(
          len(body) if length is None else length))
      for name, value in (headers or {}).items():
        self.send_header(name, value)
      self.end_headers()
      self.wfile.write(body)
    except ConnectionError:  # the client has given up
      self.close_connection = True


def _tensor(dtype: str, shape: tuple[int, ...]) -> dict[str, Any]:
  return {"dtype": dtype, "name": "", "tensor_shape": {
      "dim": [{"size": str(side), "name": ""} for side in (-1, *shape)],
      "unknown_rank": False}}


def practice_model() -> tuple[Callable[[np.ndarray], Any], tuple[int, ...],
                              int]:
  """A logistic regression of 5,000 digits: function, row shape, classes."""
  from sklearn.linear_model import LogisticRegression
  from sklearn.pipeline import make_pipeline
  from sklearn.preprocessing import StandardScaler

  from wsl_extraction.data import arrays

  digits = arrays.read_mnist5k().train
  images = np.asarray(digits.rows).reshape(len(digits), -1)
  labels = digits.known_labels
  model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
  model.fit(images[::2], labels[::2])
  return (lambda rows: model.predict_proba(rows.reshape(len(rows), -1)),
          (28, 28, 1), 10)


def define_flags() -> None:
  """Defines this script's own flags."""
  flags.DEFINE_integer("port", 8080, "Where to listen; 0 takes any free port.",
                       lower_bound=0, upper_bound=65535)
  flags.DEFINE_integer("drop", 0, "Which answer is lost: every so manieth; 0 "
                       "for none.", lower_bound=0)
  flags.DEFINE_integer("busy", 0, "Which request is turned away: every so "
                       "manieth; 0 for none.", lower_bound=0)
  flags.DEFINE_integer("retry_after", 1, "The seconds after which those that "
                       "are turned away may ask again.", lower_bound=0)


def main() -> None:
  """Serves until it is stopped."""
  if cli.FLAGS.gin_file:
    cli.start()
    experiment = cli.experiment()
    _, parts = cli.load_data(experiment)
    victim = cli.load_victim(experiment, parts)
    predict, shape = victim.predict, victim.space.shape
    classes = victim.outputs
  else:
    predict, shape, classes = practice_model()

  def fault(number: int) -> str:
    if cli.FLAGS.busy and not number % cli.FLAGS.busy:
      return "busy"
    # Not at a multiple of both, where it would never show.
    lost = cli.FLAGS.drop and not (number + 3) % cli.FLAGS.drop
    return "drop" if lost else ""

  service = Service(predict, shape, classes, fault=fault,
                    retry_after=str(cli.FLAGS.retry_after))
  try:
    server = service.start(port=cli.FLAGS.port)
  except OSError as error:
    raise InputError(f"port {cli.FLAGS.port} cannot be used ({error.strerror});"
                     " give another by --port") from error
  stopped = threading.Event()
  for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: stopped.set())
  cli.show(f"http://127.0.0.1:{server.server_port}/v2/models/{NAME}")
  stopped.wait()
  stop(service, server)
  cli.show(f"{service.rows} rows in {service.requests} requests")


if __name__ == "__main__":
  sys.exit(cli.launch(main, define_flags))
