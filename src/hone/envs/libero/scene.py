"""A task's scene: composed once by hf-libero, stripped to what physics needs, compiled, and cached on disk.

Composing takes seconds and needs robosuite and hf-libero; loading a cached scene takes milliseconds and needs `mujoco`
alone. A cache entry is keyed by everything that shapes it (BDDL text, assets, versions), so it never goes stale; every
file in it is checked against its recorded hash, and an entry that does not match is rebuilt.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import mujoco
import numpy as np
from jaxtyping import Float64

from hone.cache import cache_dir, write_atomically
from hone.envs.libero import decimation, hf
from hone.envs.libero.assets import AssetPack
from hone.envs.libero.controller import RobotConstants
from hone.envs.libero.goals import GoalProgram
from hone.envs.libero.placements import draw_placements
from hone.envs.libero.suites import bddl_file, official_initial_states
from hone.errors import HoneError
from hone.types import Placement, Task

log = logging.getLogger(__name__)

FORMAT = 4
"""Raise when the content of a cache entry changes meaning."""
PLACEMENT_BLOCK = 2048
"""Sampled placements are drawn and stored in blocks of this many seeds, each when it is first asked for."""

Physics = Literal["exact", "fast"]
RenderProfile = Literal["cheap", "decimated", "aliased", "exact"]
"""How a scene is drawn, from fast to faithful; see `visual_model`."""


@dataclass(frozen=True)
class Region:
    """A named volume that things can be placed in or on: an oriented box at a site of the model."""

    site: str
    parent: str | None


@dataclass(frozen=True)
class Scene:
    """What an environment slot needs to run a task. `folder` is the cache entry it was loaded from."""

    task: Task
    folder: Path
    assets: Path
    model: mujoco.MjModel
    robot: RobotConstants
    goal: GoalProgram
    objects: tuple[str, ...]
    fixtures: tuple[str, ...]
    of_interest: tuple[str, ...]
    regions: dict[str, Region]

    @cached_property
    def official_states(self) -> Float64[np.ndarray, "50 S"]:
        return official_initial_states(self.task)

    def initial_state(self, placement: Placement) -> Float64[np.ndarray, " S"]:
        """Flattened simulation state (time, qpos, qvel) at which an episode starts, before the waiting steps."""
        if placement.kind == "official":
            if not 0 <= placement.index < len(self.official_states):
                raise HoneError(
                    f"task '{self.task.name}' has official initial states 0-{len(self.official_states) - 1}, "
                    f"not {placement.index}"
                )
            return self.official_states[placement.index]
        block, row = divmod(placement.index, PLACEMENT_BLOCK)
        return self._sampled_block(block)[row]

    def _sampled_block(self, block: int) -> Float64[np.ndarray, "P S"]:
        if block not in self._blocks:
            if not _is_stored(self.folder, block):
                raise HoneError(
                    f"placement seeds of block {block} are not drawn yet for '{self.task.name}'; "
                    "call `ensure_placements` where hf-libero is installed"
                )
            self._blocks[block] = np.load(_block_file(self.folder, block), allow_pickle=False)
        return self._blocks[block]

    @cached_property
    def _blocks(self) -> dict[int, np.ndarray]:
        return {}

    def visual_model(self, profile: RenderProfile) -> mujoco.MjModel:
        """The model pictures are drawn from; same bodies, joints and cameras as `model`."""
        if profile == "decimated":
            return self._decimated_model()
        return visual_model(self._description(), self.model, profile)

    def _description(self) -> str:
        """The stored description. The cache outlives the environment that filled it, so a mesh or texture that is no
        longer there is sought where robosuite and the assets lie now."""
        roots = {"/robosuite/": hf.robosuite_root(), f"/{self.assets.name}/": self.assets}

        def found(match: re.Match[str]) -> str:
            path = match[1]
            for marker, root in roots.items():
                if marker in path and not Path(path).exists():
                    path = str(root / path.rpartition(marker)[2])
            return f'file="{path}"'

        return re.sub('file="([^"]*)"', found, (self.folder / "scene.xml").read_text())

    def _decimated_model(self) -> mujoco.MjModel:
        """Made once (some seconds), then read from beside the scene."""
        path = self.folder / f"decimated-{decimation.VERSION}.mjb"
        if path.exists():
            try:
                return mujoco.MjModel.from_binary_path(str(path))
            except ValueError as error:
                log.warning("cached drawing model %s is damaged (%s); making it again", path, error)
        model = visual_model(self._description(), self.model, "decimated")
        content = np.empty(mujoco.mj_sizeModel(model), np.uint8)
        mujoco.mj_saveModel(model, None, content)
        write_atomically(path, content.tobytes())
        return model


def scene_key(task: Task, assets: AssetPack) -> str:
    versions = [version(name) for name in ("mujoco", "robosuite", "hf-libero")]
    parts = [str(FORMAT), bddl_file(task).read_text(), assets.digest, *versions]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]


def load_scene(task: Task, assets: AssetPack) -> Scene:
    """The scene from the cache, composed first if it is not there or is damaged. Safe in several processes at once."""
    folder = cache_dir() / "scenes" / f"{task.suite}-{task.index}-{scene_key(task, assets)}"
    if folder.exists():
        damaged = _damaged_file(folder)
        if damaged is None:
            return _read(task, folder, assets)
        log.warning("cached scene %s is damaged (%s); rebuilding it", folder.name, damaged)
        shutil.rmtree(folder, ignore_errors=True)
    _compose(task, assets, folder)
    return _read(task, folder, assets)


def _read(task: Task, folder: Path, assets: AssetPack) -> Scene:
    meta = json.loads((folder / "scene.json").read_text())
    return Scene(
        task=task,
        folder=folder,
        assets=assets.folder,
        model=mujoco.MjModel.from_binary_path(str(folder / "physics.mjb")),
        robot=RobotConstants.from_json(meta["robot"]),
        goal=GoalProgram.from_json(meta["goal"]),
        objects=tuple(meta["objects"]),
        fixtures=tuple(meta["fixtures"]),
        of_interest=tuple(meta["of_interest"]),
        regions={name: Region(**region) for name, region in meta["regions"].items()},
    )


def _compose(task: Task, assets: AssetPack, folder: Path) -> None:
    """Compose with hf-libero and write the cache entry, complete or not at all."""
    log.info("composing %s task %d (once; cached afterwards)", task.suite, task.index)
    control_env = hf.compose(task, assets.folder)
    try:
        full = control_env.sim.model._model
        xml = control_env.env.model.get_xml()
        meta = {
            "task": task.name,
            "instruction": task.instruction,
            "robot": RobotConstants.read(control_env).to_json(),
            "goal": GoalProgram.read(control_env).to_json(),
            "objects": list(control_env.env.objects_dict),
            "fixtures": [name for name in control_env.env.fixtures_dict if name in control_env.env.obj_body_id],
            "of_interest": list(control_env.obj_of_interest),
            "regions": {
                name: {"site": name, "parent": region.parent_name}
                for name, region in control_env.env.object_sites_dict.items()
            },
        }
    finally:
        control_env.close()

    folder.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".building-"))
    try:
        mujoco.mj_saveModel(physics_model(xml, full), str(building / "physics.mjb"))
        (building / "scene.xml").write_text(xml)
        (building / "scene.json").write_text(json.dumps(meta))
        manifest = {path.name: _hash(path) for path in sorted(building.iterdir())}
        (building / "manifest.json").write_text(json.dumps(manifest))
        try:
            building.rename(folder)
        except OSError:
            if not folder.exists():  # someone else finished the same entry first: theirs is as good
                raise
    except OSError as error:
        raise HoneError(
            f"could not write the scene cache in '{folder.parent}': {os.strerror(error.errno or 0)}. "
            "Free some space or point $HONE_CACHE elsewhere."
        ) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _damaged_file(folder: Path) -> str | None:
    """Name of the first file that is missing or does not match its recorded hash."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
    except (OSError, ValueError):
        return "manifest.json"
    for name, digest in manifest.items():
        if not (folder / name).exists() or _hash(folder / name) != digest:
            return name
    return None


