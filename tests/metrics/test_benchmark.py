"""The benchmark of the metrics, small, beside stand-ins for the peers' modules."""

import numpy as np
import pytest
import torch

from benchmarks.metrics import Sizes, load_peer, main, ours, replication
from lightning_realign.errors import ConfigError

SMALL = ["--samples", "96", "--replications", "2", "--width", "8"]
# A judge of distances by loops, in place of the functions that the benchmark calls by name.
GUO = """
import numpy as np
import scipy.linalg

def calculate_R_precision(one, other, top_k, sum_all):
    far = [[np.linalg.norm(a - b) for b in other] for a in one]
    places = [sorted(range(len(row)), key=row.__getitem__).index(i) for i, row in enumerate(far)]
    return np.array([sum(place < k for place in places) for k in range(1, top_k + 1)])

def calculate_matching_score(one, other, sum_all):
    return sum(np.linalg.norm(a - b) for a, b in zip(one, other)) + SHIFT

def calculate_activation_statistics(values):
    return values.mean(axis=0), np.cov(values, rowvar=False)

def calculate_frechet_distance(m1, c1, m2, c2):
    return ((m1 - m2) ** 2).sum() + np.trace(c1 + c2 - 2 * scipy.linalg.sqrtm(c1 @ c2).real)

def calculate_diversity(values, times):
    first, second = (np.random.choice(len(values), times, replace=False) for _ in range(2))
    return np.mean([np.linalg.norm(values[i] - values[j]) for i, j in zip(first, second)])

def calculate_multimodality(values, times):
    first, second = (np.random.choice(values.shape[1], times, replace=False) for _ in range(2))
    return np.mean([np.linalg.norm(each[i] - each[j]) for each in values for i, j in zip(first, second)])
"""


def peer(folder, shift=0.0):
    (folder / "utils").mkdir(parents=True)
    (folder / "utils" / "metrics.py").write_text(GUO.replace("SHIFT", str(shift)))
    return ["--peer", str(folder)]


def differences(text):
    """The last column, by metric."""
    rows = [line.rsplit(maxsplit=1) for line in text.splitlines()[3:9]]
    return {row[0].split()[0]: row[1] for row in rows}


def test_the_figures_stand_beside_the_peers(tmp_path, capsys):
    before = np.random.choice
    main([*SMALL, *peer(tmp_path / "same")])
    found = differences(capsys.readouterr().out)
    assert found.pop("Retrieval") == "-"
    assert set(found) == {"R-Precision", "MM-Dist", "FID", "Diversity", "MultiModality"}
    assert all(float(value) < 1e-9 for value in found.values())
    main([*SMALL, *peer(tmp_path / "other", shift=9.6)])
    assert float(differences(capsys.readouterr().out)["MM-Dist"]) == pytest.approx(0.1)
    assert np.random.choice is before


def test_a_run_alone_prints_seconds_and_memory(capsys):
    main(SMALL)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("96 samples x 2 replications, 8 channels")
    assert lines[1].split() == ["metric", "seconds", "figure", "mean"]
    assert [line.split()[0] for line in lines[3:10]][-1] == "total"
    seconds = [float(line.split()[1]) for line in lines[3:10]]
    assert sum(seconds[:-1]) == pytest.approx(seconds[-1], rel=1e-3)
    assert lines[-1].startswith("peak memory: ")


def test_replications_differ_in_what_is_generated_only():
    first, second = (replication(Sizes(96, 2, 8), number) for number in range(2))
    assert torch.equal(first.real, second.real) and torch.equal(first.text, second.text)
    assert not torch.equal(first.motion, second.motion) and not torch.equal(first.many, second.many)
    found = ours(first, 32, 0)["R-Precision"]()
    assert found["R@1"] <= found["R@1_caption"]


def test_a_missing_peer_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"utils/metrics\.py does not exist: give the folder of the peer's checkout"):
        load_peer(tmp_path / "utils/metrics.py")
