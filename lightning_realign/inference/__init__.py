"""Guided generation: over a data set (`GuidedGeneration`) and from prompts (`inference.prompt.generate`)."""

from lightning_realign.inference.module import GuidedGeneration

__all__ = ["GuidedGeneration"]
