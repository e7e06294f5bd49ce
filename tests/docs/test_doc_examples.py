"""The examples of the documentation run: files are saved as they say, Python and commands run in the order of the page.

What a page takes for granted (the demo's results, recordings, published files) is there in small. Trainings are cut to
a batch; captions are encoded by hashes.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from lightning_realign.cli.main import main
from lightning_realign.data.synthetic import make_dataset
from lightning_realign.motion import load_skeleton
from tests.helpers.bvh_files import BODY, bvh_text, stick_body, swaying_rows
from tests.helpers.cli_bench import ROOT, SIZES, TINY_FIT, TINY_RUN
from tests.helpers.doc_pages import Block, blocks, commands
from tests.helpers.support import random_joints
from tests.helpers.tiny_models import dataset_normaliser, write_generator, write_reward

TRAINING = ("fit", "validate", "test", "predict")
MEASURING = ("--model.init_args.sampling.steps=2", "--model.init_args.measuring.replications=1")


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> Path:
    """What `make demo` leaves, with random weights."""
    runs = tmp_path_factory.mktemp("demo") / "runs"
    data = runs / "demo" / "data"
    make_dataset(data, "humanml3d", **SIZES, seed=1234, progress=False)
    normaliser = dataset_normaliser(data, "humanml3d")
    for name, write in (("diffusion", write_generator), ("reward", write_reward)):
        (runs / "demo" / name).mkdir()
        write(runs / "demo" / name / "last.ckpt", normaliser)
    return runs


@pytest.fixture
def folder(demo, checkout, monkeypatch) -> Path:
    """A checkout in which the demo has been run, and in which Python finds modules."""
    (checkout / "runs").mkdir()
    (checkout / "runs" / "demo").mkdir()
    for path in (demo / "demo").iterdir():
        (checkout / "runs" / "demo" / path.name).symlink_to(path)
    # What the page on training from Python makes: a reward that reads motions.
    (checkout / "runs" / "mine" / "reward").mkdir(parents=True)
    shutil.copy(demo / "demo" / "reward" / "last.ckpt", checkout / "runs" / "mine" / "reward" / "last.ckpt")
    monkeypatch.syspath_prepend(str(checkout))
    known = set(sys.modules)
    yield checkout
    for name in set(sys.modules) - known:
        if name.startswith("my_"):
            del sys.modules[name]


def run_command(words: Sequence[str], options: Sequence[str]) -> None:
    """A command of a page in this process, made small where it trains or measures."""
    words = words[1:] if words[0] == "realign" else words[2:]
    words = [file for word in words for file in (sorted(map(str, Path().glob(word))) if "*" in word else [word])]
    if words[0] in TRAINING:
        words = [*words, *TINY_RUN, *(TINY_FIT if words[0] == "fit" else ()), *options]
    main([word for word in words if word])


def run_page(
    page: str,
    options: Callable[[list[str]], Sequence[str]] = lambda words: (),
    skip: Sequence[str] = (),
    changes: Sequence[tuple[str, str]] = (),
) -> None:
    """Run the blocks of a page in the current folder.

    Args:
        page: its path.
        options: further options of a training command, by its words.
        skip: commands and blocks that hold one of these texts are left out.
        changes: texts to be replaced in Python, with what makes them small.
    """
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page):
        _run_block(page, block, options, skip, changes, names)


def _run_block(page, block: Block, options, skip, changes, names) -> None:
    if any(text in block.text for text in skip if block.language != "bash"):
        return
    if block.title:
        path = Path(block.title)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(block.text)
    if block.language == "python" and not block.title.startswith("my_"):
        text = block.text
        for old, new in changes:
            text = text.replace(old, new)
        exec(compile(text, page, "exec"), names)
    if block.language == "bash":
        for words in commands(block.text):
            if not any(text in " ".join(words) for text in skip):
                run_command(words, options(words))


def demo_options(words: list[str]) -> list[str]:
    """Options for runs on the demo's data."""
    sizes = [f"--data.init_args.{split}={size}" for split, size in SIZES.items()]
    return [*MEASURING, *sizes, "--data.init_args.batch_size=2"]


def test_readme(folder):
    run_page("README.md")
    from_shell = [words for words in commands((ROOT / "README.md").read_text()) if "generate" in words]
    for words in from_shell:
        run_command(words, ())
    for name in ("walk.npz", "walk.bvh", "walk.glb", "motions"):
        assert (folder / name).exists()


