"""Which geoms of a scene a camera can see at all, so that the rest need not be drawn. Never changes a pixel.

On a CPU a small picture costs what its triangles cost, in view or not: the wrist camera sees a fraction of the scene.
A geom is out of view when the box around it lies wholly outside one of the four side planes of the camera's frustum.
Mirrors (MuJoCo lets planes and the top faces of boxes reflect) show what stands before them, so a geom also counts as
seen where the eye's mirror image could see it through the mirror.
"""

from __future__ import annotations

from collections.abc import Iterator

import mujoco
import numpy as np
from jaxtyping import Bool, Float64

DRAWN_GROUP = 1
"""The geom group of what pictures show; LIBERO's others are for collision."""
MARGIN_M = 1e-3
"""Added on all sides: OpenGL rounds to single precision."""


class Culling:
    """Decides for the cameras of one model; pictures are square. Reads what `mj_kinematics` and `mj_camlight` left."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model = model
        self._centre, self._half = model.geom_aabb[:, :3].copy(), model.geom_aabb[:, 3:].copy()
        self._endless = model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE
        reflectance = np.append(model.mat_reflectance, 0.0)[model.geom_matid]  # material -1: none
        flat = self._endless | (model.geom_type == mujoco.mjtGeom.mjGEOM_BOX)
        self._mirrors = np.flatnonzero((reflectance > 0) & flat & (model.geom_group == DRAWN_GROUP))
        self.casts_shadows = bool(np.any(model.light_castshadow))

    def seen(self, data: mujoco.MjData, camera: int) -> Bool[np.ndarray, " G"]:
        """Geoms that can appear in the picture of camera `camera`."""
        if self.casts_shadows:  # what is out of view may cast a shadow into it
            return np.ones(self._model.ngeom, bool)
        rotation = data.geom_xmat.reshape(-1, 3, 3)
        centre = data.geom_xpos + np.einsum("gij,gj->gi", rotation, self._centre)

        def inside(eye: Float64[np.ndarray, " 3"], planes: Float64[np.ndarray, "P 3"]) -> Bool[np.ndarray, " G"]:
            """Geoms whose boxes reach inside all planes, which go through `eye` and have outward unit normals."""
            reach = np.einsum("gpj,gj->pg", np.abs(planes @ rotation), self._half) + MARGIN_M
            return np.all(planes @ (centre - eye).T <= reach, axis=0)

        eye, planes = data.cam_xpos[camera], _frustum(self._model.cam_fovy[camera], data.cam_xmat[camera])
        seen = self._endless | inside(eye, planes)
        for mirror, top, normal in self.mirrors(data, eye, seen):
            height = normal @ (eye - top)
            image = eye - 2.0 * height * normal
            planes_seen = planes - 2.0 * np.outer(planes @ normal, normal)
            if not self._endless[mirror]:
                size = self._model.geom_size[mirror]
                planes_seen = np.concatenate([planes_seen, _window(image, top, rotation[mirror], size)])
            seen |= inside(image, planes_seen)
        return seen

    def mirrors(
        self, data: mujoco.MjData, eye: Float64[np.ndarray, " 3"], seen: Bool[np.ndarray, " G"]
    ) -> Iterator[tuple[int, Float64[np.ndarray, " 3"], Float64[np.ndarray, " 3"]]]:
        """Those of the geoms `seen` that show `eye` a mirror image: the geom, a point of the mirror and its normal."""
        for mirror in self._mirrors[seen[self._mirrors]]:
            normal = data.geom_xmat[mirror].reshape(3, 3)[:, 2]
            thickness = 0.0 if self._endless[mirror] else self._model.geom_size[mirror, 2]
            top = data.geom_xpos[mirror] + normal * thickness
            if normal @ (eye - top) > 0:  # seen from behind it reflects nothing
                yield int(mirror), top, normal


def _frustum(fovy_degrees: float, camera_rotation: Float64[np.ndarray, " 9"]) -> Float64[np.ndarray, "4 3"]:
    """Outward unit normals of the frustum's sides in the world. A camera looks along its own -z; up is +y."""
    slope = np.tan(np.deg2rad(fovy_degrees) / 2.0)
    outward = np.array([[1, 0, slope], [-1, 0, slope], [0, 1, slope], [0, -1, slope]]) / np.hypot(1.0, slope)
    return outward @ camera_rotation.reshape(3, 3).T


def _window(
    eye: Float64[np.ndarray, " 3"],
    centre: Float64[np.ndarray, " 3"],
    rotation: Float64[np.ndarray, "3 3"],
    half_size: Float64[np.ndarray, " 3"],
) -> Float64[np.ndarray, "4 3"]:
    """Outward unit normals of the planes through `eye` and the edges of a rectangle in its own xy plane at `centre`."""
    corners = np.array([[1, 1, 0], [-1, 1, 0], [-1, -1, 0], [1, -1, 0]]) * half_size
    rays = centre + corners @ rotation.T - eye
    normals = np.cross(rays, np.roll(rays, -1, axis=0))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return -normals * np.sign(normals @ (centre - eye))[:, None]
