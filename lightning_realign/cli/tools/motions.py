"""The tools that make, draw and convert motions and models. Each imports what it needs when it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from lightning_realign.settings.guidance import GuidanceConfig
from lightning_realign.settings.sampling import SamplingConfig
from lightning_realign.settings.search import SearchConfig
from lightning_realign.settings.sources import GeneratorSource, RewardSource


def export(
    files: list[Path],
    out: Path,
    skeleton: str | None = None,
    fps: float | None = None,
    format: Literal["bvh", "glb"] | None = None,
) -> None:
    """Write motions as BVH or glTF files for Blender, Unreal Engine, MotionBuilder or the web.

    Args:
        files: Predictions (.npz), or arrays (.npy) of features or joints.
        out: A folder, or for one motion a file that ends in .bvh or .glb.
        skeleton: `humanml3d`, `kit` or a YAML file, for .npy files; by default their data set's or their shape's.
        fps: Frames per second; by default the file's, its data set's or the skeleton's.
        format: `bvh`, or `glb` for binary glTF; by default what `out` ends in, else BVH.
    """
    from lightning_realign.motion.export import export_motions

    print("\n".join(str(path) for path in export_motions(files, out, skeleton=skeleton, fps=fps, form=format)))


def convert(file: Path, out: Path) -> None:
    """Turn a checkpoint that holds Python objects into safetensors; nothing in it is run.

    Args:
        file: A file that torch.save wrote.
        out: The .safetensors file to write.
    """
    from lightning_realign.checkpoints.convert import convert as run

    print(run(file, out))


def export_model(
    ckpt: Path,
    out: Path,
    guidance: GuidanceConfig = GuidanceConfig(),  # noqa: B008 - frozen
    steps: int | None = None,
) -> None:
    """Write a trained model as a folder of config.json, model.safetensors and a card, as the Hugging Face Hub has it.

    Args:
        ckpt: Checkpoint of a training of this project.
        out: A new folder; every path of a checkpoint may name it instead.
        guidance: The guidance that was measured to suit a reward; runs with the reward take it where it is not set.
        steps: The number of sampling steps that it was measured with.
    """
    from lightning_realign.checkpoints.guidance import SuitedGuidance
    from lightning_realign.checkpoints.hub import export_model as run
    from lightning_realign.guidance.scales import parts_of

    suited = SuitedGuidance(guidance, steps)
    parts_of(guidance)
    print(run(ckpt, out, suited if suited.values else None))


def database(
    ckpt: Path, data: Path, out: Path | None = None, statistics: Path | None = None, text_cache: Path | None = None
) -> None:
    """Make the retrieval database of a ReMoDiffuse model from a data set's training split.

    Args:
        ckpt: The model's latest.pth.
        data: A folder in HumanML3D's form.
        out: The .npz file to write; by default the public name beside the checkpoint, where it is found.
        statistics: Folder of the data set's Mean.npy and Std.npy, where the model's own are not beside it.
        text_cache: Folder of cached text features.
    """
    from lightning_realign.generators import LoadOptions
    from lightning_realign.generators.remodiffuse.build import make_database

    print(make_database(ckpt, data, out, LoadOptions(statistics=statistics, text_cache=text_cache)))


def generate(
    prompt: list[str],
    generator: GeneratorSource,
    out: Path,
    reward: RewardSource = RewardSource(),  # noqa: B008 - frozen
    guidance: GuidanceConfig = GuidanceConfig(),  # noqa: B008
    sampling: SamplingConfig = SamplingConfig(),  # noqa: B008
    search: SearchConfig = SearchConfig(),  # noqa: B008
    seconds: float = 4.0,
    samples: int = 1,
    index: Path | None = None,
    device: str = "auto",
    unguided: bool = False,
) -> None:
    """Generate motions from prompts; needs a generator's checkpoint and no data set. A reward guides them.

    Args:
        prompt: One or more texts.
        generator: Where the generator's weights come from.
        out: Folder for one .npz per motion.
        reward: Where the reward's weights come from.
        guidance: Strength and kind of the guidance; what is not set is what suits the reward.
        sampling: Steps, scheduler, scale of classifier-free guidance and seed.
        search: Candidates, particles and time travel.
        seconds: Length of the motions.
        samples: Motions per text.
        index: The training split's index for eta; by default the one that a guided run of this reward cached.
        device: Where to compute, such as cpu or cuda:1; auto is the GPU where CUDA finds one, else the CPU.
        unguided: Switch guidance off; the reward is then for candidates and particles alone.
    """
    from lightning_realign.inference.generate import generate as run

    files = run(
        prompt,
        generator,
        out,
        reward,
        None if unguided else guidance,
        sampling,
        search,
        seconds=seconds,
        samples=samples,
        index=index,
        device=device,
    )
    print("\n".join(str(file) for file in files))


def render(files: list[Path], out: Path, titles: list[str] | None = None) -> None:
    """Draw motions side by side as an animation (.gif or .mp4) or a film strip (.png).

    Args:
        files: .npz files of generated motions.
        out: The picture to write; its suffix chooses the form.
        titles: One title per file; by default the file names.
    """
    from lightning_realign.report.pictures.render import render as run

    run(files, out, titles=titles)


def compare(unguided: Path, guided: Path, out: Path, data: Path | None = None) -> None:
    """Draw one caption's motion without and with guidance side by side, a chosen example.

    Args:
        unguided: Folder of predictions made without guidance.
        guided: Folder of predictions for the same ids made with guidance.
        out: The animation (.gif or .mp4); a film strip of the same name and suffix .png is written beside it.
        data: The data set's folder, whose oracle helps to choose where it has one.
    """
    from lightning_realign.report.pictures.compare import pick_pair
    from lightning_realign.report.pictures.render import render as run

    pair = pick_pair(unguided, guided, data)
    files, titles = [pair.unguided, pair.guided], ["unguided", "guided"]
    for target in (out, out.with_suffix(".png")):
        print(run(files, target, titles=titles))
    print(f"{pair.name}: {pair.reason}")


TOOLS: Mapping[str, tuple[Callable[..., Any], str | None]] = {
    "generate": (generate, "prompt"),
    "render": (render, "files"),
    "compare": (compare, None),
    "export": (export, "files"),
    "convert": (convert, "file"),
    "database": (database, None),
    "export-model": (export_model, "ckpt"),
}
"""Name on the command line -> the tool, and the argument that needs no name."""
