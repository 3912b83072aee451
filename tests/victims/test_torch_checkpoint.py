"""Reading torch's files: as torch does, without torch, without running any."""

from __future__ import annotations

import hashlib
import io
import os
import pathlib
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fixtures import pickles
from wsl_extraction.errors import InputError
from wsl_extraction.victims import torch_checkpoint

STATE = {
    "conv1.weight": np.arange(24, dtype="<f4").reshape(2, 3, 2, 2),
    "bn1.num_batches_tracked": np.array(7, "<i8"),
    "fc.bias": np.array([0.5, -2, 65504], "<f2")}


def same(found, expected):
  assert list(found) == list(expected)
  for name, value in expected.items():
    np.testing.assert_array_equal(found[name], value)
    assert found[name].dtype == value.dtype
    assert found[name].shape == value.shape


def refused(path, match):
  with pytest.raises(InputError, match=match) as caught:
    torch_checkpoint.read(path)
  assert "\n" not in str(caught.value)
  assert str(path) in str(caught.value)


@pytest.mark.parametrize("old", [False, True])
def test_reads_what_is_written_by_hand(tmp_path, old):
  path = pickles.write_state(tmp_path / "x.pth", STATE, old)
  found = torch_checkpoint.read(path)
  same(found, STATE)
  with pytest.raises(ValueError, match="read-only"):
    found["fc.bias"][0] = 1


@settings(max_examples=50)
@given(array=arrays.arrays(
    st.sampled_from(["<f4", "<f2", "<i8"]),
    arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    elements={"allow_nan": False}), old=st.booleans())
def test_any_array_comes_back(array, old, tmp_path_factory):
  path = tmp_path_factory.mktemp("pth") / "x.pth"
  same(
    torch_checkpoint.read(pickles.write_state(path, {"a": array}, old)),
    {"a": array},
  )


def test_an_archive_of_a_big_endian_machine(tmp_path):
  state = {"a": np.array([1.5, 2], ">f4")}
  path = pickles.write_zip(
      tmp_path / "x.pth", pickles.content(state, False), state.values(), "big")
  np.testing.assert_array_equal(torch_checkpoint.read(path)["a"], [1.5, 2])


@pytest.mark.parametrize("old", [False, True])
def test_reads_what_torch_writes(tmp_path, old):
  torch = pytest.importorskip("torch", reason="torch is not installed")
  numbers = torch.Generator().manual_seed(0)
  base = torch.randn((6, 8), generator=numbers)
  state = {
      "plain": base.clone(), "turned": base.clone().t(), "shared": base,
      "row": base[2], "columns": base[:, 1:7:2], "scalar": torch.tensor(3.5),
      "count": torch.tensor(2**40), "flags": torch.tensor([True, False]),
      "bytes": torch.arange(5, dtype=torch.uint8), "none": torch.zeros(0, 3),
      "half": base.half(), "double": base.double(), "small": base.to(
          torch.int8), "bfloat": base.bfloat16(),
      "parameter": torch.nn.Parameter(base[:2].clone())}
  torch.save(state, tmp_path / "x.pth",
             _use_new_zipfile_serialization=not old)
  found = torch_checkpoint.read(tmp_path / "x.pth")
  assert list(found) == list(state)
  for name, tensor in state.items():
    if tensor.dtype is torch.bfloat16:
      tensor = tensor.float()
    value = tensor.detach().numpy()
    assert found[name].dtype == value.dtype, name
    np.testing.assert_array_equal(found[name], value)
  # Windows onto one storage, no copies.
  assert np.shares_memory(found["shared"], found["row"])


@pytest.mark.parametrize("wrap", [
    lambda state: {"epoch": 3, "state_dict": state, "best": 0.5},
    lambda state: {"model": state, "optimizer": {"lr": [0.1]}},
    lambda state: {f"module.{name}": value for name, value in state.items()},
    lambda state: {"state_dict": {
        f"module.{name}": value for name, value in state.items()}}])
@pytest.mark.parametrize("old", [False, True])
def test_wrapped_state_dicts(tmp_path, wrap, old):
  torch = pytest.importorskip("torch", reason="torch is not installed")
  state = {"a": torch.arange(3.0), "module.b": torch.ones(2)}
  torch.save(wrap(state), tmp_path / "x.pth",
             _use_new_zipfile_serialization=not old)
  same(torch_checkpoint.read(tmp_path / "x.pth"),
       {name: value.numpy() for name, value in state.items()})


@pytest.mark.parametrize("old", [False, True])
def test_a_name_that_only_some_have_is_kept(tmp_path, old):
  state = {"module.a": np.ones(2, "<f4"), "b": np.ones(1, "<f4")}
  same(
    torch_checkpoint.read(pickles.write_state(tmp_path / "x.pth", state, old)),
    state,
  )


