"""Recorded episodes as files that people look at: a film, or a recording for the rerun viewer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hone.specs import Spec
from hone.types import Episode
from hone.viewers.film import write_mp4
from hone.viewers.rerun import write_rrd

FORMS: dict[str, Callable[[Episode, Spec, Path], None]] = {"mp4": write_mp4, "rrd": write_rrd}
"""Writes one episode of a data set of this `Spec` to a file with this ending."""
