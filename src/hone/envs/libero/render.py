"""Draws the cameras of a scene. One OpenGL context per process, made when the first picture is asked for.

A picture shows the bodies as they were at the simulator's last forward pass that LIBERO's observation would show
(`look_qpos` of the slot's state), so an observation and its picture belong together. Profile `cheap` (declared in the
protocol) draws without multisampling and reflections, the robot by its collision hulls; `exact` is LIBERO's picture.
"""

from __future__ import annotations

from typing import Any, Literal

import mujoco
import numpy as np
from jaxtyping import Float64, UInt8

from hone.envs.libero.perturb_looks import PLAIN, Look
from hone.envs.libero.scene import RenderProfile, Scene
from hone.errors import HoneError

Orientation = Literal["upright", "opengl", "rotated_180"]


class Renderer:
    """Pictures `[C, size, size, 3]` of any scene, one `mujoco` context per scene, kept for the next picture."""

    def __init__(self, cameras: tuple[str, ...], size: int, profile: RenderProfile, orientation: Orientation) -> None:
        self.cameras = cameras
        self.size = size
        self.profile: RenderProfile = profile
        self.orientation = orientation
        self._gl: Any = None
        self._stages: dict[str, _Stage] = {}

    def draw(
        self, scene: Scene, qpos: Float64[np.ndarray, " nq"], size: int | None = None, look: Look = PLAIN
    ) -> UInt8[np.ndarray, "C H W 3"]:
        size = size or self.size
        self._make_current()
        key = str(scene.folder)
        if key not in self._stages:
            self._stages[key] = _Stage(scene, self.profile, self.cameras)
        with look.worn_by(self._stages[key].model):
            pictures = self._stages[key].draw(qpos, size, look)
        if self.orientation == "upright":
            pictures = pictures[:, ::-1]
        elif self.orientation == "rotated_180":
            pictures = pictures[:, ::-1, ::-1]
        return np.ascontiguousarray(pictures)

    def _make_current(self) -> None:
        if self._gl is None:
            try:
                self._gl = mujoco.GLContext(_MAX_SIZE, _MAX_SIZE)
            except Exception as error:  # the GL back ends raise their own unrelated types
                raise HoneError(
                    f"no off-screen OpenGL context could be made ({error}). Set MUJOCO_GL=egl (Debian: libegl1 "
                    "libgl1-mesa-dri) or MUJOCO_GL=osmesa (Debian: libosmesa6); `hone doctor` tells which one works."
                ) from error
        self._gl.make_current()

    def close(self) -> None:
        for stage in self._stages.values():
            stage.close()
        self._stages.clear()
        if self._gl is not None:
            self._gl.free()
            self._gl = None


_MAX_SIZE = 512


class _Stage:
    """What one scene needs to be drawn."""

    def __init__(self, scene: Scene, profile: RenderProfile, cameras: tuple[str, ...]) -> None:
        self.model = scene.visual_model(profile)
        if profile == "cheap":
            self.model.vis.quality.offsamples = 0
        self.model.vis.global_.offwidth = self.model.vis.global_.offheight = _MAX_SIZE
        self.data = mujoco.MjData(self.model)
        self.scene = mujoco.MjvScene(self.model, maxgeom=1000)
        self.options = mujoco.MjvOption()
        self.options.geomgroup[:] = 0
        self.options.geomgroup[1] = 1
        self.options.sitegroup[:] = 0
        self.context = mujoco.MjrContext(self.model, mujoco.mjtFontScale.mjFONTSCALE_50)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self.context)
        self.views = []
        for name in cameras:
            camera = mujoco.MjvCamera()
            camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
            camera.fixedcamid = self.model.camera(name).id
            self.views.append(camera)

    def draw(self, qpos: np.ndarray, size: int, look: Look) -> np.ndarray:
        self.data.qpos[:] = qpos
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)
        viewport = mujoco.MjrRect(0, 0, size, size)
        pictures = np.empty((len(self.views), size, size, 3), np.uint8)
        for picture, view in zip(pictures, self.views, strict=True):
            mujoco.mjv_updateScene(
                self.model, self.data, self.options, None, view, mujoco.mjtCatBit.mjCAT_ALL, self.scene
            )
            look.add_to(self.scene)
            mujoco.mjr_render(viewport, self.scene, self.context)
            mujoco.mjr_readPixels(picture, None, viewport, self.context)
        return pictures

    def close(self) -> None:
        self.context.free()