class _Command:
  """Pickled as a call."""

  def __init__(self, function, *arguments):
    self.call = function, arguments

  def __reduce__(self):
    return self.call


def evil(make, path, content, protocol=2):
  pickled = pickle.dumps(content, protocol=protocol)
  return (pickles.write_old if make == "old" else pickles.write_zip)(
      path, pickled)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("make", ["old", "zip"])
def test_commands_are_named_and_not_run(tmp_path, make, protocol):
  mark = tmp_path / "ran"
  content = {"a": 1, "b": _Command(os.system, f"touch {mark}")}
  # What it would do.
  pickle.loads(pickle.dumps(content, protocol))
  assert mark.exists()
  mark.unlink()
  path = evil(make, tmp_path / "x.pth", content, protocol)
  refused(path, r"names (posix|nt)\.system, which is no tensor and was not run")
  assert not mark.exists()


@pytest.mark.parametrize("call, named", [
    ((eval, "open('ran', 'w')"), r"builtins\.eval"),
    ((exec, "open('ran', 'w')"), r"builtins\.exec"),
    ((getattr, os, "system"), r"builtins\.getattr|__builtin__"),
    ((__import__, "antigravity"), r"builtins\.__import__"),
    ((pathlib.Path.touch, pathlib.Path("ran")), r"builtins\.getattr|Path"),
    ((io.open, "ran", "w"), r"open")])
@pytest.mark.parametrize("make", ["old", "zip"])
def test_other_calls(tmp_path, monkeypatch, make, call, named):
  monkeypatch.chdir(tmp_path)
  if call[0] is getattr:  # a module cannot be pickled
    call = (getattr, "system", "upper")
  refused(evil(make, tmp_path / "x.pth", [_Command(*call)], 4), named)
  assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", [
    "torch.load", "torch.hub.load", "torch.storage._load_from_bytes",
    "torch._utils._rebuild_tensor", "torch.FloatStorage.__init__",
    "collections.OrderedDict.fromkeys", "collections.defaultdict", "a\tb.c"])
@pytest.mark.parametrize("make", [pickles.write_old, pickles.write_zip])
def test_only_what_a_tensor_is_made_of_may_be_named(tmp_path, name, make):
  module, attribute = name.split(".", 1) if name.startswith("col") else (
      name.rsplit(".", 1))
  path = make(tmp_path / "x.pth", b"\x80\x02" + pickles.Global(
      module, attribute).code() + b")R.")
  shown = name.replace("\t", "\\t")
  with pytest.raises(InputError) as caught:
    torch_checkpoint.read(path)
  assert f"names {shown}, which is no tensor" in str(caught.value)


def test_stand_ins_cannot_be_changed(tmp_path):
  # BUILD sets attributes on whatever lies below it.
  change = b"\x80\x02" + pickles.Global(
      "torch._utils", "_rebuild_tensor_v2").code() + (
      b"N}" + pickles.text("__defaults__") + b")s\x86b0")
  whole = pickles.content(STATE, False)
  path = pickles.write_zip(tmp_path / "x.pth", change + whole[2:],
                           STATE.values())
  same(torch_checkpoint.read(path), STATE)
  storage = b"\x80\x02" + pickles.Global("torch", "FloatStorage").code() + (
      b"}" + pickles.text("name") + pickles.text("O") + b"sb0")
  path = pickles.write_zip(tmp_path / "y.pth", storage + whole[2:],
                           STATE.values())
  same(torch_checkpoint.read(path), STATE)


def test_a_memo_number_takes_no_memory(tmp_path):
  # The unpickler in C would fill a list up to the number, of 32 GiB.
  whole = pickles.content(STATE, False)
  put = b"\x80\x02Nr" + (2**31 - 1).to_bytes(4, "little") + b"0"
  same(
    torch_checkpoint.read(
      pickles.write_zip(tmp_path / "x.pth", put + whole[2:], STATE.values())
    ),
    STATE,
  )


@pytest.mark.parametrize("old", [False, True])
def test_whole_networks_are_refused(tmp_path, old):
  torch = pytest.importorskip("torch", reason="torch is not installed")
  torch.save(torch.nn.Sequential(torch.nn.Linear(2, 3)), tmp_path / "x.pth",
             _use_new_zipfile_serialization=not old)
  refused(tmp_path / "x.pth",
          r"a whole pickled network \(torch\.nn\.modules\.container\.Sequential"
          r"\).*torch\.save\(model\.state_dict\(\), path\)")


