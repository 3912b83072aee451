"""Settings of all tests."""

import os

import hypothesis

# A thread for each of the two workers, before numpy and the backends are
# imported: two libraries that spin on the same cores take twice the time.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
  os.environ.setdefault(_name, "1")

# No test fails because the machine is busy.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")
