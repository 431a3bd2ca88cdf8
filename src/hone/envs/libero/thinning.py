"""Draws only those triangles of a scene's meshes that can reach a pixel of the picture. Never changes a pixel.

LIBERO's meshes have 240,000 triangles, an 84-pixel picture 28,000 samples: most triangles lie between the samples, face
away or are hidden, yet OpenGL works on all of them. Before a picture is drawn, thinning.c looks at each triangle where
it stands and keeps it unless it is certain, whatever a rasteriser rounds, that it

- is outside the picture or turned away (MuJoCo draws front faces only),
- covers no sample of any pixel, or
- is behind other triangles, opaque and drawn, at every sample that it may cover.

"Certain" means by a margin of 1/64 of a pixel and of a ten-thousandth of the depth, several times what OpenGL's single
precision and 1/256 of a pixel can move anything by. Triangles that come near the eye, that may be clipped or that are
slivers are never called hidden. What is left, in its old order, is uploaded in place of the mesh.
"""

from __future__ import annotations

import ctypes
import logging
from typing import Any

import mujoco
import numpy as np
from jaxtyping import Bool, Float32, Float64

from hone.envs.libero.culling import DRAWN_GROUP, Culling
from hone.envs.libero.native import load_thinning
from hone.errors import HoneError

log = logging.getLogger(__name__)

FEW_TRIANGLES = 100
"""A mesh of fewer is left whole."""
_NEAR_M = 0.03
"""Triangles that come nearer to the eye are kept: there OpenGL's rounding grows beyond the margin."""
_OPAQUE = 0.995
"""MuJoCo blends what has a lower alpha."""
_MAX_SAMPLES = 16
_GEOM = np.dtype(
    [(name, np.int32) for name in ("first_vertex", "vertex_count", "first_face", "face_count", "winding", "occludes")]
    + [("window", np.float32, (3, 4))]
)


class _Picture(ctypes.Structure):
    """thinning.c's `Picture`."""

    _fields_ = [
        ("samples", ctypes.c_void_p),
        ("sample_count", ctypes.c_int),
        ("size", ctypes.c_int),
        ("near", ctypes.c_float),
        ("far", ctypes.c_float),
        ("depth", ctypes.c_void_p),
    ]


