"""Correlated embeddings, and R-Precision by a loop."""

import numpy as np
import torch

COUNT = 70


def embeddings(size=COUNT, width=12, seed=0, signal=1.0):
    """Correlated pairs, in float64."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=generator, dtype=torch.float64)
    text = torch.randn(size, width, generator=generator, dtype=torch.float64) @ mixing
    return text, signal * text + torch.randn(size, width, generator=generator, dtype=torch.float64) @ mixing


def reference_r_precision(text, motion, pools, groups, top):
    hits = np.zeros(top)
    for members in pools.tolist():
        for query in members:
            order = sorted(members, key=lambda item: float(np.linalg.norm(text[query] - motion[item])))
            first = next(place for place, item in enumerate(order) if groups[item] == groups[query])
            hits += [first < k for k in range(1, top + 1)]
    return hits / pools.numel()
