"""The native engine's threads, which wait between calls, and the cores they stay on."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence

import numpy as np

from hone.errors import HoneError


class ThreadPool:
    """Threads of engine.c. They belong to the process that made them: a fork leaves them behind."""

    def __init__(self, library: ctypes.CDLL, num_threads: int, cores: Sequence[int] = ()) -> None:
        """Thread i stays on `cores[i]`; without cores the system places them."""
        self._library = library
        self.process = os.getpid()
        places = np.array(cores or [-1] * num_threads, np.int32)
        library.hone_open_pool.restype = ctypes.c_void_p
        self.handle = ctypes.c_void_p(
            library.hone_open_pool(ctypes.c_int32(num_threads), ctypes.c_void_p(places.ctypes.data))
        )
        if not self.handle:
            raise HoneError(
                f"the system refuses {num_threads} engine threads{f' on the cores {tuple(cores)}' if cores else ''}; "
                "use fewer (num_threads), or let it place them (no cores)."
            )

    def __del__(self) -> None:
        if self.handle and self.process == os.getpid():
            self._library.hone_close_pool(self.handle)


def check_cores(cores: Sequence[int], num_threads: int) -> None:
    """One core for each thread, all of them this process's to use, or none at all; else `HoneError`."""
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    if cores and (len(cores) != num_threads or not set(cores) <= set(allowed)):
        raise HoneError(
            f"cores is {tuple(cores)}; name one for each of {num_threads} threads, among {', '.join(map(str, allowed))}"
            ", or none."
        )
