"""Generation over a data set (`GuidedGeneration`), from prompts (`inference.prompt`), and motions made elsewhere."""

from lightning_realign.inference.module import GuidedGeneration
from lightning_realign.inference.samples import SampleScoring

__all__ = ["GuidedGeneration", "SampleScoring"]
