"""Seconds, peak memory and figures of all metrics on random embeddings of a whole test split, without any model.

    python benchmarks/metrics.py
    python benchmarks/metrics.py --peer ../text-to-motion --retrieval-peer ../TMR

Peers are checkouts of github.com/EricGuo5513/text-to-motion and github.com/Mathux/TMR. Their functions then get the
same numbers in the same process, the same pools and the same draws; they have no R-Precision by caption, and of the
protocols of retrieval the whole gallery and the threshold are compared.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import runpy
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_realign.errors import ConfigError, RealignError
from lightning_realign.metrics import (
    Diversity,
    FrechetDistance,
    MatchingDistance,
    MultiModality,
    RetrievalProtocols,
    RPrecision,
)
from lightning_realign.metrics.functional.generation import draw, pools_of
from lightning_realign.metrics.functional.retrieval import RECALLS
from lightning_realign.report import format_table

POOL, TOP, PAIRS, CHOSEN = 32, 3, 300, 10
# How much of its caption a motion tells: enough to be found in a pool of 32 about every other time.
SIGNAL = 0.15
PROTOCOLS = ("normal", "threshold")
Figures = Mapping[str, float]
Tasks = Mapping[str, Callable[[], Figures]]


@dataclass(frozen=True)
class Sizes:
    """How much to measure: up to `many` captions have `repetitions` motions each, for MultiModality."""

    samples: int = 4384
    replications: int = 20
    width: int = 512
    batch: int = 32
    many: int = 100
    repetitions: int = 30


@dataclass(frozen=True)
class Embeddings:
    """One replication: captions, real and generated motions and sentences [N, W], and motions [C, S, W]."""

    ids: list[str]
    captions: list[str]
    text: Tensor
    real: Tensor
    motion: Tensor
    sentences: Tensor
    many: Tensor


@dataclass
class Entry:
    """One metric's figures in all replications, and the seconds they took, all together."""

    figures: list[Figures] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, task: Callable[[], Figures]) -> None:
        """Do and time one replication."""
        begin = time.perf_counter()
        self.figures.append(task())
        self.seconds += time.perf_counter() - begin


def replication(sizes: Sizes, number: int) -> Embeddings:
    """Correlated embeddings in float32, as evaluators give them; one caption in eight is that of another sample."""
    fixed, own = (torch.Generator().manual_seed(seed) for seed in (0, 1 + number))
    shape = (sizes.samples, sizes.width)
    mixing = torch.randn(sizes.width, sizes.width, generator=fixed) / sizes.width**0.5
    text = torch.randn(shape, generator=fixed) @ mixing
    real = SIGNAL * text + torch.randn(shape, generator=fixed) @ mixing
    sentences = torch.randn(shape, generator=fixed)
    told = [row - (row % 8 == 7) for row in range(sizes.samples)]
    chosen = text[: sizes.many, None]
    many = chosen + torch.randn(len(chosen), sizes.repetitions, sizes.width, generator=own) @ mixing
    return Embeddings(
        ids=[f"{row:06d}" for row in range(sizes.samples)],
        captions=[f"a person does number {row}" for row in told],
        text=text,
        real=real,
        motion=SIGNAL * text + 1.2 * torch.randn(shape, generator=own) @ mixing,
        sentences=sentences[told],
        many=many,
    )


def score(metric: Metric, batches: Iterable[Sequence[object]]) -> Figures:
    """A metric's figures of what `update` gets in batches, as in a test run; a single one has no name."""
    for batch in batches:
        metric.update(*batch)
    found = metric.compute()
    return {name: value.item() for name, value in found.items()} if isinstance(found, dict) else {"": found.item()}