def physics_model(xml: str, full: mujoco.MjModel) -> mujoco.MjModel:
    """The composed model without what physics never reads. Trajectories stay bit-for-bit equal.

    Visual geoms, materials and textures go; body inertias are pinned to those of the full compile, fixtures to the
    pose LIBERO sampled for them. robosuite reserves memory for 5,000 contacts (1.3 GB of address space per
    `MjData`); 32 MB hold several times what these scenes ever use.
    """
    spec = _spec(xml, pinned=full)
    for geom in list(spec.geoms):
        if geom.contype == 0 and geom.conaffinity == 0:
            spec.delete(geom)
    for material in list(spec.materials):
        spec.delete(material)
    for texture in list(spec.textures):
        spec.delete(texture)
    for geom in spec.geoms:
        geom.material = ""
    _delete_unused_meshes(spec)
    spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_SENSOR
    return spec.compile()


def set_physics(model: mujoco.MjModel, physics: Physics) -> mujoco.MjModel:
    """A copy of a physics model that is stepped `exact`ly, or `fast`: what lies still sleeps (MuJoCo's islands)."""
    chosen = copy.copy(model)
    if physics == "fast":
        chosen.opt.enableflags |= mujoco.mjtEnableBit.mjENBL_SLEEP
    return chosen


