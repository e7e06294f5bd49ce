"""Time to the first training batch, private memory and batches per second on a data set of HumanML3D's size.

    python benchmarks/data.py
    python benchmarks/data.py --clips 3000

The data set is a look-alike: noise of HumanML3D's shapes and lengths with three captions a clip, written to a temporary
folder (9 GB for all 29,228 clips), used and removed. Ids and split lists are the real ones where REALIGN_TEST_DATA
names a folder that has them, see `real_ids`. Three ways are measured, each in fresh processes, by turns: packed, the
same data set unpacked, and as the published loaders do it, which read all arrays and captions into a dictionary.
All files are in the page cache, so that it is the code and not the disk that is compared.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# Nothing of torch or of this package here: its import is measured, in processes that read this file first.
FEATURES, BATCH, UNIT = 263, 64, 4
SHORTEST, LONGEST = 40, 199
# HumanML3D's 29,228 clips last 57.2 hours, 141 frames on average; those of ten seconds and more were cut to 199.
LONGEST_SHARE = 0.28
PART_SHARE = 0.03
WORDS = (
    *("a/DET", "the/DET", "both/DET", "person/NOUN", "man/NOUN", "arm/NOUN", "leg/NOUN", "hand/NOUN", "circle/NOUN"),
    *("walk/VERB", "run/VERB", "turn/VERB", "jump/VERB", "raise/VERB", "swing/VERB", "step/VERB", "kick/VERB"),
    *("slowly/ADV", "quickly/ADV", "forward/ADV", "backward/ADV", "twice/ADV", "again/ADV", "left/ADJ", "right/ADJ"),
    *("and/CCONJ", "then/ADV", "while/SCONJ", "with/ADP", "to/ADP", "in/ADP", "his/DET", "something/PRON"),
)
WINDOW = 20
CONFIG = Path(__file__).resolve().parents[1] / "configs" / "reward" / "mocap.yaml"
Ids = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Start:
    """Seconds of the imports, and from there to the first batch; private memory in MiB before and after."""

    imports: float
    seconds: float
    before: float
    after: float


@dataclass(frozen=True)
class Epoch:
    """Batches per second, all and in the slowest window; memory of all processes in MiB, and without mapped files.

    The pages of mapped files are shared, and the system takes them back when it needs them.
    """

    rate: float
    slowest: float
    memory: float
    kept: float


def real_ids() -> dict[str, list[str]] | None:
    """HumanML3D's split lists, from `humanml3d_samples` in the folder of real test data."""
    folder = Path(os.environ.get("REALIGN_TEST_DATA", "")) / "humanml3d_samples"
    lists = {split: folder / f"{split}.txt" for split in ("train", "val", "test")}
    if "REALIGN_TEST_DATA" not in os.environ or not all(path.is_file() for path in lists.values()):
        return None
    return {split: path.read_text(encoding="utf-8").split() for split, path in lists.items()}


def drawn_ids() -> dict[str, list[str]]:
    """As many ids as HumanML3D has, motions and mirror images, in splits of its sizes."""
    names = [f"{prefix}{number:06d}" for number in range(14_614) for prefix in ("", "M")]
    random.Random(0).shuffle(names)
    return {"train": names[:23_384], "val": names[23_384:24_844], "test": names[24_844:]}


def some_of(ids: Ids, clips: int) -> dict[str, list[str]]:
    """The beginning of each list, about `clips` ids in all."""
    share = min(1.0, clips / sum(map(len, ids.values())))
    return {split: list(names[: max(1, round(share * len(names)))]) for split, names in ids.items()}


def write_look_alike(root: Path, ids: Ids) -> int:
    """Write the data set; returns the bytes of its features."""
    draw = np.random.default_rng(0)
    noise = draw.standard_normal((4096, FEATURES)).astype(np.float32)
    written = 0
    for folder in ("new_joint_vecs", "texts"):
        (root / folder).mkdir(parents=True)
    for split, names in ids.items():
        (root / f"{split}.txt").write_text("\n".join(names), encoding="utf-8")
        for name in names:
            frames = LONGEST if draw.random() < LONGEST_SHARE else int(draw.integers(SHORTEST, LONGEST))
            first = int(draw.integers(len(noise) - frames))
            np.save(root / "new_joint_vecs" / f"{name}.npy", noise[first : first + frames])
            (root / "texts" / f"{name}.txt").write_text("".join(_caption(draw) for _ in range(3)), encoding="utf-8")
            written += frames * FEATURES * 4
    for name, value in (("Mean", 0.0), ("Std", 1.0)):
        np.save(root / f"{name}.npy", np.full(FEATURES, value, dtype=np.float32))
    return written


def _caption(draw: np.random.Generator) -> str:
    tokens = [WORDS[place] for place in draw.integers(len(WORDS), size=int(draw.integers(7, 18)))]
    tags = "0.5#3.5" if draw.random() < PART_SHARE else "0.0#0.0"
    return f"{' '.join(token.partition('/')[0] for token in tokens)}#{' '.join(tokens)}#{tags}\n"