def ours(data: Embeddings, batch: int, number: int) -> Tasks:
    """The metrics by name; `number` of the replication seeds their draws."""
    ids, chosen, size = data.ids, data.ids[: len(data.many)], len(data.ids)

    def each(*columns: Any) -> list[list[Any]]:
        return [[column[first : first + batch] for column in columns] for first in range(0, size, batch)]

    def fid() -> Figures:
        sets = ((data.real, True), (data.motion, False))
        return score(FrechetDistance(ids), [[*rows, real] for values, real in sets for rows in each(values, ids)])

    def many() -> Figures:
        repetitions = enumerate(data.many.unbind(1))
        return score(MultiModality(CHOSEN, number, chosen), [(rows, chosen, place) for place, rows in repetitions])

    return {
        "R-Precision": lambda: score(
            RPrecision(POOL, TOP, number, ids=ids), each(data.text, data.motion, ids, data.captions)
        ),
        "MM-Dist": lambda: score(MatchingDistance(ids), each(data.text, data.motion, ids)),
        "FID": fid,
        "Diversity": lambda: score(Diversity(min(PAIRS, size - 1), number, ids), each(data.motion, ids)),
        "MultiModality": many,
        "Retrieval": lambda: score(
            RetrievalProtocols(dissimilar=min(100, size), ids=ids), each(data.motion, data.text, data.sentences, ids)
        ),
    }


def guo(peer: SimpleNamespace, data: Embeddings, number: int) -> Tasks:
    """Guo et al.'s functions on the same numbers in float64, with our pools and draws in place of theirs."""
    text, motion, real, many = (part.double().numpy() for part in (data.text, data.motion, data.real, data.many))

    def r_precision() -> Figures:
        pools = pools_of(len(text), POOL, number).numpy()
        hits = sum(peer.calculate_R_precision(text[pool], motion[pool], TOP, sum_all=True) for pool in pools)
        return {f"R@{k}": float(count) / pools.size for k, count in enumerate(hits, start=1)}

    def fid() -> Figures:
        generated, target = (peer.calculate_activation_statistics(values) for values in (motion, real))
        return {"": float(peer.calculate_frechet_distance(*target, *generated))}

    def diversity() -> Figures:
        pairs = min(PAIRS, len(motion) - 1)
        with mock.patch.object(np.random, "choice", side_effect=_draws(len(motion), pairs, number)):
            return {"": float(peer.calculate_diversity(motion, pairs))}

    def multimodality() -> Figures:
        with mock.patch.object(np.random, "choice", side_effect=_draws(many.shape[1], CHOSEN, number)):
            return {"": float(peer.calculate_multimodality(many, CHOSEN))}

    return {
        "R-Precision": r_precision,
        "MM-Dist": lambda: {"": float(peer.calculate_matching_score(text, motion, sum_all=True)) / len(text)},
        "FID": fid,
        "Diversity": diversity,
        "MultiModality": multimodality,
    }


def tmr(peer: SimpleNamespace, data: Embeddings) -> Tasks:
    """TMR's figures of the whole gallery, classic and with similar captions as matches."""

    def unit(values: Tensor) -> np.ndarray:
        return torch.nn.functional.normalize(values.double(), dim=1).numpy()

    def retrieval() -> Figures:
        near = (unit(data.text) @ unit(data.motion).T).astype(np.float32)
        figures = {}
        for protocol, threshold in zip(PROTOCOLS, (None, 0.95), strict=True):
            sentences = None if threshold is None else unit(data.sentences)
            scores = peer.all_contrastive_metrics(near, sentences, threshold, rounding=None)
            figures[f"{protocol}/t2m_MedR"], figures[f"{protocol}/m2t_MedR"] = scores["t2m/MedR"], scores["m2t/MedR"]
            for way, k in itertools.product(("t2m", "m2t"), RECALLS):
                figures[f"{protocol}/{way}_R@{k}"] = scores[f"{way}/R{k:02d}"]
        return figures

    return {"Retrieval": retrieval}


def _draws(size: int, count: int, seed: int) -> list[np.ndarray]:
    generator = torch.Generator().manual_seed(seed)
    return [draw(size, count, generator).numpy() for _ in range(2)]


