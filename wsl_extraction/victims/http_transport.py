"""JSON over one HTTP connection that is kept alive, with retries.

A request that the service turned away unread (429, 503) is sent again under the
charge that it has. One that was sent and whose answer did not come back raises
`AnswerLost`, by which an oracle charges it again before it sends it again.
"""

from __future__ import annotations

import dataclasses
import http.client
import json
import ssl
import threading
import time
import weakref
from collections.abc import Mapping
from typing import Any

import urllib3
from urllib3 import connection, exceptions
from urllib3.util import parse_url

import wsl_extraction
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.exchanges import AnswerLost
from wsl_extraction.oracle.outputs import VictimFailed

_LONGEST_BACKOFF = 60.0  # seconds
_TURNED_AWAY = (429, 503)
_NO_ANSWER = (408, 502, 504)  # of a gateway that waited in vain
_ADVICE = {
    400: "see that the model takes such inputs",
    401: "give what it wants to know by Served.headers",
    403: "give what it wants to know by Served.headers",
    404: "correct Served.url",
    405: "correct Served.url or Served.protocol",
    413: "lower Served.batch_size",
    422: "see that the model takes such inputs",
}
_BROKEN = (exceptions.HTTPError, http.client.HTTPException, OSError)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
  """The patience of a client.

  Attributes:
    timeout: Seconds to wait for a connection, and for an answer.
    retries: How often a request that failed is sent again.
    backoff: Seconds before the first retry; each further one waits twice as
      long, or as long as the service says.
    longest_wait: The most seconds that the service may ask to wait.
    requests_per_second: The most that are sent; None for no limit.
  """

  timeout: float = 30.0
  retries: int = 5
  backoff: float = 0.5
  longest_wait: float = 300.0
  requests_per_second: float | None = None

  def pause(self, failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    return min(self.backoff * 2 ** max(failures - 1, 0), _LONGEST_BACKOFF)


class Transport:
  """Sends JSON to one host and reads JSON; threads share it.

  Errors name the address and what the service said, never a header.
  """

  def __init__(self, url: str, headers: Mapping[str, str], limits: Limits):
    """Opens nothing yet.

    Args:
      url: With scheme, host and perhaps a port; all else is ignored.
      headers: Sent with each request; their values are secret.
      limits: When to wait and when to give up.
    """
    parsed = parse_url(url)
    self._limits = limits
    self._where = f"{parsed.scheme}://{parsed.netloc}"
    self._headers = {
        "accept": "application/json", "content-type": "application/json",
        "user-agent": f"wsl_extraction/{wsl_extraction.__version__}", **headers}
    self._secrets = sorted({word for value in headers.values() for word in (
        value, *value.split()) if len(word) > 3}, key=len, reverse=True)
    host = (parsed.host or "").strip("[]")
    timeout = limits.timeout
    self._connection = connection.HTTPSConnection(
        host, parsed.port, timeout=timeout,
        ssl_context=ssl.create_default_context()) if (
            parsed.scheme == "https") else connection.HTTPConnection(
                host, parsed.port, timeout=timeout)
    self._lock = threading.Lock()
    weakref.finalize(self, self._connection.close)
    self._next = 0.0  # when another request may be sent, by time.monotonic()

  def prepare(self, attempt: int = 0) -> None:
    """Waits until a request may be sent, and connects.

    Args:
      attempt: How often the request failed already.

    Raises:
      InputError: There is no connection, retries included.
    """
    for failures in range(attempt, attempt + self._limits.retries + 1):
      if failures:
        time.sleep(self._limits.pause(failures))
      try:
        with self._lock:
          self._connect()
        break
      except InputError:
        if failures == attempt + self._limits.retries:
          raise
    time.sleep(max(self._next - time.monotonic(), 0))

  def close(self) -> None:
    """Closes the connection, so that nothing late is taken for an answer."""
    self._connection.close()

  def get(self, path: str) -> Any:
    """The JSON at a path. Nothing is charged for it.

    Raises:
      InputError: There is none.
    """
    for failures in range(self._limits.retries + 1):
      if failures:
        time.sleep(self._limits.pause(failures))
      try:
        return self._sent("GET", path)
      except AnswerLost:
        if failures == self._limits.retries:
          raise
    raise AssertionError("counting does not end")

  def post(self, path: str, content: Any) -> Any:
    """The JSON that answers JSON.

    Raises:
      AnswerLost: It was sent, and no answer came back.
      VictimFailed: The answer is a refusal, or no JSON.
    """
    return self._sent("POST", path, json.dumps(content).encode())

  def _sent(self, method: str, path: str, body: bytes | None = None) -> Any:
    with self._lock:
      for failures in range(self._limits.retries + 1):
        if failures:
          time.sleep(max(self._next - time.monotonic(), 0))
        self._connect()
        response = self._exchanged(method, path, body)
        if response.status not in _TURNED_AWAY or (
            failures == self._limits.retries):
          break
        time.sleep(self._wait(response, failures + 1))
    if response.status in _NO_ANSWER:
      raise AnswerLost(self._complaint(response))
    if response.status != 200:
      raise VictimFailed(self._complaint(response))
    try:
      return json.loads(response.data)
    except (ValueError, RecursionError) as error:
      # Not the text: it may hold what is not revealed.
      raise VictimFailed(
          f"{self._where} answered {len(response.data)} bytes that are no "
          "JSON; see that Served.url and Served.protocol are right, and run "
          "the same command again to go on") from error

  def _connect(self) -> None:
    # A connection that is idle and has something to be read was closed by the
    # other side, or holds an answer too many.
    if self._connection.is_connected:
      return
    self._connection.close()
    try:
      self._connection.connect()
    except _BROKEN as error:
      self._connection.close()
      reason = error.__cause__ if isinstance(
          error, exceptions.NewConnectionError) else error
      text = getattr(reason, "strerror", None) or f"{reason}"
      raise InputError(
          f"there is no connection to {self._where} ({self._plain(text)}); "
          "see that the service runs, correct Served.url, and run the same "
          "command again") from None

  def _exchanged(self, method: str, path: str,
                 body: bytes | None) -> urllib3.BaseHTTPResponse:
    """One request and its answer, read to the end."""
    limit = self._limits.requests_per_second
    self._next = time.monotonic() + (1 / limit if limit else 0)
    try:
      self._connection.request(method, path, body, self._headers)
      return self._connection.getresponse()
    except _BROKEN as error:
      self._connection.close()
      is_late = isinstance(error, (TimeoutError, exceptions.TimeoutError))
      reason = f"no answer within {self._limits.timeout:g} s" if is_late else (
          "the connection broke")
      raise AnswerLost(
          f"{self._where} did not answer ({reason}); what was sent stays "
          "charged: run the same command again to go on") from None
    except BaseException:
      self._connection.close()  # else a late answer would be the next one's
      raise

  def _wait(self, response: urllib3.BaseHTTPResponse, failures: int) -> float:
    """Seconds before a request that was turned away is sent again."""
    try:
      asked = urllib3.Retry().get_retry_after(response)
    except exceptions.InvalidHeader:
      asked = None
    if asked is not None and asked > self._limits.longest_wait:
      raise VictimFailed(
          f"{self._where} asks to wait for {asked:.0f} s (status "
          f"{response.status}); raise Served.longest_wait, or run the same "
          "command again then to go on")
    return self._limits.pause(failures) if asked is None else asked

  def _complaint(self, response: urllib3.BaseHTTPResponse) -> str:
    try:
      text = str(json.loads(response.data)["error"])
    except (ValueError, KeyError, TypeError, RecursionError):
      text = http.client.responses.get(response.status, "")
    shown = f" ({self._plain(text)})" if text else ""
    advice = _ADVICE.get(response.status, "see what it logs")
    return (f"{self._where} answered with status {response.status}{shown}; "
            f"{advice}, and run the same command again to go on")

  def _plain(self, text: str) -> str:
    """One short line without secrets."""
    for secret in self._secrets:
      text = text.replace(secret, "***")
    return " ".join(text.split())[:200]
