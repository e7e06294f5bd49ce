"""Generation over a data set (`GuidedGeneration`) and from prompts (`inference.prompt`)."""

from lightning_realign.inference.module import GuidedGeneration

__all__ = ["GuidedGeneration"]
