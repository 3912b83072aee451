"""Victims behind an HTTP interface: one's own service, or one to be tested."""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from wsl_extraction import checks
from wsl_extraction.data.split import Parts
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.exchanges import AnswerLost, Link
from wsl_extraction.victims import (
    answers,
    inputs,
    kserve_v2,
    signature,
    tf_serving,
)
from wsl_extraction.victims.http_transport import Limits, Transport
from wsl_extraction.victims.signature import Signature
from wsl_extraction.victims.victim import (
    Victim,
    VictimSource,
    digest,
    quantities_of,
)

PROTOCOLS = {one.NAME: one for one in (kserve_v2, tf_serving)}
# A tensor holds one number a class, not the best few with their names.
_OUTPUTS = tuple(one for one in answers.OUTPUTS if one != "top_k")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Served(VictimSource):
  """A model that is asked over HTTP.

  Input shape, dtype and classes are read from its metadata. A request is
  charged when it is sent; one whose answer is lost, as the connection broke or
  the time was up, is charged again when it is sent again, and shown as such.
  One that was turned away unread (429, 503) is sent again under its charge.

  Attributes:
    url: The model's own address, http://localhost:8080/v2/models/NAME or
      http://localhost:8501/v1/models/NAME, with /versions/V if it has several.
    protocol: "kserve_v2" (mlserver, Triton, KServe) or "tf_serving".
    outputs: What it gives: "logits", "probabilities", "percent" or "label"; see
      `answers.Answers`.
    class_names: The names that it answers with, in the order of the classes'
      numbers; None for those of the data.
    decimals: To so many it rounds its scores; None tells by its answers.
    headers: Names of headers, and of the environment variables that hold their
      values: {"Authorization": "MY_TOKEN"}.
    input: The name of the input, of several.
    output: The name of the output, of several.
    num_classes: c, where the metadata does not tell; None for the data's.
    value_range: The range of values that the model was trained on; None for the
      data set's own.
    channels_first: Whether it takes images as [d, h, w]; None tells by the
      metadata.
    batch_size: The most rows of one request.
    requests_per_second: The most requests that are sent; None for no limit.
    timeout: Seconds to wait for a connection, and for an answer.
    retries: How often a request that failed is sent again.
    backoff: Seconds before the first retry; each further one waits twice as
      long, or as long as the service says (Retry-After).
    longest_wait: The most seconds that the service may ask to wait.
    fingerprint: Tells services apart in place of the address, for one that
      moves; change it when the model changes.
  """

  url: str
  protocol: str
  outputs: str = "probabilities"
  class_names: Sequence[Any] | None = None
  decimals: int | None = None
  headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
  input: str | None = None
  output: str | None = None
  num_classes: int | None = None
  value_range: tuple[float, float] | None = None
  channels_first: bool | None = None
  batch_size: int = 32
  requests_per_second: float | None = None
  timeout: float = 30.0
  retries: int = 5
  backoff: float = 0.5
  longest_wait: float = 300.0
  fingerprint: str = ""

  def __post_init__(self):
    checks.one_of("Served.protocol", self.protocol, tuple(PROTOCOLS))
    object.__setattr__(self, "url", _address(self.url, self._wire))
    checks.one_of("Served.outputs", self.outputs, _OUTPUTS)
    object.__setattr__(self, "class_names", answers.check_names(
        "Served.class_names", self.class_names))
    checks.whole("Served.decimals", self.decimals, 0, optional=True)
    _check_names(self.headers)
    for name in ("input", "output"):
      checks.text(f"Served.{name}", getattr(self, name), f"the name of an "
                  f"{name}", optional=True)
    checks.whole("Served.num_classes", self.num_classes, 2, optional=True)
    for name, least in (("batch_size", 1), ("retries", 0)):
      checks.whole(f"Served.{name}", getattr(self, name), least)
    for name in ("timeout", "requests_per_second"):
      checks.number(f"Served.{name}", getattr(self, name), above=0,
                    optional=name != "timeout")
    for name in ("backoff", "longest_wait"):
      checks.number(f"Served.{name}", getattr(self, name), 0)
    if self.channels_first is not None:
      checks.flag("Served.channels_first", self.channels_first)
    inputs.check_range("Served.value_range", self.value_range)

  @property
  def _wire(self) -> types.ModuleType:
    return PROTOCOLS[self.protocol]

  def load(self, parts, runtime):
    """Reads the model's metadata.

    Raises:
      InputError: There is no such service, it takes other inputs or gives other
        classes than the data has, or a header's variable is not set.
    """
    transport = Transport(self.url, _values(self.headers), Limits(
        timeout=self.timeout, retries=self.retries, backoff=self.backoff,
        longest_wait=self.longest_wait,
        requests_per_second=self.requests_per_second))
    path = parse_url(self.url).path or ""
    model = self._wire.signature(
        transport.get(path + self._wire.METADATA), self.input, self.output)
    classes = self._classes(model, parts)
    size = min(self.batch_size, model.batch or self.batch_size)
    ask = inputs.rescaled(
        _question(self._wire, model, transport, path, signature.fit(
            model.shape, parts.space, self.channels_first)),
        parts.space, self.value_range)
    quantities = quantities_of(
        self.outputs, ask, classes=classes,
        class_names=self.class_names or parts.class_names)
    return Victim(
        parts.space, classes,
        {quantity: inputs.in_parts(function, size)
         for quantity, function in quantities.items()},
        digest("served", self.fingerprint or self.url, self.protocol,
               self.outputs, self.class_names, self.value_range,
               self.channels_first, model),
        remote=True, link=Link(size, self.retries, transport.prepare),
        decimals=self.decimals,
        value_range=self.value_range or parts.space.value_range)

  def _classes(self, model: Signature, parts: Parts) -> int:
    """The number of classes, c; one score stands for two classes."""
    told = None if self.outputs == "label" else model.classes
    known = {f"{self.url} gives": 2 if told == 1 else told,
             "Served.num_classes says": self.num_classes,
             "Served.class_names has": len(self.class_names or ()) or None,
             "the data has": parts.num_classes}
    known = {name: count for name, count in known.items() if count}
    if not known:
      raise InputError(f"{self.url} does not tell the number of classes; give "
                       "Served.num_classes")
    if len(set(known.values())) > 1:
      listed = checks.listed(f"{name} {count}" for name, count in known.items())
      raise InputError(f"the numbers of classes differ: {listed}; use the data "
                       "that the model was made for")
    return next(iter(known.values()))