def memory(process: str = "self") -> dict[str, float]:
    """Fields of a process's memory in MiB, NaN if not on Linux: USS is its private pages, Pss its share of all."""
    path = Path("/proc") / process / "smaps_rollup"
    lines = path.read_text().splitlines()[1:] if path.is_file() else []
    found = {name: float(value.split()[0]) / 1024 for name, value in (line.split(":", 1) for line in lines)}
    fields = {name: found.get(name, float("nan")) for name in ("Private_Clean", "Private_Dirty", "Pss", "Pss_File")}
    return {**fields, "USS": fields["Private_Clean"] + fields["Private_Dirty"]}


def start_ours(root: Path) -> Start:
    """The data module's way, from packed files where there are any."""
    begin = time.perf_counter()
    from lightning_realign.data import HumanML3DDataModule

    imports, before = time.perf_counter() - begin, memory()["USS"]
    begin = time.perf_counter()
    module = HumanML3DDataModule(root, batch_size=BATCH)
    module.setup("fit")
    batch = next(iter(module.train_dataloader()))
    seconds = time.perf_counter() - begin
    return Start(imports, seconds, before, memory()["USS"] if len(batch) else float("nan"))


def start_peers(root: Path) -> Start:
    """The published loaders' way: every array and all parsed captions of both splits in dictionaries."""
    begin = time.perf_counter()
    import torch
    from torch.utils.data import DataLoader

    imports, before = time.perf_counter() - begin, memory()["USS"]
    begin = time.perf_counter()
    mean, std = np.load(root / "Mean.npy"), np.load(root / "Std.npy")
    splits = [_read_all(str(root), split) for split in ("train", "val")]

    def sample(entry: Mapping[str, Any]) -> tuple[str, torch.Tensor, int]:
        caption = random.choice(entry["text"])["caption"]
        frames = entry["length"] // UNIT * UNIT - UNIT * (random.random() < 1 / 3)
        first = random.randint(0, entry["length"] - frames)
        padded = np.zeros((LONGEST, FEATURES), dtype=np.float32)
        padded[:frames] = (entry["motion"][first : first + frames] - mean) / std
        return caption, torch.from_numpy(padded), frames

    def collate(entries: Sequence[Mapping[str, Any]]) -> Any:
        return torch.utils.data.default_collate([sample(entry) for entry in entries])

    entries: Any = list(splits[0].values())
    batch = next(iter(DataLoader(entries, batch_size=BATCH, shuffle=True, drop_last=True, collate_fn=collate)))
    seconds = time.perf_counter() - begin
    return Start(imports, seconds, before, memory()["USS"] if len(batch) else float("nan"))