def test_quick_start(folder):
    run_page("docs/quickstart.md", demo_options, skip=["realign doctor"])
    assert (folder / "look.gif").is_file() and list((folder / "bvh").glob("*.bvh"))


@pytest.mark.docs
@pytest.mark.parametrize("name", ["own_reward", "own_metric", "own_scale", "own_generator", "own_loop"])
def test_parts_of_ones_own(name, folder):
    run_page(f"docs/tutorials/{name}.md", demo_options, skip=["realign difference"])


@pytest.mark.docs
def test_training_from_python(folder):
    small = "max_epochs=1, limit_train_batches=1, limit_val_batches=1, logger=False, enable_checkpointing=False"
    run_page(
        "docs/tutorials/train_from_python.md", changes=[("max_epochs=40", small), ("batch_size=64", "batch_size=4")]
    )


@pytest.mark.docs
def test_own_skeleton(folder):
    (folder / "studio.yaml").write_text(blocks("docs/tutorials/own_skeleton.md")[0].text)
    write_joints(folder / "recordings", load_skeleton("studio.yaml"))
    run_page("docs/tutorials/own_skeleton.md", lambda words: ["--data.init_args.batch_size=2"])
    assert list((folder / "bvh").glob("*.bvh"))


def write_joints(source: Path, skeleton) -> None:
    """Joint positions with captions, and split lists."""
    random = np.random.default_rng(0)
    for split, size in (("train", 12), ("val", 4), ("test", 4)):
        names = [f"{split}_{number}" for number in range(size)]
        for name in names:
            (source / "joints").mkdir(parents=True, exist_ok=True)
            (source / "texts").mkdir(exist_ok=True)
            np.save(source / "joints" / f"{name}.npy", random_joints(skeleton, 61, random).numpy())
            (source / "texts" / f"{name}.txt").write_text(f"a person walks {name}\n")
        (source / f"{split}.txt").write_text("\n".join(names) + "\n")


@pytest.mark.docs
def test_own_bvh(folder):
    page = "docs/tutorials/own_bvh.md"
    table = next(block.text for block in blocks(page) if block.language == "csv")
    more = [f"more_{number:02d}" for number in range(24)]
    splits = ["train"] * 12 + ["val"] * 6 + ["test"] * 6
    table += "".join(f"{name},a person sways,{split}\n" for name, split in zip(more, splits, strict=True))
    (folder / "recordings").mkdir()
    (folder / "recordings" / "captions.csv").write_text(table)
    for seed, name in enumerate(line.split(",")[0] for line in table.splitlines()[1:]):
        rows = swaying_rows(75, BODY.num_joints, seed)
        text = bvh_text(BODY.joints, BODY.parents, stick_body(), rows, frame_time=0.033333)
        (folder / "recordings" / f"{name}.bvh").write_text(text)

    def small(words: list[str]) -> list[str]:
        options = ["--data.init_args.batch_size=4", "--data.init_args.num_workers=0"]
        if "evaluator" in words[-1]:
            options.append("--model.init_args.pool=2")
        return [*options, *(MEASURING if words[1] != "fit" else ())]

    run_page(page, small, skip=["realign sweep"])
    assert list((folder / "bvh").glob("*.bvh")) and list((folder / "runs/guided/mocap/motions").glob("*.npz"))


@pytest.mark.docs
def test_published_generator(folder):
    from benchmarks.published_files import write_mdm, write_reward

    root = folder / "datasets" / "HumanML3D"
    root.parent.mkdir()
    root.symlink_to(folder / "runs" / "demo" / "data")
    save = folder / "save" / "humanml_enc_512_50steps"
    save.mkdir(parents=True)
    write_mdm("mdm50", save, 263)
    write_reward(folder / "checkpoints" / "realign")
    run_page(
        "docs/tutorials/published_generator.md",
        lambda words: [*MEASURING, "--data.init_args.batch_size=1", "--data.init_args.num_workers=0"],
        skip=["realign convert", "realign sweep", "realign test"],
        changes=[("seconds=4.0", "seconds=1.0")],
    )
    assert (folder / "walk.npz").is_file()


@pytest.mark.docs
def test_the_site_is_built_without_warnings(tmp_path):
    mkdocs = pytest.importorskip("mkdocs.commands.build", reason="mkdocs is not installed; `make docs` installs it")
    pytest.importorskip("mkdocstrings")
    from mkdocs.config import load_config

    mkdocs.build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site"), strict=True))
    assert (tmp_path / "site" / "RESULTS" / "index.html").is_file()
