"""Binary glTF, read back by hand: joints, body and animation."""

import json
import struct

import numpy as np
import pytest
from scipy.spatial.transform import Rotation, Slerp

from lightning_realign.errors import ConfigError, DataError
from lightning_realign.motion import load_skeleton
from lightning_realign.motion.bvh.read import read_bvh
from lightning_realign.motion.bvh.write import write_bvh
from lightning_realign.motion.export import export_motions
from lightning_realign.motion.gltf import write_glb
from tests.helpers.moving import moving_joints
from tests.helpers.own_skeletons import random_skeleton

TYPES = {5126: np.float32, 5123: np.uint16}
SIZES = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class Glb:
    def __init__(self, path):
        data = path.read_bytes()
        assert struct.unpack_from("<4sII", data) == (b"glTF", 2, len(data))
        length, kind = struct.unpack_from("<I4s", data, 12)
        assert kind == b"JSON" and length % 4 == 0
        self.content = json.loads(data[20 : 20 + length])
        rest, kind = struct.unpack_from("<I4s", data, 20 + length)
        self.binary = data[28 + length :]
        assert kind == b"BIN\0" and rest == len(self.binary) == self.content["buffers"][0]["byteLength"]
        self.nodes = self.content["nodes"]

    def array(self, number):
        accessor = self.content["accessors"][number]
        view = self.content["bufferViews"][accessor["bufferView"]]
        size = SIZES[accessor["type"]]
        kind = np.dtype(TYPES[accessor["componentType"]])
        assert view["byteOffset"] % 4 == 0 and view["byteLength"] == accessor["count"] * size * kind.itemsize
        array = np.frombuffer(self.binary, kind, accessor["count"] * size, view["byteOffset"]).reshape(-1, size)
        for bound, found in (("min", array.min(axis=0)), ("max", array.max(axis=0))):
            assert bound not in accessor or np.array_equal(accessor[bound], found)
        return array

    def matrices(self, time):
        """The joints' global matrices [J, 4, 4] at a time, as players interpolate them."""
        (animation,) = self.content["animations"]
        local = {node: np.eye(4) for node in self.content["skins"][0]["joints"]}
        for node, matrix in local.items():
            matrix[:3, 3] = self.nodes[node]["translation"]
        for channel in animation["channels"]:
            sampler = animation["samplers"][channel["sampler"]]
            times, values = self.array(sampler["input"])[:, 0], self.array(sampler["output"])
            node = channel["target"]["node"]
            if channel["target"]["path"] == "translation":
                local[node][:3, 3] = [np.interp(time, times, column) for column in values.T]
            else:
                local[node][:3, :3] = Slerp(times, Rotation.from_quat(values))(time).as_matrix()
        found = {}
        for node in local:
            above = next((index for index, other in enumerate(self.nodes) if node in other.get("children", [])), None)
            found[node] = local[node] if above is None else found[above] @ local[node]
        return np.stack([found[node] for node in self.content["skins"][0]["joints"]])


def hierarchical(name):
    """Joints in metres [T, J, 3] of a body of the published bones, at rest but for turning and walking."""
    return load_skeleton(name), moving_joints(load_skeleton(name), frames=12, seed=3, turn=2.0).numpy()


@pytest.mark.parametrize("name", ["humanml3d", "kit"])
def test_the_animation_has_the_joints_of_bvh(name, tmp_path):
    skeleton, joints = hierarchical(name)
    write_glb(tmp_path / "a.glb", joints, skeleton, 20.0)
    write_bvh(tmp_path / "a.bvh", joints, skeleton, 20.0)
    bvh = read_bvh(tmp_path / "a.bvh")
    expected = bvh.positions[:, [bvh.joints.index(joint) for joint in skeleton.joints]] / 100
    file = Glb(tmp_path / "a.glb")
    assert [node["name"] for node in file.nodes] == [*skeleton.joints, "body"]
    for frame in (0, 5, 11):
        found = file.matrices(frame / 20.0)[:, :3, 3]
        assert np.abs(found - expected[frame]).max() < 1e-5


@pytest.mark.parametrize("seed", range(6))
def test_the_body_moves_with_the_bones(seed, tmp_path):
    skeleton = random_skeleton(seed)
    joints = moving_joints(skeleton, frames=8, seed=seed).numpy()
    write_glb(tmp_path / "a.glb", joints, skeleton, skeleton.fps)
    file = Glb(tmp_path / "a.glb")
    (primitive,) = file.content["meshes"][0]["primitives"]
    points, owners, weights = (file.array(primitive["attributes"][n]) for n in ("POSITION", "JOINTS_0", "WEIGHTS_0"))
    binding = file.array(file.content["skins"][0]["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
    assert np.array_equal(weights, np.tile([1, 0, 0, 0], (len(points), 1)))
    matrices = file.matrices(4 / skeleton.fps)
    homogeneous = np.concatenate((points, np.ones((len(points), 1))), axis=1)
    moved = np.einsum("nij,njk,nk->ni", matrices[owners[:, 0]], binding[owners[:, 0]], homogeneous)[:, :3]
    bones = moved.reshape(-1, 6, 3)
    for bone, joint in zip(bones, range(1, skeleton.num_joints), strict=True):
        ends = matrices[[skeleton.parents[joint], joint], :3, 3]
        np.testing.assert_allclose(bone[:2], ends, atol=1e-5)
    faces = file.array(primitive["indices"]).reshape(-1, 3)
    normals = np.cross(points[faces[:, 1]] - points[faces[:, 0]], points[faces[:, 2]] - points[faces[:, 0]])
    centres = points.reshape(-1, 6, 3).mean(axis=1)[faces[:, 0] // 6]
    assert (np.einsum("ni,ni->n", normals, points[faces].mean(axis=1) - centres) > 0).all()


def test_export_by_suffix_or_format(tmp_path):
    skeleton, joints = hierarchical("humanml3d")
    np.save(tmp_path / "walk.npy", joints)
    file = tmp_path / "walk.npy"
    assert export_motions([file], tmp_path / "one.glb") == [tmp_path / "one.glb"]
    assert export_motions([file], tmp_path / "out", form="glb") == [tmp_path / "out" / "walk.glb"]
    assert len(Glb(tmp_path / "one.glb").matrices(0.0)) == skeleton.num_joints
    with pytest.raises(ConfigError, match="format is 'glb'; leave the format out, or give a folder"):
        export_motions([file], tmp_path / "one.bvh", form="glb")
    joints[3] = np.nan
    with pytest.raises(DataError, match="NaN or infinite"):
        write_glb(tmp_path / "b.glb", joints, skeleton, 20.0)
    assert not (tmp_path / "b.glb").exists()
