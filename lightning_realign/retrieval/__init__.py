"""Retrieval systems: any model that embeds motions and texts, tested under one set of protocols."""

from lightning_realign.retrieval.module import RetrievalSystem

__all__ = ["RetrievalSystem"]
