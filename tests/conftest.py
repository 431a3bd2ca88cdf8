"""What every test runs with: drawing without a screen, one thread per process, the user's own cache.

The cache is the default one and outlives the tests, so a LIBERO scene is composed once per machine and not once per
run; set HONE_CACHE to keep them apart.
"""

from __future__ import annotations

import os

from hone.cli.system import gl_backend

# Before anything imports MuJoCo or torch: both read these once.
os.environ.setdefault("MUJOCO_GL", gl_backend() or "egl")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

torch.set_num_threads(1)
