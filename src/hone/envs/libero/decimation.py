"""A scene that looks the same in a small picture and draws several times faster: fewer triangles, smaller textures.

Vertex clustering (Rossignac and Borrel 1993): a grid over each mesh; the vertices in a cell become one, and triangles
that collapse are dropped. The one vertex stands where it is nearest to the planes of the triangles around it, in the
sense of the quadric error (Lindstrom 2000), which keeps edges sharp. Each triangle's corners keep their own normals and
texture coordinates, so shading and texture seams stay where they were.
"""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from jaxtyping import Float32, Int, UInt8

VERSION = 2
"""Raise when decimated models change."""
CELLS = 18
"""Cells along the longest side of a mesh."""
FINEST_CELL_M = 0.003
"""No cell is smaller: on LIBERO's cameras a pixel of an 84-pixel picture is about a centimetre of the scene."""
MANY_TRIANGLES = 1000
"""What a collision hull may have: robosuite's come with 32 to 300, but for one link's 12,516."""
TEXTURE_PIXELS = 256
"""Longest side of a texture (of one face, where it is a cube's)."""
_MEAN_WEIGHT = 0.01
"""Pull of the cell's mean on its vertex, relative to the planes: decides where the planes leave it free."""


def decimate(spec: Any, full: mujoco.MjModel) -> None:
    """Simplify every mesh and texture of `spec`, an uncompiled twin of the description that `full` was compiled from.

    Light and clipping distances follow from the size of the scene; they stay those of `full`.
    """
    for index, mesh in enumerate(spec.meshes):
        _decimate_mesh(mesh, full, index)
    for index, texture in enumerate(spec.textures):
        _shrink_texture(texture, full, index)
    spec.stat.extent, spec.stat.center = full.stat.extent, full.stat.center
    spec.stat.meansize, spec.stat.meanmass = full.stat.meansize, full.stat.meanmass


def thin_hulls(spec: Any, physics: mujoco.MjModel) -> None:
    """Simplify those meshes of `spec` that have needlessly many triangles for a collision hull."""
    for mesh in spec.meshes:
        index = physics.mesh(mesh.name).id
        if physics.mesh_facenum[index] > MANY_TRIANGLES:
            _decimate_mesh(mesh, physics, index)


def cluster(
    vertices: Float32[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], cell_size: float
) -> tuple[Float32[np.ndarray, "W 3"], Int[np.ndarray, "F 3"], Int[np.ndarray, " K"]]:
    """One vertex per occupied cell, the triangles among these, and which triangles to keep: none collapsed or twice."""
    cell = np.floor((vertices - vertices.min(axis=0)) / cell_size).astype(np.int64)
    side = int(cell.max()) + 1
    _, owner = np.unique(cell @ [side * side, side, 1], return_inverse=True)
    moved = owner[faces]
    collapsed = (moved[:, 0] == moved[:, 1]) | (moved[:, 1] == moved[:, 2]) | (moved[:, 2] == moved[:, 0])
    # The same three clusters in the same winding: start each triangle at its smallest index.
    first = np.argmin(moved, axis=1)
    turned = np.take_along_axis(moved, (first[:, None] + np.arange(3)) % 3, axis=1)
    count = int(owner.max()) + 1
    _, once = np.unique(turned @ [count * count, count, 1], return_index=True)
    return _positions(vertices, faces, owner), moved, np.setdiff1d(once, np.flatnonzero(collapsed))


def _positions(
    vertices: Float32[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], owner: Int[np.ndarray, " V"]
) -> Float32[np.ndarray, "W 3"]:
    """For each cluster the x that minimises sum_f (n_f x - d_f)^2 + weight |x - mean|^2, within the cluster's extent.

    The sum runs over the triangles f (plane n_f x = d_f, n_f scaled by twice the area) that touch the cluster.
    """
    count = int(owner.max()) + 1
    mean, low, high = np.zeros((count, 3)), np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
    np.add.at(mean, owner, vertices)
    mean /= np.bincount(owner)[:, None]
    np.minimum.at(low, owner, vertices)
    np.maximum.at(high, owner, vertices)
    a, b, c = vertices[faces].astype(np.float64).swapaxes(0, 1)
    normal = np.cross(b - a, c - a)
    distance = np.sum(normal * a, axis=1, keepdims=True)
    quadric, right = np.zeros((count, 3, 3)), np.zeros((count, 3))
    for corner in faces.T:
        np.add.at(quadric, owner[corner], normal[:, :, None] * normal[:, None, :])
        np.add.at(right, owner[corner], normal * distance)
    weight = _MEAN_WEIGHT * np.trace(quadric, axis1=1, axis2=2)[:, None] + 1e-30
    best = np.linalg.solve(quadric + weight[..., None] * np.eye(3), (right + weight * mean)[..., None])[..., 0]
    return np.clip(best, low, high).astype(np.float32)