class Thinning:
    """Thins the meshes of one model, in place, and uploads them to its context, which must be current."""

    def __init__(
        self, model: mujoco.MjModel, context: mujoco.MjrContext, culling: Culling, samples: Float32[np.ndarray, "S 2"]
    ) -> None:
        self._model, self._context, self._culling, self._samples = model, context, culling, samples
        self._library = load_thinning()
        self._tables = (model.mesh_face, model.mesh_facenormal, model.mesh_facetexcoord)
        self._whole = tuple(table.copy() for table in self._tables)
        self._facenum = model.mesh_facenum.copy()
        self._kept = np.zeros(len(model.mesh_face), np.uint8)
        drawn = (model.geom_group == DRAWN_GROUP) & (model.geom_type == mujoco.mjtGeom.mjGEOM_MESH)
        self._thinnable = drawn & (self._facenum[model.geom_dataid] >= FEW_TRIANGLES)

    def thin(
        self, data: mujoco.MjData, camera: int, seen: Bool[np.ndarray, " G"], size: int, depths_m: tuple[float, float]
    ) -> None:
        """For a picture of `size` pixels a side of the geoms `seen`. `depths_m`: the picture's near and far plane."""
        model = self._model
        geoms = np.flatnonzero(seen & self._thinnable)
        meshes = model.geom_dataid[geoms]
        eye = data.cam_xpos[camera]
        window = _window(model.cam_fovy[camera], data.cam_xmat[camera].reshape(3, 3), size)
        views = [self._view(data, geoms, eye, window, mirror=None)]
        views += [
            self._view(data, geoms, eye, window, mirror=(point, normal))
            for _, point, normal in self._culling.mirrors(data, eye, seen)
        ]
        rows = np.concatenate(views)
        corners = np.empty((3, rows["vertex_count"].sum()), np.float32)
        waiting = np.empty(rows["face_count"].sum() + len(rows), np.int32)
        depth = np.zeros((len(self._samples), size, size), np.float32)
        near, far = max(depths_m[0], _NEAR_M), depths_m[1]
        picture = _Picture(self._samples.ctypes.data, len(self._samples), size, near, far, depth.ctypes.data)
        self._kept[:] = 0
        self._library.hone_thin(
            *(len(rows), _pointer(rows), ctypes.byref(picture), _pointer(model.mesh_vert), _pointer(self._whole[0])),
            *(corners.shape[1], _pointer(corners), _pointer(waiting), _pointer(self._kept)),
        )
        for mesh in np.unique(meshes):
            self._upload(int(mesh))

    def _view(self, data: Any, geoms: Any, eye: Any, window: Any, mirror: Any) -> np.ndarray:
        """Rows of what thinning.c is to look at: `geoms` as they stand, or their image in a mirror (point, normal)."""
        model = self._model
        turn, position = data.geom_xmat[geoms].reshape(-1, 3, 3), data.geom_xpos[geoms]
        if mirror is not None:
            point, normal = mirror
            reflect = np.eye(3) - 2.0 * np.outer(normal, normal)
            turn, position = reflect @ turn, point + (position - point) @ reflect
        meshes = model.geom_dataid[geoms]
        rows = np.zeros(len(geoms), _GEOM)
        rows["first_vertex"], rows["vertex_count"] = model.mesh_vertadr[meshes], model.mesh_vertnum[meshes]
        rows["first_face"], rows["face_count"] = model.mesh_faceadr[meshes], self._facenum[meshes]
        rows["winding"] = 1 if mirror is None else -1
        alpha = np.append(model.mat_rgba[:, 3], 1.0)[model.geom_matid[geoms]]  # material -1: none
        rows["occludes"] = (mirror is None) & (model.geom_rgba[geoms, 3] >= _OPAQUE) & (alpha >= _OPAQUE)
        rows["window"][:, :, :3], rows["window"][:, :, 3] = window @ turn, (position - eye) @ window.T
        return rows

    def _upload(self, mesh: int) -> None:
        start = self._model.mesh_faceadr[mesh]
        whole, thin = (
            (ctypes.c_void_p * 3)(*(table[start:].ctypes.data for table in tables))
            for tables in (self._whole, self._tables)
        )
        kept = self._kept[start : start + self._facenum[mesh]]
        self._model.mesh_facenum[mesh] = self._library.hone_pack(len(kept), _pointer(kept), whole, thin)
        mujoco.mjr_uploadMesh(self._model, self._context, mesh)


def thinning(model: mujoco.MjModel, context: mujoco.MjrContext, culling: Culling) -> Thinning | None:
    """None where the meshes must be drawn whole, with the same picture at a higher price."""
    if culling.casts_shadows:  # what the eye cannot see may cast one
        return None
    samples = _sample_positions(context)
    if samples is None:
        return None
    try:
        return Thinning(model, context, culling, samples)
    except HoneError as error:
        log.warning("pictures take several times longer, since triangles no pixel shows are drawn too: %s", error)
        return None


def _sample_positions(context: mujoco.MjrContext) -> Float32[np.ndarray, "S 2"] | None:
    """Where in a pixel OpenGL takes its samples, from the lower left; None where that cannot be relied on."""
    from OpenGL import GL  # MuJoCo's own way to OpenGL; must come after MuJoCo has chosen the platform

    if GL.glGetIntegerv(GL.GL_SUBPIXEL_BITS) < 8 or context.offSamples > _MAX_SAMPLES:
        return None
    if context.offSamples == 0:
        return np.full((1, 2), 0.5, np.float32)
    positions = np.empty((context.offSamples, 2), np.float32)
    try:
        for index, position in enumerate(positions):
            GL.glGetMultisamplefv(GL.GL_SAMPLE_POSITION, index, position)
    except GL.error.Error:  # an OpenGL before 3.2
        return None
    return positions


def _window(fovy_degrees: float, camera_rotation: Float64[np.ndarray, "3 3"], size: int) -> Float64[np.ndarray, "3 3"]:
    """From a place relative to the eye, in the world's axes, to (x w, y w, w): x and y in pixels, w the depth in m."""
    middle = size / 2.0
    scale = middle / np.tan(np.deg2rad(fovy_degrees) / 2.0)
    return np.array([[scale, 0.0, -middle], [0.0, scale, -middle], [0.0, 0.0, -1.0]]) @ camera_rotation.T


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
