"""The README.md of a model that is shared: what its checkpoint says of it, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from lightning_realign.checkpoints.entry import SPEC_KEY
from lightning_realign.checkpoints.folder import CONFIG_FILE
from lightning_realign.motion import skeleton_label

# The fields of an entry that help to choose a model, and what the card calls them.
_NAMES = {
    "kind": "Kind",
    "skeleton": "Skeleton",
    "num_features": "Features of a frame",
    "text_encoder": "Text encoder",
    "schedule": "Noise schedule",
    "prediction": "The network predicts",
    "space": "Reads",
    "guidance": "Guidance measured to suit it",
    "fingerprint": "Fingerprint of the training data",
}


def model_card(name: str, title: str, spec: Mapping[str, Any], modules: Mapping[str, nn.Module]) -> str:
    """The text of a card. It says what the entry says, and nothing else.

    Args:
        name: the class that loads the model.
        title: what it is.
        spec: the entry that a checkpoint has beside its weights.
        modules: everything with weights.
    """
    parameters = sum(parameter.numel() for module in modules.values() for parameter in module.parameters())
    rows = [(label, _shown(spec, field)) for field, label in _NAMES.items() if spec.get(field)]
    rows.append(("Parameters", f"{parameters:,}"))
    table = "\n".join(f"| {label} | {value} |" for label, value in rows)
    return f"""---
library_name: {SPEC_KEY}
tags:
- text-to-motion
- {spec["kind"]}
---

# {title}

| | |
|---|---|
{table}

```python
from lightning_realign.checkpoints.hub import {name}

model = {name}.from_pretrained("FOLDER OR OWNER/NAME")
```

`{CONFIG_FILE}` has all sizes. What was measured, on which data, and the licence are for the author to add.
"""


def _shown(spec: Mapping[str, Any], field: str) -> str:
    if field == "skeleton":
        return skeleton_label(spec[field])
    value = spec[field]
    return ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, dict) else str(value)
