"""Draws the cameras of a scene. One OpenGL context per process, made when the first picture is asked for.

A picture shows the bodies as they were at the simulator's last forward pass that LIBERO's observation would show
(`look_qpos` of the slot's state), so an observation and its picture belong together. How faithfully it is drawn is the
`RenderProfile`, declared in the protocol; what no camera can see is left out, which changes no pixel (culling.py,
thinning.py).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import mujoco
import numpy as np
from jaxtyping import Float64, UInt8

from hone.envs.libero.culling import DRAWN_GROUP, Culling
from hone.envs.libero.perturb_looks import PLAIN, Look
from hone.envs.libero.scene import RenderProfile, Scene
from hone.envs.libero.thinning import thinning
from hone.errors import HoneError
from hone.specs import Orientation

KEPT_STAGES: dict[RenderProfile, int] = {"cheap": 32, "decimated": 32, "aliased": 4, "exact": 4}
"""Scenes kept ready to be drawn; a further one takes the place of the one drawn longest ago. docs/rendering.md has what
one costs: 10 to 35 MB where textures are small, 360 MB with LIBERO's own."""

THINNED: frozenset[RenderProfile] = frozenset(["exact", "aliased"])
"""Profiles whose meshes are thinned for every picture. The others have too few triangles for that to pay."""
_MAX_SIZE = 512
_LIT_FROM_RAD = 0.5
"""A stove's burner glows if its knob was turned at least this far as the control step began: hf-libero switches it
after a step (`FlatStove.turn_on`), so the picture of the step in which the knob gets here is still dark."""
_NOT_DRAWN = mujoco.mjNGROUP - 1
"""The geom group that takes what is out of view."""


class Renderer:
    """Pictures `[C, size, size, 3]` of any scene. A process needs one, whatever tasks it serves."""

    def __init__(self, cameras: tuple[str, ...], size: int, profile: RenderProfile, orientation: Orientation) -> None:
        self.cameras = cameras
        self.size = size
        self.profile: RenderProfile = profile
        self.orientation = orientation
        self._gl: Any = None
        self._stages: OrderedDict[str, _Stage] = OrderedDict()

    def draw(
        self,
        scene: Scene,
        qpos: Float64[np.ndarray, " nq"],
        size: int | None = None,
        look: Look = PLAIN,
        start_qpos: Float64[np.ndarray, " nq"] | None = None,
    ) -> UInt8[np.ndarray, "C H W 3"]:
        """The bodies as `qpos` has them. What glows does so by `start_qpos`, from the start of the control step that
        led here; where none is given, by `qpos` itself."""
        self._make_current()
        stage = self._stage(scene)
        with look.worn_by(stage.model):
            pictures = stage.draw(qpos, qpos if start_qpos is None else start_qpos, size or self.size, look)
        if self.orientation == "upright":
            pictures = pictures[:, ::-1]
        elif self.orientation == "rotated_180":
            pictures = pictures[:, ::-1, ::-1]
        return np.ascontiguousarray(pictures)

    def _stage(self, scene: Scene) -> _Stage:
        key = str(scene.folder)
        if key not in self._stages:
            if len(self._stages) == KEPT_STAGES[self.profile]:
                _, oldest = self._stages.popitem(last=False)
                oldest.close()
            self._stages[key] = _Stage(scene, self.profile, self.cameras)
        self._stages.move_to_end(key)
        return self._stages[key]

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


class _Stage:
    """What one scene needs to be drawn."""

    def __init__(self, scene: Scene, profile: RenderProfile, cameras: tuple[str, ...]) -> None:
        self.model = scene.visual_model(profile)
        self.model.vis.global_.offwidth = self.model.vis.global_.offheight = _MAX_SIZE
        self.data = mujoco.MjData(self.model)
        self.scene = mujoco.MjvScene(self.model, maxgeom=1000)
        self.options = mujoco.MjvOption()
        self.options.geomgroup[:] = 0
        self.options.geomgroup[DRAWN_GROUP] = 1
        self.model.site_rgba[:, 3] = 0.0  # as hf-libero has it; only a lit burner shows
        self.burners = [
            (site, self.model.joint(name.removesuffix("burner") + "button").qposadr[0])
            for site in range(self.model.nsite)
            if (name := self.model.site(site).name).endswith("_burner")
        ]
        self.context = mujoco.MjrContext(self.model, mujoco.mjtFontScale.mjFONTSCALE_50)
        self._bind()  # thinning asks OpenGL for this buffer's sample positions
        self.culling = Culling(self.model)
        self.thinning = thinning(self.model, self.context, self.culling) if profile in THINNED else None
        self.groups = self.model.geom_group.copy()
        self.views = []
        for name in cameras:
            camera = mujoco.MjvCamera()
            camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
            camera.fixedcamid = self.model.camera(name).id
            self.views.append(camera)

    def draw(self, qpos: np.ndarray, start_qpos: np.ndarray, size: int, look: Look) -> np.ndarray:
        self.data.qpos[:] = qpos
        for site, knob in self.burners:
            self.model.site_rgba[site, 3] = float(start_qpos[knob] >= _LIT_FROM_RAD)
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)
        self._bind()
        viewport = mujoco.MjrRect(0, 0, size, size)
        pictures = np.empty((len(self.views), size, size, 3), np.uint8)
        for picture, view in zip(pictures, self.views, strict=True):
            seen = self.culling.seen(self.data, view.fixedcamid)
            self.model.geom_group[:] = np.where(seen, self.groups, _NOT_DRAWN)
            mujoco.mjv_updateScene(
                self.model, self.data, self.options, None, view, mujoco.mjtCatBit.mjCAT_ALL, self.scene
            )
            look.add_to(self.scene)
            if self.thinning is not None:
                near_far = self.scene.camera[0].frustum_near, self.scene.camera[0].frustum_far
                self.thinning.thin(self.data, view.fixedcamid, seen, size, near_far)
            mujoco.mjr_render(viewport, self.scene, self.context)
            mujoco.mjr_readPixels(picture, None, viewport, self.context)
        self.model.geom_group[:] = self.groups
        return pictures

    def _bind(self) -> None:
        """Makes this scene's the buffer drawn into. `mjr_render` draws into whichever was bound last, another scene's
        if that was drawn before, while `mjr_readPixels` reads this one's."""
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self.context)

    def close(self) -> None:
        self.context.free()
