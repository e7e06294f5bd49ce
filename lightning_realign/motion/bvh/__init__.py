"""BVH files.

- `read`: files to joint positions. `mapping`: those onto a skeleton, with the shipped name mappings in `mappings/`.
- `pose`: joint positions to rotations. `write`: motions to files.
"""
