"""BVH files: reading, mapping onto a skeleton, poses, writing."""
