"""The embedded data set: procedural motions with captions and true attributes, and the oracle.

- `grammar`: the actions. `moves`, `steps`, `tracks`: their motions at the level of the body. `body`: joints from those.
- `captions`: their captions. `dataset`, `datamodule`: the files, and the data module that makes them.
- `oracle`, `signals`: whether a motion does what its attributes say, from joints alone.
"""

from lightning_realign.data.synthetic.dataset import make_dataset
from lightning_realign.data.synthetic.grammar import Action, from_attributes, to_attributes
from lightning_realign.data.synthetic.oracle import diagnose, is_right, recognise

__all__ = ["Action", "diagnose", "from_attributes", "is_right", "make_dataset", "recognise", "to_attributes"]
