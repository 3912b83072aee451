"""Links in folders of images, what is no file, and splits of all shapes."""

from __future__ import annotations

import os
import socket

import numpy as np
import pytest

from fixtures.image_files import (
    make_folder,
    own_cache,  # noqa: F401
    pixels,
    png,
    refused,
)
from wsl_extraction.data import datasets

OPTIONS = pytest.mark.parametrize(
    "options", [{}, {"image_size": 6, "streamed": True}], ids=["read", "lazy"])


@pytest.fixture(name="root")
def fixture_root(tmp_path):
  return make_folder(tmp_path / "photos", {"ant": 2, "bee": 2})


@OPTIONS
def test_links_to_files_and_folders_are_followed(root, tmp_path, options):
  make_folder(tmp_path / "elsewhere", {"cow": 3})
  (root / "cow").symlink_to(tmp_path / "elsewhere" / "cow")
  (root / "ant" / "z.png").symlink_to(root / "bee" / "0.png")
  (root / "ant" / "zz.png").symlink_to("z.png")  # a link to a link
  (tmp_path / "link").symlink_to(root)
  dataset = datasets.load(str(tmp_path / "link"), **options)
  assert dataset.class_names == ("ant", "bee", "cow")
  np.testing.assert_array_equal(
      dataset.train.labels, [0, 0, 0, 0, 1, 1, 2, 2, 2])
  images = np.asarray(dataset.train.rows)
  np.testing.assert_array_equal(images[2], images[3])
  np.testing.assert_array_equal(images[2], images[4])


@OPTIONS
@pytest.mark.parametrize("place, target, words", [
    ("cow", "nowhere", ("cow", "nowhere", "No such file", "remove it")),
    ("bee/x.png", "nowhere", ("bee/x.png", "nowhere", "remove it")),
    ("cow", "cow", ("cow", "symbolic links", "remove it")),
    ("bee/x.png", "x.png", ("bee/x.png", "symbolic links", "remove it")),
    ("bee/x.png", "x.png/y", ("bee/x.png", "remove it")),
    ("bee/up", "..", ("bee", "holds a folder, up", "directly")),
    ("self", ".", ("self", "holds a folder", "directly")),
    ("bee/x.png", os.devnull, ("bee/x.png", "device", "remove it"))])
def test_a_link_that_cannot_be_followed_is_named(
    root, options, place, target, words):
  (root / place).symlink_to(target)
  with refused(*words):
    datasets.load(str(root), **options)


def test_the_folder_itself_may_not_be_a_loop(tmp_path):
  (tmp_path / "loop").symlink_to("loop")
  with refused("cannot read folder", "loop", "check"):
    datasets.load(str(tmp_path / "loop"))


def test_hidden_links_are_passed_over(root):
  (root / ".lock").symlink_to("nobody@host:1")
  (root / "bee" / ".lock").symlink_to("nobody@host:1")
  assert len(datasets.load(str(root)).train) == 4


@OPTIONS
def test_a_pipe_is_not_waited_for(root, options):
  os.mkfifo(root / "bee" / "pipe.png")
  with refused("bee/pipe.png", "pipe", "remove it"):
    datasets.load(str(root), **options)


def test_a_socket_is_no_image(root, monkeypatch):
  monkeypatch.chdir(root / "bee")  # names of sockets are short
  with socket.socket(socket.AF_UNIX) as made:
    made.bind("s.png")
    with refused("bee/s.png", "socket"):
      datasets.load(str(root))


def flat(folder):
  folder.mkdir()
  (folder / "0.png").write_bytes(png(pixels(1)[0]))


@OPTIONS
@pytest.mark.parametrize("labelled", ["val", "valid", "validation"])
def test_a_flat_test_folder_makes_way_for_a_labelled_one(
    tmp_path, labelled, options):
  """As competitions have it: the images of test/ have no classes."""
  make_folder(tmp_path / "train", {"a": 2, "b": 2})
  make_folder(tmp_path / labelled, {"a": 1, "b": 2})
  flat(tmp_path / "test")
  dataset = datasets.load(str(tmp_path), **options)
  assert dataset.test is not None
  np.testing.assert_array_equal(dataset.test.labels, [0, 1, 1])


@OPTIONS
def test_a_flat_test_folder_alone_is_refused(tmp_path, options):
  make_folder(tmp_path / "train", {"a": 2, "b": 2})
  flat(tmp_path / "test")
  with refused("test", "has no class folders", "move it away"):
    datasets.load(str(tmp_path), **options)
