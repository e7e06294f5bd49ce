"""Generating: over a data set (`GuidedGeneration`), in Python (`Pipeline`), and from prompts to files (`generate`)."""

from lightning_realign.inference.module import GuidedGeneration
from lightning_realign.inference.motions import Motion
from lightning_realign.inference.pipeline import Pipeline

__all__ = ["GuidedGeneration", "Motion", "Pipeline"]
