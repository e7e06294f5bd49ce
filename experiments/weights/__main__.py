"""Write trained checkpoints as the models that come with the package: `python -m experiments.weights guo tmr`."""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from lightning_realign.checkpoints.entry import SPEC_KEY
from lightning_realign.checkpoints.folder import CONFIG_FILE, WEIGHTS_FILE
from lightning_realign.checkpoints.guidance import SuitedGuidance
from lightning_realign.checkpoints.hub import export_model
from lightning_realign.files.atomic import write_text_atomic
from lightning_realign.files.hashing import file_sha256
from lightning_realign.files.shipped_weights import MANIFEST_FILE, SHIPPED_SET, WEIGHTS_FOLDER
from lightning_realign.settings.guidance import GuidanceConfig

DATA = Path("runs/demo/data")
LARGEST = 25 * 2**20
KNOWN = (
    "walking in four directions, running, turning, jumping, squatting, raising or waving a hand, kicking, punching, "
    "bowing, clapping, standing"
)


@dataclass(frozen=True)
class Source:
    """Where a model comes from: its checkpoint, and the command that trained it."""

    checkpoint: str
    command: str
    suited: SuitedGuidance | None = None
    sampling: Mapping[str, Any] | None = None


JUDGE = "--trainer.accelerator=cpu --data.init_args.root=runs/demo/data"
SOURCES = {
    "generator": Source(
        "runs/demo/diffusion/last.ckpt",
        "realign fit --config configs/demo/vae.yaml && realign fit --config configs/demo/diffusion.yaml",
        sampling={"steps": 20, "cfg_scale": 2.5},
    ),
    "reward": Source(
        "runs/demo/reward_full/last.ckpt",
        "see the third stage of configs/demo/full.sh",
        # As in configs/demo/guided.yaml; how it was chosen stands in docs/results/demo.md.
        SuitedGuidance(GuidanceConfig(mu=30.0, eta=0.0, scale="constant", location="x0"), steps=20),
    ),
    "guo": Source(
        "runs/weights/guo/best.ckpt",
        f"realign fit --config configs/evaluator/guo_synthetic.yaml {JUDGE} --seed_everything=21",
    ),
    "tmr": Source(
        "runs/weights/tmr/best.ckpt",
        f"realign fit --config configs/reward/tmr_synthetic.yaml {JUDGE} --seed_everything=22",
    ),
}


def write_model(name: str, folder: Path) -> None:
    """Write a model's folder with its weights rounded to float16 and its card.

    Args:
        name: a key of `SOURCES`.
        folder: of all models.
    """
    source, out = SOURCES[name], folder / name
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        made = export_model(Path(source.checkpoint), Path(temporary) / name, source.suited)
        if source.sampling is not None:
            config = json.loads((made / CONFIG_FILE).read_text(encoding="utf-8"))
            config[SPEC_KEY]["sampling"] = dict(source.sampling)
            write_text_atomic(made / CONFIG_FILE, json.dumps(config, indent=2) + "\n")
        weights = load_file(made / WEIGHTS_FILE)
        # Statistics of features and latents keep their digits: they are few, and some deviations are tiny.
        rounded = {
            key: value if "normaliser" in key or "statistics" in key else halved(value)
            for key, value in weights.items()
        }
        save_file(rounded, made / WEIGHTS_FILE, {"format": "pt"})
        card = (made / "README.md").read_text(encoding="utf-8")
        write_text_atomic(made / "README.md", card[: card.rindex("\n`config.json`")] + described(name, source))
        shutil.rmtree(out, ignore_errors=True)
        made.rename(out)


def halved(value: torch.Tensor) -> torch.Tensor:
    """A float32 tensor as float16, any other one unchanged."""
    return value.half() if value.dtype == torch.float32 else value


def described(name: str, source: Source) -> str:
    """What a card says beside the model's entry."""
    return f"""
## Data

The project's synthetic set in HumanML3D's form: 1,200 procedural motions with captions ({KNOWN}), seed and sizes of
`realign data synth`. No recorded motion, no person's data.

## Training

    {source.command}

Weights are float32 in training and rounded to float16 here.

## Results

docs/results/shipped.md.

## Licence

MIT, that of the project.
"""


def words_of(data: Path) -> list[str]:
    """All words of a data set's captions, sorted."""
    found: set[str] = set()
    for path in sorted((data / "texts").glob("*.txt")):
        for line in path.read_text(encoding="utf-8").splitlines():
            text = line.split("#")[0].lower()
            found.update("".join(letter if letter.isalpha() else " " for letter in text).split())
    return sorted(found)


def main(args: Sequence[str] | None = None) -> None:
    """Write the models that are named, and the manifest of all."""
    parser = argparse.ArgumentParser(prog="python -m experiments.weights", description=__doc__)
    parser.add_argument("models", nargs="+", choices=tuple(SOURCES))
    folder = WEIGHTS_FOLDER / SHIPPED_SET
    folder.mkdir(parents=True, exist_ok=True)
    for name in parser.parse_args(args).models:
        write_model(name, folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST_FILE)
    size = sum(path.stat().st_size for path in files)
    if size > LARGEST:
        raise SystemExit(f"the models have {size / 2**20:.1f} MiB, more than {LARGEST / 2**20:.0f}")
    content = {
        "about": KNOWN,
        "files": {path.relative_to(folder).as_posix(): file_sha256(path) for path in files},
        "words": words_of(DATA),
    }
    write_text_atomic(folder / MANIFEST_FILE, json.dumps(content, indent=1) + "\n")
    print(f"{folder}: {size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
