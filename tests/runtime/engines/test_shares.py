"""What each worker takes of the hosts of a cluster."""

from __future__ import annotations

import importlib.util

import pytest
from ray import exceptions

from wsl_extraction.errors import InputError
from wsl_extraction.runtime.engines import ray_cluster
from wsl_extraction.runtime.engines.shares import Share, share

HOST = {"CPU": 8.0}
GPUS = {"CPU": 32.0, "GPU": 4.0}


@pytest.mark.parametrize("nodes, workers, devices, expected", [
    ([HOST], None, None, Share(1, 8)),
    ([HOST, HOST], None, None, Share(2, 8)),
    ([HOST, HOST], 5, None, Share(5, 2)),  # 4 on one host would leave 1 on it
    ([HOST, {"CPU": 2.0}], 3, None, Share(3, 2)),
    ([HOST, {"CPU": 2.0}], None, None, Share(2, 2)),
    ([HOST], 8, None, Share(8, 1)),
    ([GPUS, GPUS], None, None, Share(8, 8, "GPU", 1)),
    ([GPUS, HOST], None, 2, Share(2, 16, "GPU", 2)),
    ([GPUS], 2, None, Share(2, 16, "GPU", 1)),
    ([GPUS, HOST], None, 0, Share(2, 8)),
    ([{"CPU": 200.0, "TPU": 8.0}], None, 4, Share(2, 100, "TPU", 4)),
])
def test_devices_are_divided_and_no_worker_is_on_two_hosts(
    nodes, workers, devices, expected):
  assert share(nodes, workers, devices) == expected


def test_options_for_ray():
  assert Share(8, 8, "GPU", 2).options == {"num_cpus": 8, "num_gpus": 2}
  assert Share(1, 9, "TPU", 4).options == {
      "num_cpus": 9, "resources": {"TPU": 4}}
  assert Share(1, 3).environment["OMP_NUM_THREADS"] == "3"


@pytest.mark.parametrize("nodes, workers, devices, said", [
    ([HOST], 9, None, "room for 8 workers on the 1 hosts .* give --processes"),
    ([HOST], None, 1, "--devices=1, and the cluster has no GPU and no TPU"),
    ([GPUS, GPUS], None, 5, "no host for a worker of 5 GPUs; give fewer"),
    ([GPUS], 3, 2, "room for 2 workers .*, of 2 GPUs each; give"),
    ([{}], None, None, "no host for a worker; give"),
])
def test_too_many_are_refused(nodes, workers, devices, said):
  with pytest.raises(InputError, match=said):
    share(nodes, workers, devices)


def connect(address):
  return ray_cluster.RayCluster(address, None, None, 1.0, {}, keeps=True)


def test_ray_is_not_installed(monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  with pytest.raises(InputError, match="which is not installed; install it "
                     r"with pip install 'ray>=2\.50', or leave --engine out"):
    connect(None)


@pytest.mark.parametrize("address, said", [
    ("127.0.0.1:1", r"nothing answers at --ray_address=\S*:1 \(Connection ref"),
    ("127.0.0.1:99999", "--ray_address=127.*is no address"),
    ("nowhere.invalid:6379", "nothing answers at --ray_address=nowhere"),
    ("somewhere", "--ray_address=somewhere is no address; give auto, or host:"),
    ("ray://10.0.0.1:10001", "--ray_address=ray://10.*is no address"),
])
def test_an_address_that_answers_nothing(address, said):
  with pytest.raises(InputError, match=said):
    connect(address)


@pytest.mark.parametrize("error, said", [
    (exceptions.WorkerCrashedError(), "its process was killed or crashed"),
    (exceptions.OutOfMemoryError("Task was killed due to the node running low "
                                 "on memory."), "Ray ended it for lack of mem"),
    (exceptions.NodeDiedError("Task failed because the node it was running on "
                              "is dead or unavailable. Node IP: 10.0.0.2."),
     "its node was lost"),
    (exceptions.RayError(f"Something\n  else, {300 * 'x'}"),
     "Something else, xxx"),
])
def test_ends_of_workers_are_said_in_a_few_words(error, said):
  words = ray_cluster._sentence(error)
  assert words.startswith(said) and len(words) <= 200