BOX_QUADS = 2
"""Each side of a box is drawn as this many squares by this many; MuJoCo's own number is 4. Light is computed at their
corners."""


def visual_model(xml: str, physics: mujoco.MjModel, profile: RenderProfile) -> mujoco.MjModel:
    """The model to draw.

    `exact`: hf-libero's picture, with MuJoCo's four samples per pixel. `aliased`: the same with one sample.
    `decimated`: as `aliased`, from fewer triangles and smaller textures. `cheap`: as `aliased`, the robot by its
    collision hulls, boxes by fewer triangles, and nothing reflecting; the robot's visual meshes are 135,000 triangles,
    and nearly all the cost of a small picture on a CPU.
    """
    spec = _spec(xml, pinned=physics)
    if profile == "cheap":
        _simplify_robot(spec)
        decimation.thin_hulls(spec, physics)
        spec.visual.quality.numquads = BOX_QUADS
    elif profile == "decimated":
        full, spec = spec.compile(), _spec(xml, pinned=physics)
        decimation.decimate(spec, full)
        for geom in list(spec.geoms):
            if geom.group != 1:
                spec.delete(geom)
        _delete_unused_meshes(spec)
    if profile != "exact":
        spec.visual.quality.offsamples = 0
    if not any(light.castshadow for light in spec.lights):
        spec.visual.quality.shadowsize = 0  # 64 MB for every scene that is drawn, and no LIBERO light casts a shadow
    return spec.compile()


def _simplify_robot(spec: Any) -> None:
    """Draw the robot by its collision hulls, and nothing reflecting."""
    for body in spec.bodies:
        colour = _ROBOT_COLOURS.get(body.name.split("_")[0])
        if colour is None:
            continue
        for geom in list(body.geoms):
            if geom.group == 1:
                spec.delete(geom)
            elif geom.group == 0:
                geom.group, geom.material, geom.rgba = 1, "", colour
    for material in spec.materials:
        material.reflectance = 0.0
    _delete_unused_meshes(spec)


_ROBOT_COLOURS = {
    "robot0": [0.92, 0.92, 0.92, 1.0],
    "gripper0": [0.25, 0.25, 0.28, 1.0],
    "mount0": [0.45, 0.45, 0.48, 1.0],
}


def _delete_unused_meshes(spec: Any) -> None:
    used = {geom.meshname for geom in spec.geoms}
    for mesh in list(spec.meshes):
        if mesh.name not in used:
            spec.delete(mesh)


def _spec(xml: str, *, pinned: mujoco.MjModel) -> Any:
    """The scene's description, with body poses and inertias as in the compiled model `pinned`."""
    spec = mujoco.MjSpec.from_string(xml)
    spec.memory = 32 * 1024 * 1024
    spec.njmax = -1
    spec.nconmax = -1
    for body in spec.bodies:
        index = mujoco.mj_name2id(pinned, mujoco.mjtObj.mjOBJ_BODY, body.name)
        if index <= 0:
            continue
        body.pos, body.quat = pinned.body_pos[index], pinned.body_quat[index]
        body.mass = pinned.body_mass[index]
        body.ipos, body.iquat = pinned.body_ipos[index], pinned.body_iquat[index]
        body.inertia = pinned.body_inertia[index]
        body.explicitinertial = True
    return spec


def ensure_placements(scene: Scene, assets: AssetPack, indices: Sequence[int]) -> None:
    """Draw the blocks of sampled placements that hold `indices`, where they are not stored yet (needs hf-libero).

    Safe in several processes at once: each writes the same block, complete or not at all.
    """
    blocks = sorted({index // PLACEMENT_BLOCK for index in indices} - set(scene._blocks))
    missing = [block for block in blocks if not _is_stored(scene.folder, block)]
    if not missing:
        return
    log.info("drawing placements of %s task %d (once; cached afterwards)", scene.task.suite, scene.task.index)
    control_env = hf.compose(scene.task, assets.folder)
    try:
        for block in missing:
            states = draw_placements(control_env, range(block * PLACEMENT_BLOCK, (block + 1) * PLACEMENT_BLOCK))
            content = io.BytesIO()
            np.save(content, states)
            write_atomically(_block_file(scene.folder, block), content.getvalue())
    finally:
        control_env.close()


def _block_file(folder: Path, block: int) -> Path:
    return folder / f"placements-{block:04d}.npy"


def _is_stored(folder: Path, block: int) -> bool:
    """Whether the block is there and of full length."""
    try:
        return len(np.load(_block_file(folder, block), mmap_mode="r", allow_pickle=False)) == PLACEMENT_BLOCK
    except (OSError, ValueError):
        return False
