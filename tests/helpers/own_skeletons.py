"""Random skeletons with two legs, two arms and a face, as the specs of users."""

import numpy as np
import yaml

from lightning_realign.motion.skeleton.parse import parse_spec

SIDES = {"right": -1.0, "left": 1.0}


# A spec as a user may write it: joints by name, parents without chains, two rest directions as vectors.
STUDIO = {
    "unit": "metre",
    "fps": 30,
    "min_length": 20,
    "joints": [
        *("hips", "LeftLeg", "RightLeg", "chest", "LeftFoot", "RightFoot", "LeftToe", "RightToe", "head"),
        *("LeftArm", "RightArm"),
    ],
    "parents": [-1, "hips", "hips", "hips", "LeftLeg", "RightLeg", "LeftFoot", "RightFoot", "chest", "chest", "chest"],
    "raw_offsets": [0, "+x", "-x", "+y", "-y", "-y", "+z", "+z", "+y", [3, 4, 0], [-3, 4, 0]],
    "face": ["RightLeg", "LeftLeg", "RightArm", "LeftArm"],
    "l_idx": ["RightFoot", "RightToe"],
    "feet_right": ["RightFoot", "RightToe"],
    "feet_left": ["LeftFoot", "LeftToe"],
    "contact_threshold": 0.001,
    "target_lengths": [0, 0.1, 0.1, 0.5, 0.8, 0.8, 0.2, 0.2, 0.3, 0.2, 0.2],
}


def _direction(random, x=None):
    """An axis, or a vector of random length whose x is given or 0."""
    if x is not None and random.random() < 0.3:
        return [x, 0.0, 0.0]
    if x is None and random.random() < 0.5:
        return [[0.0, 1.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]][random.integers(3)]
    y, z = random.uniform(-0.8, 0.8, 2).tolist()
    return [x or 0.0, y + (1.0 if x is None else 0.0), z]


def _grow(bones, random, above, names):
    """Add a limb to both sides: mirrored directions, equal lengths."""
    parents = dict.fromkeys(SIDES, above)
    for number, name in enumerate(names):
        x = 1.0 if number == 0 else random.choice([None, 0.5])
        direction, length = _direction(random, x), float(random.uniform(0.05, 0.4))
        for side, sign in SIDES.items():
            mirrored = [sign * direction[0], *direction[1:]]
            bones[f"{side}_{name}"] = (parents[side], mirrored, length)
            parents[side] = f"{side}_{name}"


def random_spec(seed):
    """A spec with 8 to 30 joints in random order, parents first; lengths are in metres or millimetres."""
    random = np.random.default_rng(seed)
    bones = {"root": (None, [0.0, 0.0, 0.0], 0.0)}
    middle = ["root"]
    size = int(random.integers(4))  # 0 is the smallest body there can be: 8 joints
    for number in range(1 + random.integers(2 * size) if size else 1):
        bones[f"spine{number}"] = (middle[-1], _direction(random), float(random.uniform(0.05, 0.3)))
        middle.append(f"spine{number}")
    # Of two leg joints, the ankle is the hip.
    leg = ("hip", "knee", "ankle", "toe")[-2 - random.integers(min(size, 2) + 1) :]
    _grow(bones, random, "root", leg)
    arm = ("shoulder", "elbow", "wrist", "hand", "finger")[: 1 + random.integers(size + 2) if size else 1]
    _grow(bones, random, middle[-1], arm)
    for number in range(random.integers(2 * size) if size else 0):
        bones[f"tail{number}"] = (str(random.choice(middle)), _direction(random), float(random.uniform(0.05, 0.3)))
    return _written(bones, leg, random)


def _written(bones, leg, random):
    order, waiting = ["root"], [name for name in bones if name != "root"]
    while waiting:
        ready = [name for name in waiting if bones[name][0] in order]
        order.append(ready[random.integers(len(ready))])
        waiting.remove(order[-1])
    scale, unit = ((1.0, "metre"), (1000.0, "millimetre"))[random.integers(2)]
    by_name = random.random() < 0.5
    joint = (lambda name: name) if by_name else order.index
    return {
        "name": f"random{random.integers(10**6)}",
        "unit": unit,
        "fps": float(random.choice([12.5, 20.0, 30.0])),
        "min_length": 20,
        "joints": order,
        "parents": [-1, *(joint(bones[name][0]) for name in order[1:])],
        "raw_offsets": ["0", *(bones[name][1] for name in order[1:])],
        "face": [joint(name) for name in (f"right_{leg[0]}", f"left_{leg[0]}", "right_shoulder", "left_shoulder")],
        "l_idx": [joint(f"right_{name}") for name in leg[-2:]],
        "feet_right": [joint("right_ankle"), joint("right_toe")],
        "feet_left": [joint("left_ankle"), joint("left_toe")],
        "contact_threshold": 0.002 * scale**2,
        "target_lengths": [scale * bones[name][2] for name in order],
    }


def random_skeleton(seed):
    return parse_spec(random_spec(seed), f"seed {seed}", "random")


def write_spec(path, spec):
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    return path
