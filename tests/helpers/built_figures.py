"""Figures that are built to do something: they walk, run, turn, and lift and wave their hands."""

from __future__ import annotations

import math

import numpy as np
import torch

from lightning_realign.motion import load_skeleton
from lightning_realign.motion.mirror import mirror_joints

SKELETON = load_skeleton("humanml3d")
FRAMES = 80


def figure(frames=FRAMES):
    """[T, 22, 3] a person who stands at the origin, facing +z, with hanging arms."""
    pose = np.zeros((22, 3))
    heights = {"pelvis": 0.95, "spine1": 1.05, "spine2": 1.15, "spine3": 1.25, "neck": 1.5, "head": 1.6}
    sides = {
        "hip": (0.1, 0.9),
        "knee": (0.1, 0.5),
        "ankle": (0.1, 0.08),
        "foot": (0.1, 0.02),
        "collar": (0.08, 1.42),
        "shoulder": (0.18, 1.42),
        "elbow": (0.2, 1.15),
        "wrist": (0.2, 0.9),
    }
    for name, height in heights.items():
        pose[SKELETON.index(name)] = 0, height, 0
    for name, (x, y) in sides.items():
        for side, sign in (("left", 1), ("right", -1)):
            pose[SKELETON.index(f"{side}_{name}")] = sign * x, y, 0.1 if name == "foot" else 0
    return np.repeat(pose[None], frames, axis=0)


def stepping(speed, way=0.0, turn=0.0, runs=False, frames=FRAMES):
    """A figure on the move: planted feet rest on the floor, the pelvis bobs as in walking or in running."""
    joints, time = figure(frames), np.arange(frames) / SKELETON.fps
    duty, period = (0.35, 0.7) if runs else (0.62, 1.0)
    direction = np.array([math.sin(math.radians(way)), 0, math.cos(math.radians(way))])
    spread = np.abs(np.sin(2 * np.pi * time / period))
    joints[..., 1] += 0.03 * (spread if runs else -spread)[:, None]
    for side, late in (("left", 0.0), ("right", 0.5)):
        cycle = (time / period + late + duty / 2) % 1
        stance, swing = speed * period * (duty / 2 - cycle), (cycle - duty) / (1 - duty)
        reach = np.where(cycle < duty, stance, speed * period * duty * (swing - 0.5))
        for name in ("ankle", "foot"):
            place = SKELETON.index(f"{side}_{name}")
            joints[:, place, 1] = figure(1)[0, place, 1] + np.where(cycle < duty, 0, 0.1 * np.sin(np.pi * swing))
            joints[:, place] += reach[:, None] * direction
    angles = np.radians(turn) * np.clip((time - 1) / 2, 0, 1)
    turned = rotated(joints, angles)
    path = rotated(np.repeat(direction[None, None] * speed / SKELETON.fps, frames, axis=0), angles)
    return turned + np.cumsum(path, axis=0)


def gesturing(raised, waves=False, frames=FRAMES):
    """A figure that lifts hands above its neck and lets them sink again, and waves them while they are up."""
    joints, share = figure(frames), np.arange(frames) / (frames - 1)
    lift = np.clip(3 * np.sin(np.pi * share), 0, 1)
    for side in raised:
        wrist = SKELETON.index(f"{side}_wrist")
        joints[:, wrist, 1] += lift * 0.9
        joints[:, wrist, 0] += lift * waves * 0.2 * np.sin(12 * np.pi * share)
    return joints


def rotated(joints, angle):
    """About the y axis, by one angle in radians or one for every frame."""
    cos, sin = (np.broadcast_to(f(angle), len(joints))[:, None] for f in (np.cos, np.sin))
    x, y, z = np.moveaxis(joints, -1, 0)
    return np.stack((x * cos + z * sin, y, z * cos - x * sin), axis=-1)


def mirrored(joints):
    return mirror_joints(torch.from_numpy(joints), SKELETON).numpy()
