"""Every metric of the package on the same samples, which a loader's workers or several ranks may hand over."""

import torch
from torch.utils.data import Dataset

from tests.helpers.correlated import COUNT, embeddings

IDS = [f"clip{i}" for i in range(COUNT)]
FRAMES = 12


class Samples(Dataset):
    """Sample i as (i, caption embedding, motion embedding, sentence embedding, joints, frames), float64.

    Imports nothing of the package: a worker then starts fast.
    """

    def __init__(self, rows):
        self.rows = list(rows)
        self.text, self.motion = embeddings(signal=0.5)
        self.sentences = embeddings(seed=2)[0][torch.arange(COUNT) // 3 * 3] + 0.01 * self.text
        steps = torch.randn(COUNT, FRAMES, 22, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        self.joints = (0.03 * steps).cumsum(dim=1)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, place):
        row = self.rows[place]
        return row, self.text[row], self.motion[row], self.sentences[row], self.joints[row], 5 + row % 8


def every_metric():
    """All metrics by name, new."""
    from lightning_realign import metrics
    from lightning_realign.motion import load_skeleton

    human = load_skeleton("humanml3d")
    physical = (metrics.FootSkatingRatio, metrics.FootHeight, metrics.Jerk, metrics.GroundPenetration)
    return {
        "R-Precision": metrics.RPrecision(labelled=True),
        "MM-Dist": metrics.MatchingDistance(),
        "FID": metrics.FrechetDistance(),
        "Diversity": metrics.Diversity(40),
        "MultiModality": metrics.MultiModality(3),
        "gallery": metrics.RetrievalMetrics(),
        "pools": metrics.RetrievalMetrics(32),
        "protocols": metrics.RetrievalProtocols(dissimilar=20),
        "protocols by id": metrics.RetrievalProtocols(dissimilar=IDS[5:25], ids=IDS),
        "oracle": metrics.OracleAccuracy(human),
        **{kind.__name__: kind(human) for kind in physical},
    }


def feed(name, metric, batch):
    """Give a metric a batch of a loader over `Samples`."""
    rows, text, motion, sentences, joints, lengths = batch
    ids = [IDS[row] for row in rows]
    match name:
        case "R-Precision":
            captions = [f"a person does number {row % 25}" for row in rows]
            metric.update(text, motion, ids, captions, [str(int(row) % 4) for row in rows])
        case "MM-Dist":
            metric.update(text, motion, ids)
        case "FID":
            metric.update(motion, ids, real=False)
            metric.update(text, ids, real=True)
        case "Diversity":
            metric.update(motion, ids)
        case "MultiModality":
            for repetition in range(4):
                metric.update(motion.roll(repetition, dims=1) + text, ids, repetition)
        case "gallery" | "pools":
            metric.update(motion, text, ids)
        case "protocols" | "protocols by id":
            metric.update(motion, text, sentences, ids)
        case _:
            asked = {"oracle": [[{"actions": [{"family": "squat", "count": 1}]}] * len(ids)]}
            metric.update(joints, lengths, ids, *asked.get(name, []))


def figures_of(batches):
    """All figures of all metrics, as `metric/figure`, of a loader's batches."""
    metrics = every_metric()
    for batch in batches:
        for name, metric in metrics.items():
            feed(name, metric, batch)
    figures = {}
    for name, metric in metrics.items():
        found = metric.compute()
        for figure, value in (found if isinstance(found, dict) else {"": found}).items():
            figures[f"{name}/{figure}"] = value.item()
    return figures
