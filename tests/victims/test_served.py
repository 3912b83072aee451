"""Served models: what is sent, and what is read from metadata and answers."""

from __future__ import annotations

import email.utils
import time

import numpy as np
import pytest

from fixtures import services
from fixtures.services import CLASSES, POOL, loaded, scores, serving, source
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.responders import Live
from wsl_extraction.oracle.response import Quantity
from wsl_extraction.oracle.reveals import Label, Scores

PROTOCOLS = ("kserve_v2", "tf_serving")


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_answers_are_the_models_to_the_last_digit(protocol, dtype):
  with serving(dtype=dtype) as (service, address):
    victim = loaded(address, protocol)
    rows = POOL[:50].astype(np.float64) / 3
    np.testing.assert_array_equal(
        victim.predict(rows), scores(rows.astype(dtype)))
  assert (victim.outputs, victim.remote) == (CLASSES, True)
  # One connection for the metadata and four batches of at most 16.
  assert (service.requests, len(service.sockets), service.rows) == (4, 1, 50)
  assert max(map(len, service.seen)) == 16


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_oracle_counts_the_rows_that_the_service_saw(protocol):
  with serving() as (service, address):
    oracle = Oracle(Live(loaded(address, protocol), Scores()))
    response = oracle.query(POOL[:100])
  np.testing.assert_array_equal(response.values, scores(POOL[:100]))
  assert oracle.ledger.rows == service.rows == 100


