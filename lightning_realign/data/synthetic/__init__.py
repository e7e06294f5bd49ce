"""Procedural motions with captions and true attributes, and the oracle that recognises actions from joints alone."""

from lightning_realign.data.synthetic.dataset import make_dataset
from lightning_realign.data.synthetic.grammar import Action, from_attributes, to_attributes
from lightning_realign.data.synthetic.oracle import diagnose, is_right, recognise

__all__ = ["Action", "diagnose", "from_attributes", "is_right", "make_dataset", "recognise", "to_attributes"]
