"""Runs the test files named on the command line: a py_test's `main`.

Without it `bazel test` would run a test file as a script, which defines the
tests, runs none of them and passes.
"""

import sys

import pytest

if __name__ == "__main__":
  sys.exit(pytest.main(["-p", "no:cacheprovider", *sys.argv[1:]]))