@pytest.mark.parametrize("shape", [
    (8, 6, 3), (3, 8, 6), (144,)], ids=["images", "channels first", "flat"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_rows_are_laid_out_as_the_model_takes_them(shape, protocol):
  images = np.random.default_rng(0).integers(
      0, 256, (5, 8, 6, 3)).astype(np.uint8)
  wanted = {(8, 6, 3): images, (3, 8, 6): images.transpose(0, 3, 1, 2),
            (144,): images.reshape(5, 144)}[shape]
  with serving(lambda rows: np.tile([[0.25, 0.75]], (len(rows), 1)), shape,
               2, dtype="uint8") as (service, address):
    loaded(address, protocol, images).predict(images)
    np.testing.assert_array_equal(np.concatenate(service.seen), wanted)


def test_grey_images_lose_their_axis_and_get_the_models_range():
  images = np.array([0, 51, 255], np.uint8).repeat(4).reshape(3, 2, 2, 1)
  with serving(lambda rows: np.tile([[0.25, 0.75]], (len(rows), 1)), (2, 2),
               2) as (service, address):
    loaded(address, pool=images, value_range=(-1, 1)).predict(images)
  np.testing.assert_allclose(service.seen[0][:, 0, 0], [-1, -0.6, 1], rtol=1e-6)


def test_an_integer_model_is_not_sent_rounded_numbers():
  with serving(dtype="uint8") as (service, address):
    victim = loaded(address)
    victim.predict(np.array([[0.0, 1, 2, 255]]))
    with pytest.raises(InputError, match="whole numbers from 0 to 255"):
      victim.predict(np.array([[0, 1, 2.5, 3]]))
  assert service.rows == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_labels_and_one_probability(protocol):
  with serving(lambda rows: scores(rows).argmax(axis=1)) as (_, address):
    victim = loaded(address, protocol, num_classes=CLASSES, outputs="label")
    assert set(victim.quantities) == {Quantity.LABELS}
    np.testing.assert_array_equal(
        Oracle(Live(victim, Label())).query(POOL[:20]).top_classes,
        scores(POOL[:20]).argmax(axis=1))
  with serving(lambda rows: scores(rows)[:, :1], classes=1) as (_, address):
    victim = loaded(address, protocol)
    one = scores(POOL[:20])[:, 0]
    np.testing.assert_array_equal(
        victim.predict(POOL[:20]), np.stack([1 - one, one], axis=1))


def test_models_of_another_kind_of_data_are_refused():
  with serving() as (service, address):
    with pytest.raises(InputError, match=r"rows of shape \(4,\), the data has "
                       r"\(5,\)"):
      loaded(address, pool=np.zeros((3, 5)))
    with pytest.raises(InputError, match=r"gives 3, the data has 7"):
      loaded(address, num_classes=7)
    with pytest.raises(InputError, match="'y', and the model has scores; give"):
      loaded(address, output="y")
  assert service.rows == 0


def test_headers_come_from_the_environment_and_are_never_shown(monkeypatch):
  monkeypatch.setenv("WSL_TEST_TOKEN", "Bearer s3cr3t-value")

  def refusing(rows):
    raise ValueError("the token s3cr3t-value may not do that")

  headers = {"Authorization": "WSL_TEST_TOKEN"}
  with serving(refusing) as (service, address):
    victim = loaded(address, headers=headers)
    assert service.headers["Authorization"] == "Bearer s3cr3t-value"
    with pytest.raises(InputError, match=r"status 400 .*the token \*\*\* may"):
      victim.predict(POOL[:1])
    assert "s3cr3t" not in f"{victim} {source(address, headers=headers)}"
    monkeypatch.delenv("WSL_TEST_TOKEN")
    with pytest.raises(InputError, match="WSL_TEST_TOKEN, the value of header "
                       "Authorization, is not set"):
      loaded(address, headers=headers)
    monkeypatch.setenv("WSL_TEST_TOKEN", "a\nb: c")
    with pytest.raises(InputError, match="holds what no header can hold"):
      loaded(address, headers=headers)


@pytest.mark.parametrize("settings", [
    {"headers": {"Authorization": "Bearer s3cr3t"}},
    {"headers": ["s3cr3t"]}, {"headers": "s3cr3t"},
    {"url": "http://user:s3cr3t@localhost/v2/models/m"},
    {"url": "http://localhost/v2/models/m?key=s3cr3t"}])
def test_secrets_in_settings_are_refused_unseen(settings):
  known = {"url": "http://localhost/v2/models/m", "protocol": "kserve_v2"}
  with pytest.raises(InputError) as refusal:
    services.Served(**known | settings)
  assert "s3cr3t" not in str(refusal.value)


@pytest.mark.parametrize("url", [
    "", "localhost", "http://", "ftp://a/v2/models/m", "http://a:b/v2/models/m",
    "http://localhost:8080", "http://localhost/v2/models/", 5, None])
def test_addresses_that_are_none(url):
  with pytest.raises(InputError, match=r"Served.url is .*/v2/models/NAME"):
    services.Served(url=url, protocol="kserve_v2")


@pytest.mark.parametrize("settings", [
    {"protocol": "grpc"}, {"outputs": "top_k"}, {"batch_size": 0},
    {"timeout": 0}, {"retries": -1}, {"retries": 1.5}, {"backoff": -1},
    {"requests_per_second": 0}, {"num_classes": 1}, {"value_range": (1, 0)},
    {"channels_first": "yes"}, {"class_names": "ab"}, {"longest_wait": "x"}])
def test_settings_that_cannot_be(settings):
  name = next(iter(settings))
  with pytest.raises(InputError, match=f"Served.{name}"):
    services.Served(**{"url": "http://a/v2/models/m", "protocol": "kserve_v2",
                       **settings})


def test_the_address_of_a_question_is_that_of_its_model():
  for protocol, ending in (("kserve_v2", "/infer"), ("tf_serving", ":predict")):
    address = "http://a:1/v1/models/m/versions/2"
    for url in (address, f"{address}/", address + ending):
      assert services.Served(url=url, protocol=protocol).url == address


def test_fingerprints_tell_services_apart():
  with serving() as (_, one), serving() as (_, two):
    prints = [loaded(address, protocol).fingerprint
              for address in (one, two) for protocol in PROTOCOLS]
    assert len(set(prints)) == 4
    assert prints[0] == loaded(one).fingerprint
    assert loaded(one, fingerprint="mine").fingerprint == (
        loaded(two, fingerprint="mine").fingerprint)


def test_requests_keep_the_rate():
  with serving() as (service, address):
    oracle = Oracle(Live(loaded(address, requests_per_second=20), Scores()))
    start = time.monotonic()
    oracle.query(POOL[:16 * 6])
    assert time.monotonic() - start >= 5 / 20
  assert service.requests == 6


def in_two_seconds():
  return email.utils.formatdate(time.time() + 2, usegmt=True)


@pytest.mark.parametrize("wait", [lambda: "1", in_two_seconds])
def test_retry_after_is_honoured(wait):
  with serving(fault=lambda number: "busy" if number == 2 else "",
               retry_after=wait()) as (service, address):
    oracle = Oracle(Live(loaded(address), Scores()))
    start = time.monotonic()
    oracle.query(POOL[:32])
    assert 0.9 <= time.monotonic() - start < 10
  assert service.requests == 3
  assert oracle.ledger.rows == service.rows == 32
  assert oracle.ledger.resent == 0


def test_a_wait_that_is_too_long_is_said():
  with serving(fault=lambda number: "busy", retry_after="7200"
               ) as (service, address):
    victim = loaded(address)
    with pytest.raises(InputError, match=r"asks to wait for 7200 s \(status "
                       r"429\); raise Served.longest_wait"):
      victim.predict(POOL[:1])
  assert service.requests == 1