@pytest.mark.parametrize("old", [False, True])
def test_truncated_anywhere(tmp_path, old):
  whole = pickles.write_state(tmp_path / "x.pth", STATE, old).read_bytes()
  start = 15 if old else 4
  for cut in [*range(start, len(whole), 7), len(whole) - 1]:
    (tmp_path / "x.pth").write_bytes(whole[:cut])
    refused(tmp_path / "x.pth", "is truncated or damaged|cannot be read as")
  (tmp_path / "x.pth").write_bytes(whole[:-1])
  # More than the word, which the path has too.
  refused(tmp_path / "x.pth", "is truncated or damaged")


@pytest.mark.parametrize("old", [False, True])
@settings(max_examples=150)
@given(data=st.data())
def test_damaged_anywhere(old, tmp_path_factory, data):
  """Wrong bytes give one line, no other error; no wrong numbers either.

  The old format has no checksums: there they may.
  """
  path = tmp_path_factory.mktemp("pth") / "x.pth"
  whole = bytearray(pickles.write_state(path, STATE, old).read_bytes())
  for _ in range(data.draw(st.integers(1, 3))):
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] = data.draw(st.integers(0, 255))
  path.write_bytes(whole)
  try:
    found = torch_checkpoint.read(path)
  except InputError as error:
    assert "\n" not in str(error)
  else:
    with np.errstate(invalid="ignore"):  # of a signalling NaN
      for value in found.values():
        value.sum(dtype="f8")
    if not old:
      assert list(found) == list(STATE)
      for name, value in found.items():
        np.testing.assert_array_equal(value, STATE[name])


def test_a_tensor_stays_in_its_storage(tmp_path):
  good = pickles.content({"a": np.ones(4, "<f4")}, False)
  four = pickles.number(4)
  storages = [np.ones(4, "<f4")]
  assert good.count(four) == 2  # the storage's size and the tensor's
  first = good.index(four)
  second = good.index(four, first + 1)

  def changed(place, value):
    return good[:place] + pickles.number(value) + good[place + 5:]

  for pickled, match in (
      (changed(second, 5), "out of its storage"),
      (changed(second, -1), "out of its storage"),
      (changed(second - 6, 1), "out of its storage"),  # the offset
      (changed(second - 6, -1), "out of its storage"),
      (changed(first, 5), "16")):
    path = pickles.write_zip(tmp_path / "x.pth", pickled, storages)
    refused(path, match)
  # Strides of 0 would make much of little.
  stride = good.index(pickles.number(1), second)
  endless = good[:second] + pickles.number(2**30) + good[second + 5:stride] + (
      pickles.number(0) + good[stride + 5:])
  refused(pickles.write_zip(tmp_path / "x.pth", endless, storages),
          "out of its storage")


def test_files_that_are_something_else(tmp_path):
  refused(tmp_path / "none.pth", "there is no checkpoint")
  (tmp_path / "folder.pth").mkdir()
  refused(tmp_path / "folder.pth", "is a folder; give the path")
  path = tmp_path / "x.pth"
  for content, match in (
      (b"", "is empty"), (b"no model", "no checkpoint of torch"),
      (pickle.dumps({"a": 1}), "no checkpoint of torch"),
      (b"PK\x03\x04 and nothing more", "truncated or damaged")):
    path.write_bytes(content)
    refused(path, match)
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("readme.txt", "hello")
  refused(path, r"archive without data\.pkl")
  with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
    archive.writestr("archive/data.pkl", pickles.content(STATE, False))
  refused(path, r"data\.pkl is compressed")


@pytest.mark.parametrize("content, match", [
    ([1, 2], "holds no state dict"), ({}, "holds no state dict"),
    ({"epoch": 3}, "holds epoch, which is no tensor"),
    ({5: None}, "holds 5, which is no tensor"),
    ("text", "holds no state dict")])
@pytest.mark.parametrize("make", ["old", "zip"])
def test_other_contents(tmp_path, make, content, match):
  refused(evil(make, tmp_path / "x.pth", content), match)


def test_the_name_must_tell_the_hash(tmp_path):
  content = b"anything at all"
  whole = hashlib.sha256(content).hexdigest()
  for name in ("x.pth", f"x-{whole[:8]}.pth", f"x-{whole}.pth", "x-1234567.pth",
               "x-c6f796b0.bin", "x-c6f796b0.pth.old"):
    (tmp_path / name).write_bytes(content)
    assert torch_checkpoint.sha256(tmp_path / name) == whole
  path = tmp_path / "ig_resnext101_32x16-c6f796b0.pth"
  path.write_bytes(content)
  with pytest.raises(InputError, match=(
      f"has the SHA-256 {whole[:8]}..., its name says c6f796b0; it is "
      "incomplete or was changed")):
    torch_checkpoint.sha256(path)
  with pytest.raises(InputError, match="there is no checkpoint"):
    torch_checkpoint.sha256(tmp_path / "none.pth")
  with pytest.raises(InputError, match="is a folder"):
    torch_checkpoint.sha256(tmp_path)
