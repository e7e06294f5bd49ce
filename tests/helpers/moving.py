"""Seeded smooth motions of a skeleton, for tests."""

import math

import roma
import torch

from lightning_realign.motion.kinematics import forward_kinematics


def smooth_noise(generator, frames, *shape, scale=1.0):
    """Sums of three slow sines, float64 [frames, *shape]."""
    time = torch.linspace(0, 1, frames, dtype=torch.float64).reshape(-1, *(1 for _ in shape), 1)
    draw = torch.rand(3, *shape, 3, dtype=torch.float64, generator=generator) - 0.5
    return scale * (draw[0] * torch.sin(2 * math.pi * (4 * draw[1] * time + draw[2]))).sum(-1)


def moving_joints(skeleton, frames=50, seed=0, turn=0.0):
    """Joints [frames, J, 3] in float64 with the uniform skeleton's bones, turning by `turn` radians in all."""
    generator = torch.Generator().manual_seed(seed)
    angles = smooth_noise(generator, frames, skeleton.num_joints, 3, scale=0.5)
    angles[:, 0] = 0
    angles[:, 0, 1] = torch.linspace(0.3, 0.3 + turn, frames, dtype=torch.float64)
    size = sum(skeleton.target_lengths[joint] for joint in skeleton.l_idx)
    root = smooth_noise(generator, frames, 3, scale=2 * size) + size
    return forward_kinematics(roma.rotvec_to_rotmat(angles), root, skeleton)
