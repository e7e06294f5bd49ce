"""BVH files for tests: a body of sticks as text."""

import numpy as np

from lightning_realign.motion import load_skeleton

BODY = load_skeleton("humanml3d")


def stick_body(scale=1.0):
    """Offsets [22, 3] of a standing body, y up, facing +z, with HumanML3D's bone lengths times `scale`."""
    directions = np.array(BODY.raw_offsets)
    return scale * directions * np.array(BODY.target_lengths)[:, None]


def bvh_text(names, parents, offsets, rows, frame_time=0.05, order="ZXY"):
    """A BVH file: position and rotation channels at the root, rotations elsewhere. `rows` is [T, 3 + 3 J]."""
    rotations = " ".join(f"{axis}rotation" for axis in order)

    def joint(index, depth):
        pad = "  " * depth
        moves = "" if depth else "Xposition Yposition Zposition "
        lines = [
            f"{pad}{'JOINT' if depth else 'ROOT'} {names[index]}",
            f"{pad}{{",
            f"{pad}  OFFSET {' '.join(map(str, offsets[index]))}",
            f"{pad}  CHANNELS {3 if depth else 6} {moves}{rotations}",
        ]
        below = [child for child, parent in enumerate(parents) if parent == index]
        for child in below:
            lines += joint(child, depth + 1)
        if not below:
            lines += [f"{pad}  End Site", f"{pad}  {{", f"{pad}    OFFSET 0 1 0", f"{pad}  }}"]
        return [*lines, f"{pad}}}"]

    numbers = [" ".join(f"{value:.9f}" for value in row) for row in rows]
    lines = ["HIERARCHY", *joint(0, 0), "MOTION", f"Frames: {len(rows)}", f"Frame Time: {frame_time}", *numbers]
    return "\n".join(lines) + "\n"


def swaying_rows(frames, joints, seed, height=0.9):
    """Channel values [T, 3 + 3 J] of smooth random rotations of up to about 30 degrees, on a random path."""
    random = np.random.default_rng(seed)
    time = np.arange(frames)[:, None] / 20
    waves = 15 * np.sin(random.uniform(1, 4, 3 * joints) * time + random.uniform(0, 6, 3 * joints))
    path = 0.3 * np.sin(random.uniform(0.5, 1, 3) * time) * height + np.array((0, height, 0))
    return np.concatenate((path, waves), axis=1)