def load_peer(file: Path) -> SimpleNamespace:
    """What a peer's module defines.

    Raises:
        ConfigError: there is no such file.
    """
    if not file.is_file():
        raise ConfigError(f"{file} does not exist: give the folder of the peer's checkout")
    return SimpleNamespace(**runpy.run_path(str(file)))


def difference(one: Entry, other: Entry) -> float:
    """The largest difference of two entries' common figures, over all replications."""
    pairs = zip(one.figures, other.figures, strict=True)
    return max(abs(first[name] - second[name]) for first, second in pairs for name in second)


def measure(sizes: Sizes, tasks_of: Callable[[Embeddings, int], Tasks]) -> dict[str, Entry]:
    """All replications of some tasks, by name."""
    entries: dict[str, Entry] = {}
    for number in range(sizes.replications):
        data = replication(sizes, number)
        for name, task in tasks_of(data, number).items():
            entries.setdefault(name, Entry()).add(task)
    return entries


def peak_memory() -> float:
    """The most memory this process has had resident so far, in GiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2 ** (30 if sys.platform == "darwin" else 20)


def table_of(entries: Mapping[str, Entry], peers: Mapping[str, Entry]) -> str:
    """One line per metric; the columns of the peers only where there are some."""
    headers = ["metric", "seconds", "figure", "mean"]
    rows: list[list[object]] = []
    for name, entry in entries.items():
        figure = next(iter(entry.figures[0]))
        row: list[object] = [name, entry.seconds, figure or name, _mean(entry, figure)]
        if peers:
            peer = peers.get(name)
            row += [None] * 3 if peer is None else [peer.seconds, _mean(peer, figure), difference(entry, peer)]
        rows.append(row)
    rows.append(["total", sum(entry.seconds for entry in entries.values()), *[None] * (5 if peers else 2)])
    if peers:
        rows[-1][4] = sum(entry.seconds for entry in peers.values())
        headers += ["peer's seconds", "peer's mean", "largest difference"]
    return format_table(headers, rows)


def _mean(entry: Entry, figure: str) -> float:
    return float(np.mean([found[figure] for found in entry.figures]))


def arguments(args: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Seconds, memory and figures of all metrics on random embeddings.")
    parser.add_argument("--samples", type=int, default=Sizes.samples, help="of the test split (HumanML3D's: 4384)")
    parser.add_argument("--replications", type=int, default=Sizes.replications)
    parser.add_argument("--width", type=int, default=Sizes.width, help="channels of an embedding")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch; NumPy's follow OMP_NUM_THREADS")
    parser.add_argument("--peer", type=Path, help="a checkout of EricGuo5513/text-to-motion")
    parser.add_argument("--retrieval-peer", type=Path, help="a checkout of Mathux/TMR")
    return parser.parse_args(args)


def main(args: Sequence[str] | None = None) -> None:
    """Measure and print."""
    given = arguments(args)
    torch.set_num_threads(given.threads)
    sizes = Sizes(given.samples, given.replications, given.width)
    modules = [
        None if folder is None else load_peer(folder / file)
        for folder, file in ((given.peer, "utils/metrics.py"), (given.retrieval_peer, "src/model/metrics.py"))
    ]
    idle = peak_memory()
    entries = measure(sizes, lambda data, number: ours(data, sizes.batch, number))
    peak = peak_memory()

    def of_peers(data: Embeddings, number: int) -> Tasks:
        first, second = modules
        return {**(guo(first, data, number) if first else {}), **(tmr(second, data) if second else {})}

    peers = measure(sizes, of_peers) if any(modules) else {}
    print(
        f"{sizes.samples} samples x {sizes.replications} replications, {sizes.width} channels, {given.threads} threads"
    )
    print(table_of(entries, peers))
    print(f"peak memory: {peak:.2f} GiB, of which {idle:.2f} GiB before the first metric")


if __name__ == "__main__":
    try:
        main()
    except RealignError as error:
        sys.exit(f"error: {error}")
