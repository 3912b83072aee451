"""Before anything else is imported: a thread for each of the two workers.

Two libraries that spin on the same two cores take twice the time of one.
"""

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
  os.environ.setdefault(_name, "1")
