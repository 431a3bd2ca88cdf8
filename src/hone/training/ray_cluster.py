"""The connection to a Ray cluster: made within a bound, watched, and taken leave of where the head is gone."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from hone.errors import HoneError

CONNECT_S = 10.0
"""A cluster that does not answer within this time is not there."""
HEAD_S = 30.0
"""A head that answers nothing for this long is lost. Ray itself would end the process without a word to us."""
HEAD_BEAT_S = 5.0
"""Pause between two questions to the head."""
LEAVE_S = 15.0
"""How long taking leave of a lost cluster may take."""


class HeadWatch:
    """Asks the head of the cluster now and then, in a thread, because an answer that never comes would block."""

    def __init__(self, ask: Callable[[], object]) -> None:
        self._asked: float | None = None
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, args=(ask,), daemon=True).start()

    @property
    def silent_s(self) -> float:
        """How long the present question has been without an answer."""
        asked = self._asked
        return 0.0 if asked is None else time.monotonic() - asked

    def stop(self) -> None:
        self._stopped.set()

    def _watch(self, ask: Callable[[], object]) -> None:
        while not self._stopped.wait(HEAD_BEAT_S):
            self._asked = time.monotonic()
            with contextlib.suppress(Exception):  # an error is no answer; only an answer resets the clock
                ask()
                self._asked = None
            if self._asked is not None:
                return


def connect(address: str, num_workers: int) -> None:
    """Connect this process to a cluster, once: `local` starts one on this machine alone with a place for each worker.

    Raises `HoneError` where there is none, within `CONNECT_S` (Ray itself tries for minutes).
    """
    ray = import_ray()
    if ray.is_initialized():
        return
    if address.startswith("ray://"):
        raise HoneError(
            f"{address}: Ray's client protocol cannot stream episodes; run this on a machine of the cluster."
        )
    os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "600")  # `HEAD_S` comes first
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        if address == "local":
            ray.init(address="local", num_cpus=num_workers, include_dashboard=False, logging_level=logging.WARNING)
            return
        named = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
        if named != "auto":
            _probe(named)
        ray.init(address=named, logging_level=logging.WARNING)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise HoneError(
            f"no Ray cluster to join at '{address}' ({error}). Start one with `ray start --head` and run this on one "
            "of its machines, or use --ray local."
        ) from error


def _probe(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise HoneError(f"--ray {address}: write `auto`, `local`, or HOST:PORT of the cluster's head.")
    socket.create_connection((host, int(port)), timeout=CONNECT_S).close()


def leave() -> None:
    """Shut down what is left of a connection. It may block for ever where the head is frozen, and so would exit."""
    ray = import_ray()
    leaving = threading.Thread(target=ray.shutdown, daemon=True)
    leaving.start()
    leaving.join(LEAVE_S)
    if leaving.is_alive():
        atexit.unregister(ray.shutdown)


def import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise HoneError("--ray needs Ray: pip install 'hone-vla[ray]' (on every machine of the cluster).") from error
    return ray
