"""The study's two splits of a source folder: its own, and one that holds out whole (content, style) pairs.

    python -m experiments.mocap.measure.splits --source DIR --out runs/mocap/data
    python -m experiments.mocap.measure.splits --source DIR --out runs/mocap/pairs_data --pairs

Both are built by the product, so that Mean and Std are those of each split's own training motions.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from lightning_realign.data.build.build import build_from_joints
from lightning_realign.data.build.sources import SOURCE_FOLDER, read_splits
from lightning_realign.data.formats import SPLITS, TEXT_FOLDER, Caption, read_captions, read_split
from lightning_realign.data.labels import LABEL_FILE
from lightning_realign.errors import DataError, RealignError
from lightning_realign.files.atomic import write_lines_atomic, write_text_atomic
from lightning_realign.files.hashing import stable_key
from lightning_realign.files.reading import read_json, read_text

Pair = tuple[str, str]  # content, style
METADATA = "metadata.json"
SEED = 1
SHARE, LARGEST_SHARE = 0.125, 0.15
VALIDATION_SHARE = 0.05
# A content of fewer styles keeps all of them, and no content or style gives more than a third of its pairs away.
FEWEST_STYLES, LARGEST_PART = 5, 1 / 3


def read_pairs(path: Path) -> dict[str, Pair]:
    """Content and style of every motion.

    Raises:
        DataError: the table lacks the columns `content` and `style`, or a row of it a value.
    """
    table = csv.DictReader(read_text(path, "label table").splitlines())
    names = list(table.fieldnames or ())
    if len(names) < 3 or not {"content", "style"} <= set(names[1:]):
        raise DataError(f"{path}: the header is {','.join(names)!r}; write name,content,style")
    found: dict[str, Pair] = {}
    for number, row in enumerate(table, start=2):
        if not row[names[0]] or not row["content"] or not row["style"]:
            raise DataError(f"{path}: line {number} lacks a name, content or style; correct the line")
        found[row[names[0]]] = (row["content"], row["style"])
    return found


def held_out_pairs(pairs: Mapping[str, Pair], seed: int = SEED) -> frozenset[Pair]:
    """The pairs to hold out: about an eighth of the motions, in an order that the seed draws.

    Every content and every style of theirs still occurs in other pairs.

    Args:
        pairs: content and style by motion id.
        seed: of the order.

    Raises:
        DataError: there are too few pairs for that.
    """
    sizes = Counter(pairs.values())
    of_content, of_style = (Counter(pair[place] for pair in sizes) for place in (0, 1))
    held: set[Pair] = set()
    taken, motions = Counter[tuple[int, str]](), 0
    for pair in sorted(sizes, key=lambda pair: stable_key(f"pairs:{seed}:{pair[0]}:{pair[1]}")):
        content, style = pair
        spare = of_content[content] >= FEWEST_STYLES
        for place, name, count in ((0, content, of_content[content]), (1, style, of_style[style])):
            spare = spare and taken[place, name] + 1 <= LARGEST_PART * count
        if not spare or motions + sizes[pair] > LARGEST_SHARE * len(pairs):
            continue
        held.add(pair)
        taken.update(((0, content), (1, style)))
        motions += sizes[pair]
        if motions >= SHARE * len(pairs):
            return frozenset(held)
    raise DataError(
        f"{len(sizes)} pairs of content and style are too few to hold out {SHARE:.1%} of {len(pairs)} motions; "
        f"it takes contents of {FEWEST_STYLES} styles or more"
    )


def pair_splits(pairs: Mapping[str, Pair], seed: int = SEED) -> dict[str, list[str]]:
    """Split lists whose test split is the held-out pairs, whole; validation is drawn from the others."""
    held = held_out_pairs(pairs, seed)
    others = sorted((name for name in pairs if pairs[name] not in held), key=lambda name: _place(name, seed))
    count = max(round(VALIDATION_SHARE * len(pairs)), 1)
    chosen = {"train": others[count:], "val": others[:count], "test": [name for name in pairs if pairs[name] in held]}
    return {split: sorted(chosen[split]) for split in SPLITS}


def _place(name: str, seed: int) -> int:
    return stable_key(f"pairs validation:{seed}:{name}")


def unseen_ids(data: Path) -> list[str]:
    """The test ids whose first caption is no caption of a training motion, in the order of test.txt.

    Raises:
        DataError: a list or a caption file of the data set is missing.
    """
    seen = {caption.text for name in read_split(data / "train.txt") for caption in _captions(data, name)}
    return [name for name in read_split(data / "test.txt") if _captions(data, name)[0].text not in seen]


def _captions(data: Path, name: str) -> list[Caption]:
    return read_captions(data / TEXT_FOLDER / f"{name}.txt")


def build(source: Path, out: Path) -> str:
    """Build a data set; one that is there already is kept, if it is of the same lists.

    Returns:
        What came of it, in a line.

    Raises:
        DataError: the source cannot be used, or `out` is something else.
    """
    if not (out / METADATA).is_file():
        return str(build_from_joints(source, out, progress=False))
    left_out = {line.partition("\t")[0] for line in read_text(out / "left_out.txt", "list").splitlines()}
    for split, names in read_splits(source).items():
        if read_split(out / f"{split}.txt") != [name for name in names if name not in left_out]:
            raise DataError(f"{out}: was built of another {split}.txt; remove it or choose another --out")
    return f"{out}: built earlier"


def build_pairs(source: Path, out: Path, seed: int = SEED) -> str:
    """Build the data set of the same motions whose test split is whole pairs.

    Returns:
        What came of it, in a line.

    Raises:
        DataError: the source has no labels, or other ones than for its motions, or `build` raises it.
    """
    listed = [name for names in read_splits(source).values() for name in names]
    labelled = read_pairs(source / LABEL_FILE)
    if lacking := [name for name in listed if name not in labelled]:
        raise DataError(
            f"{source / LABEL_FILE}: no line for {lacking[0]} and {len(lacking) - 1} more; label every motion"
        )
    lists = pair_splits({name: labelled[name] for name in listed}, seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".pairs_source", dir=out.parent) as folder:
        changed = Path(folder)
        for name in (SOURCE_FOLDER, TEXT_FOLDER):
            (changed / name).symlink_to((source / name).resolve(), target_is_directory=True)
        shutil.copyfile(source / LABEL_FILE, changed / LABEL_FILE)
        about = read_json(source / METADATA, "metadata") if (source / METADATA).is_file() else {}
        name = f"{about.get('name', source.resolve().name)}_pairs"
        write_text_atomic(changed / METADATA, json.dumps({**about, "name": name}))
        for split, names in lists.items():
            write_lines_atomic(changed / f"{split}.txt", names)
        return build(changed, out)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, type=Path, help="folder of joints/, texts/ and split lists")
    parser.add_argument("--out", required=True, type=Path, help="the data set to make")
    parser.add_argument("--pairs", action="store_true", help="hold out whole (content, style) pairs")
    given = parser.parse_args(arguments)
    try:
        print((build_pairs if given.pairs else build)(given.source, given.out))
    except RealignError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