def _read_all(root: str, split: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    with open(f"{root}/{split}.txt", encoding="utf-8") as names:  # noqa: PTH123
        for name in map(str.strip, names):
            motion = np.load(f"{root}/new_joint_vecs/{name}.npy")
            if not SHORTEST <= len(motion) <= LONGEST:
                continue
            whole = []
            with open(f"{root}/texts/{name}.txt", encoding="utf-8") as lines:  # noqa: PTH123
                for number, (caption, words, start, end) in enumerate(line.strip().split("#") for line in lines):
                    text = {"caption": caption, "tokens": words.split(" ")}
                    if not float(start) and not float(end):
                        whole.append(text)
                        continue
                    part = motion[int(float(start) * 20) : int(float(end) * 20)]
                    if SHORTEST <= len(part) <= LONGEST:
                        found[f"{number}_{name}"] = {"motion": part, "length": len(part), "text": [text]}
            if whole:
                found[name] = {"motion": motion, "length": len(motion), "text": whole}
    return found


def epoch(root: Path, batches: int) -> Epoch:
    """Batches that two workers hand out, as fast as they are taken."""
    from lightning_realign.data import HumanML3DDataModule

    # A fresh process would start its workers as it was started itself, not as a training run on Linux does.
    multiprocessing.set_start_method("fork", force=True)
    module = HumanML3DDataModule(root, batch_size=BATCH, num_workers=2)
    module.setup("fit")
    loader = iter(module.train_dataloader())
    next(loader)
    times = [time.perf_counter()]
    for _ in loader:
        times.append(time.perf_counter())
        if len(times) > batches:
            break
    processes = ["self", *(str(child.pid) for child in multiprocessing.active_children())]
    shares = [memory(process) for process in processes]
    used, mapped = (sum(share[name] for share in shares) for name in ("Pss", "Pss_File"))
    size = min(WINDOW, len(times) - 1)
    slowest = max(last - first for first, last in zip(times, times[size:], strict=False))
    return Epoch((len(times) - 1) / (times[-1] - times[0]), size / slowest, used, used - mapped)


def reward_step(root: Path, steps: int) -> float:
    """Median seconds of a training step of the small reward model on batches of the data set in `root`."""
    import lightning as L
    import yaml

    from lightning_realign.data import HumanML3DDataModule
    from lightning_realign.training import RewardTraining

    class Clock(L.Callback):
        seconds: list[float] = []  # noqa: RUF012
        begin = 0.0

        def on_train_batch_start(self, *_: Any) -> None:
            self.begin = time.perf_counter()

        def on_train_batch_end(self, *_: Any) -> None:
            self.seconds.append(time.perf_counter() - self.begin)

    settings = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    model = RewardTraining(**settings["model"]["init_args"], text_cache=str(root / "text"))
    clock = Clock()
    trainer = L.Trainer(
        max_steps=steps,
        accelerator="cpu",
        callbacks=[clock],
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, datamodule=HumanML3DDataModule(root, batch_size=BATCH))
    return statistics.median(clock.seconds[1:] or clock.seconds)


def apart(task: Callable[..., Any], *values: Any) -> Any:
    """The result of a function in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(task, *values).result()


def warm(*folders: Path) -> None:
    """Read all files, so that they are in the page cache if that has room for them."""
    for path in (path for folder in folders for path in folder.iterdir()):
        with path.open("rb") as file:
            while file.read(1 << 24):
                pass


def measure_starts(root: Path, features: int, repeats: int) -> dict[str, list[Start]]:
    """All ways by turns. The data set is packed first, and its packed files are moved aside for the other two."""
    from lightning_realign.data.packed.packed import PACKED_FOLDER, pack

    pack(root, features)
    packed, aside = root / PACKED_FOLDER, root / "aside"
    starts: dict[str, list[Start]] = {"packed": [], "unpacked": [], "as published": []}
    for _ in range(repeats):
        warm(packed)
        starts["packed"].append(apart(start_ours, root))
        packed.rename(aside)
        warm(root / "new_joint_vecs", root / "texts")
        starts["unpacked"].append(apart(start_ours, root))
        starts["as published"].append(apart(start_peers, root))
        aside.rename(packed)
    return starts


def table_of(starts: Mapping[str, Sequence[Start]]) -> str:
    """Medians; ratios are to the published way."""
    from lightning_realign.report import format_table

    def middle(way: str, value: Callable[[Start], float]) -> float:
        return statistics.median(value(start) for start in starts[way])

    def taken(start: Start) -> float:
        return start.after - start.before

    peers = middle("as published", lambda start: start.seconds), middle("as published", taken)
    rows: list[list[object]] = []
    for way in starts:
        seconds, used = middle(way, lambda start: start.seconds), middle(way, taken)
        whole = middle(way, lambda start: start.after)
        imports = middle(way, lambda start: start.imports)
        rows.append([way, imports, seconds, peers[0] / seconds, used, used / peers[1] if peers[1] else math.nan, whole])
    headers = ["way", "imports s", "first batch s", "times faster", "memory MiB", "of published", "with imports MiB"]
    return format_table(headers, rows)


def arguments(args: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Start, memory and speed of loading a data set of HumanML3D's size.")
    parser.add_argument("--clips", type=int, default=29_228, help="of the look-alike (HumanML3D's: 29228)")
    parser.add_argument("--repeats", type=int, default=3, help="of the starts; medians are printed")
    parser.add_argument("--batches", type=int, default=10_000, help="at most, of the epoch with two workers")
    parser.add_argument("--steps", type=int, default=20, help="of the reward model; 0 leaves it out")
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    return parser.parse_args(args)


def report(given: argparse.Namespace, folder: Path) -> Iterator[str]:
    """Measure, and say what was found, line by line."""
    ids = some_of(real_ids() or drawn_ids(), given.clips)
    size = write_look_alike(folder / "set", ids)
    counts = ", ".join(f"{len(names)} {split}" for split, names in ids.items())
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    yield f"{counts} clips, {size / 2**30:.2f} GiB of features; {os.cpu_count()} cores, load {load}; page cache warm"
    yield table_of(measure_starts(folder / "set", FEATURES, given.repeats))
    found: Epoch = apart(epoch, folder / "set", given.batches)
    yield (
        f"packed, 2 workers, batches of {BATCH}: {found.rate:.1f} batches/s, {found.slowest:.1f} in the slowest "
        f"{WINDOW}; memory of the 3 processes then {found.memory:.0f} MiB, {found.kept:.0f} without mapped files"
    )
    if given.steps:
        shutil.rmtree(folder / "set")
        write_look_alike(folder / "small", some_of(ids, 5 * BATCH))
        step = apart(reward_step, folder / "small", given.steps)
        yield f"small reward model: {step:.3f} s a step, consumes {1 / step:.1f} batches/s"


def main(args: Sequence[str] | None = None) -> None:
    """Measure and print."""
    given = arguments(args)
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="look-alike-") as folder:
        for line in report(given, Path(folder)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
