"""An episode as a recording for the rerun viewer (`rerun FILE.rrd`): pictures, proprioception and actions over time.

Written to a file; no viewer is started and nothing is sent anywhere.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from hone.errors import HoneError
from hone.specs import Spec
from hone.types import Episode

JPEG_QUALITY = 90


def write_rrd(episode: Episode, spec: Spec, path: Path) -> None:
    try:
        rerun = importlib.import_module("rerun")
    except ImportError as error:
        raise HoneError("rerun-sdk is not installed; pip install 'hone-vla[rerun]'.") from error
    recording = rerun.RecordingStream("hone", recording_id=path.stem)
    recording.save(path)
    said = f"# {episode.task.name}\n\n{episode.instruction}\n\n{episode.status}, {len(episode)} steps"
    recording.log("episode", rerun.TextDocument(said, media_type="text/markdown"), static=True)
    for step in range(len(episode)):
        recording.set_time("step", sequence=step)
        recording.set_time("time", duration=step / spec.control_rate_hz)
        if episode.images is not None:
            for camera, picture in zip(spec.cameras, episode.images[step], strict=True):
                recording.log(f"cameras/{camera}", rerun.Image(picture).compress(jpeg_quality=JPEG_QUALITY))
        recording.log("proprio", rerun.Scalars(episode.proprio[step]))
        recording.log("actions/wanted", rerun.Scalars(episode.actions[step]))
        recording.log("actions/executed", rerun.Scalars(episode.executed[step]))
    recording.flush()
    recording.disconnect()
