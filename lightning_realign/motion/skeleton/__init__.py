"""Skeletons.

- `skeleton`: the class. `spec`: skeletons by name or from files; the shipped specs are in `builtin/`.
- `parse`, `fields`: the checks of a spec. `joint_names`: left and right in the names of joints.
"""
