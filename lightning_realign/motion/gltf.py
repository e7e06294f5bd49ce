"""Motions as binary glTF 2.0 (.glb), which Blender, game engines and web viewers read.

The file holds the joints as a skin, the motion as an animation, and a simple body of one octahedron per bone, so that
viewers have something to show. Format: the Khronos Group's glTF 2.0 specification.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import roma
import torch
from numpy.typing import NDArray

from lightning_realign.files.atomic import save_bytes_atomic
from lightning_realign.motion.bvh.pose import Pose, check_joints, solve_pose
from lightning_realign.motion.skeleton.skeleton import Skeleton

_FLOAT, _UNSIGNED_SHORT = 5126, 5123
_KINDS = {1: "SCALAR", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
_VERTEX_BUFFER, _INDEX_BUFFER = 34962, 34963
# A bone's widest place along it, and its half width, in lengths of the bone.
_WAIST, _WIDTH = 0.2, 0.08


def write_glb(path: Path, joints: NDArray[Any], skeleton: Skeleton, fps: float) -> None:
    """Write a motion as glTF: metres, y up, the motion's own bone lengths.

    Args:
        path: the file; replaced when it exists.
        joints: positions [T, J, 3] in the skeleton's unit.
        skeleton: the joints' names and tree.
        fps: frames per second.

    Raises:
        DataError: `joints` is misshapen or not finite.
    """
    check_joints(path, joints, skeleton)
    metres = torch.from_numpy(joints.astype(np.float64)) * skeleton.metres_per_unit
    pose = solve_pose(metres, skeleton, fps)
    buffer = _Buffer()
    content = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0, skeleton.num_joints]}],
        "nodes": [*_nodes(pose, skeleton), {"name": "body", "mesh": 0, "skin": 0}],
        **_body(pose, skeleton, buffer),
        "animations": [_animation(path.stem, pose, fps, buffer)],
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.content)}],
    }
    text = json.dumps(content, separators=(",", ":")).encode()
    chunks = b"".join(_chunk(kind, part) for kind, part in ((b"JSON", text), (b"BIN\0", bytes(buffer.content))))
    save_bytes_atomic(path, struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)


class _Buffer:
    """The binary part of a file and the descriptions of the arrays in it."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(self, array: NDArray[Any], target: int | None = None, bounds: bool = False) -> int:
        """Append an array [N] or [N, C] of float32 or uint16, and return its number."""
        data = np.ascontiguousarray(array).tobytes()
        view = {"buffer": 0, "byteOffset": len(self.content), "byteLength": len(data)}
        accessor: dict[str, Any] = {
            "bufferView": len(self.views),
            "componentType": _FLOAT if array.dtype == np.float32 else _UNSIGNED_SHORT,
            "count": len(array),
            "type": _KINDS[1 if array.ndim == 1 else array.shape[1]],
        }
        if bounds:
            rows = array.reshape(len(array), -1)
            accessor |= {"min": rows.min(axis=0).tolist(), "max": rows.max(axis=0).tolist()}
        self.views.append(view if target is None else view | {"target": target})
        self.accessors.append(accessor)
        self.content += data + b"\0" * (-len(data) % 4)
        return len(self.accessors) - 1


def _chunk(kind: bytes, content: bytes) -> bytes:
    padded = content + (b" " if kind == b"JSON" else b"\0") * (-len(content) % 4)
    return struct.pack("<I4s", len(padded), kind) + padded


def _nodes(pose: Pose, skeleton: Skeleton) -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = []
    for joint, name in enumerate(skeleton.joints):
        place = pose.offsets[joint] if joint else pose.root[0]
        children = [child for child, parent in enumerate(skeleton.parents) if parent == joint]
        node = {"name": name, "translation": place.tolist()}
        nodes.append(node | {"children": children} if children else node)
    return nodes


def _body(pose: Pose, skeleton: Skeleton, buffer: _Buffer) -> dict[str, Any]:
    """The skin, and a mesh of one octahedron per bone, which moves with the joint where the bone begins."""
    rest = np.zeros((skeleton.num_joints, 3))
    rest[0] = pose.root[0].numpy()
    vertices: list[NDArray[np.float64]] = []
    owners: list[tuple[int, int, int, int]] = []
    faces: list[NDArray[np.int64]] = []
    for joint, parent in enumerate(skeleton.parents):
        if parent >= 0:
            rest[joint] = rest[parent] + pose.offsets[joint].numpy()
            faces.append(_FACES + 6 * len(vertices))
            vertices.append(_octahedron(rest[parent], rest[joint]))
            owners += [(parent, 0, 0, 0)] * 6
    binding = np.tile(np.eye(4, dtype=np.float32), (skeleton.num_joints, 1, 1))
    binding[:, 3, :3] = -rest  # column-major
    weights = np.tile(np.array((1, 0, 0, 0), dtype=np.float32), (len(owners), 1))
    attributes = {
        "POSITION": buffer.add(np.concatenate(vertices).astype(np.float32), _VERTEX_BUFFER, bounds=True),
        "JOINTS_0": buffer.add(np.array(owners, dtype=np.uint16), _VERTEX_BUFFER),
        "WEIGHTS_0": buffer.add(weights, _VERTEX_BUFFER),
    }
    indices = buffer.add(np.concatenate(faces).reshape(-1).astype(np.uint16), _INDEX_BUFFER)
    matrices = buffer.add(binding.reshape(-1, 16))
    return {
        "meshes": [{"primitives": [{"attributes": attributes, "indices": indices}]}],
        "skins": [{"joints": list(range(skeleton.num_joints)), "inverseBindMatrices": matrices, "skeleton": 0}],
    }


# Vertices: the bone's two ends, and four around its waist. Seen from outside, faces run counterclockwise.
_FACES = np.array(
    [face for side in range(4) for face in ((0, 2 + (side + 1) % 4, 2 + side), (1, 2 + side, 2 + (side + 1) % 4))]
)


def _octahedron(start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
    bone = end - start
    helper = np.eye(3)[np.abs(bone).argmin()]
    across = np.cross(bone, helper)
    across *= _WIDTH * np.linalg.norm(bone) / np.linalg.norm(across)
    beside = np.cross(bone, across) / np.linalg.norm(bone)
    waist = start + _WAIST * bone
    return np.stack((start, end, waist + across, waist + beside, waist - across, waist - beside))


def _animation(name: str, pose: Pose, fps: float, buffer: _Buffer) -> dict[str, Any]:
    """Rotations of all joints and the root's path."""
    times = buffer.add((np.arange(len(pose.root)) / fps).astype(np.float32), bounds=True)
    quaternions = roma.quat_wxyz_to_xyzw(pose.local).numpy().astype(np.float32)
    tracks = [(0, "translation", pose.root.numpy().astype(np.float32))]
    tracks += [(joint, "rotation", quaternions[:, joint]) for joint in range(quaternions.shape[1])]
    return {
        "name": name,
        "channels": [
            {"sampler": number, "target": {"node": node, "path": kind}} for number, (node, kind, _) in enumerate(tracks)
        ],
        "samplers": [{"input": times, "output": buffer.add(values)} for _, _, values in tracks],
    }
