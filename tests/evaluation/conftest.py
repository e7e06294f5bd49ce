"""The tiny data set, generator and reward model of the tests of inference."""

from tests.inference.conftest import _bench, bench

__all__ = ["_bench", "bench"]