def _question(wire: types.ModuleType, model: Signature, transport: Transport,
              path: str, lay_out: Callable[[np.ndarray], np.ndarray]
              ) -> Callable[[np.ndarray], np.ndarray]:
  """The function of rows that sends one request."""
  numbers = itertools.count(1)

  def ask(rows: np.ndarray) -> np.ndarray:
    number = next(numbers)
    content = wire.question(model, model.encode(lay_out(rows)), number)
    try:
      return wire.values(
          model, transport.post(path + wire.ASK, content), number)
    except AnswerLost:
      transport.close()
      raise

  return ask


def _address(url: Any, wire: types.ModuleType) -> str:
  """A model's address; shown where it is wrong, unless it may hold secrets."""
  wanted = f"a model's address, such as {wire.EXAMPLE}"
  checks.text("Served.url", url, wanted)
  if re.search("[@?#]", url):
    raise InputError("Served.url holds a user, a query or a fragment; give "
                     "what is secret by Served.headers, and the bare address")
  try:
    parsed = parse_url(url)
  except LocationParseError:
    return checks.refuse("Served.url", url, wanted)
  if parsed.scheme not in ("http", "https") or not parsed.host or (
      not re.search(r"/models/[^/]+", parsed.path or "")):
    checks.refuse("Served.url", url, wanted)
  return parsed.url.rstrip("/").removesuffix(wire.ASK)


def _check_names(headers: Any) -> None:
  # Never shown: what was given may be the value itself.
  if not isinstance(headers, Mapping) or not all(
      isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9-]+", name)
      and isinstance(variable, str)
      and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable)
      for name, variable in headers.items()):
    raise InputError(
        "Served.headers is no list of headers and of environment variables "
        "that hold their values; give {'Authorization': 'MY_TOKEN'}, after "
        "export MY_TOKEN='Bearer ...'")


def _values(headers: Mapping[str, str]) -> dict[str, str]:
  values = {}
  for name, variable in headers.items():
    value = os.environ.get(variable, "").strip()
    if not value:
      raise InputError(f"environment variable {variable}, the value of header "
                       f"{name}, is not set; export it before the command")
    if not value.isascii() or not value.isprintable():
      raise InputError(f"environment variable {variable} holds what no header "
                       "can hold; export it in ASCII, in one line")
    values[name] = value
  return values