def shrink(picture: UInt8[np.ndarray, "H W C"], height: int, width: int) -> UInt8[np.ndarray, "h w C"]:
    """Area means of a picture."""
    result = picture.astype(np.float64)
    for axis, size in enumerate((height, width)):
        edges = np.arange(size) * picture.shape[axis] // size
        counts = np.diff(np.append(edges, picture.shape[axis]))
        result = np.add.reduceat(result, edges, axis=axis) / np.expand_dims(counts, tuple({0, 1, 2} - {axis}))
    return np.round(result).astype(np.uint8)


def _decimate_mesh(mesh: Any, full: mujoco.MjModel, index: int) -> None:
    def rows(array: np.ndarray, start: np.ndarray, count: np.ndarray) -> np.ndarray:
        return array[start[index] : start[index] + count[index]]

    vertices = rows(full.mesh_vert, full.mesh_vertadr, full.mesh_vertnum)
    normals = rows(full.mesh_normal, full.mesh_normaladr, full.mesh_normalnum)
    faces = rows(full.mesh_face, full.mesh_faceadr, full.mesh_facenum)
    face_normals = rows(full.mesh_facenormal, full.mesh_faceadr, full.mesh_facenum)
    face_texcoords = rows(full.mesh_facetexcoord, full.mesh_faceadr, full.mesh_facenum)
    cell_size = max(FINEST_CELL_M, float(np.ptp(vertices, axis=0).max()) / CELLS)
    positions, moved, kept = cluster(vertices, faces, cell_size)
    if len(kept) < 4:  # a sliver: leave it
        return
    # The compiler moved the mesh into its inertial frame; the description wants it as it was in the file.
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, full.mesh_quat[index])
    rotation = rotation.reshape(3, 3)
    mesh.file, mesh.content_type = "", ""
    mesh.scale, mesh.refpos, mesh.refquat = [1, 1, 1], [0, 0, 0], [1, 0, 0, 0]
    mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL  # a clustered surface need not be closed
    # One vertex for each corner that differs: the compiler keeps apart what is given as a single index.
    has_texcoords = full.mesh_texcoordadr[index] >= 0
    corners = np.stack([moved, face_normals, face_texcoords if has_texcoords else moved], axis=-1)[kept]
    unique, order = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)
    mesh.userface = order.ravel()
    mesh.uservert = (positions[unique[:, 0]] @ rotation.T + full.mesh_pos[index]).ravel()
    mesh.usernormal = (normals[unique[:, 1]] @ rotation.T).ravel()
    if has_texcoords:
        texcoords = rows(full.mesh_texcoord, full.mesh_texcoordadr, full.mesh_texcoordnum)
        mesh.usertexcoord = texcoords[unique[:, 2]].ravel()


def _shrink_texture(texture: Any, full: mujoco.MjModel, index: int) -> None:
    height, width, channels = full.tex_height[index], full.tex_width[index], full.tex_nchannel[index]
    side = max(width, height if full.tex_type[index] == mujoco.mjtTexture.mjTEXTURE_2D else 0)
    if side <= TEXTURE_PIXELS:
        return
    start = full.tex_adr[index]
    picture = full.tex_data[start : start + height * width * channels].reshape(height, width, channels)
    scale = TEXTURE_PIXELS / side
    small = shrink(picture, max(1, round(height * scale)), max(1, round(width * scale)))
    texture.file, texture.content_type = "", ""
    texture.builtin = mujoco.mjtBuiltin.mjBUILTIN_NONE
    texture.colorspace = mujoco.mjtColorSpace(int(full.tex_colorspace[index]))  # else it would be read from the file
    texture.height, texture.width, texture.nchannel = *small.shape[:2], channels
    texture.data = small.tobytes()
