"""The study's splits, and x^c as the output."""

import json

import numpy as np
import pytest
import torch

from experiments.mocap.measure.nearest import stretched, write_nearest
from experiments.mocap.measure.splits import build, build_pairs, held_out_pairs, pair_splits, read_pairs, unseen_ids
from lightning_realign.data import OwnDataModule
from lightning_realign.data.formats import read_split
from lightning_realign.errors import ConfigError, DataError
from lightning_realign.evaluation import SampleScoring
from lightning_realign.motion import feature_statistics, load_skeleton
from tests.helpers.cli_bench import TINY_RUN, realign
from tests.helpers.support import random_joints
from tests.helpers.tiny_models import dataset_normaliser, write_reward

CONTENTS = ("walk", "run", "wave", "bow", "turn", "kick", "few")
STYLES = ("calm", "angry", "old", "young", "proud", "sad")


def label(number: int) -> tuple[str, str]:
    content = CONTENTS[number % len(CONTENTS)]
    return content, STYLES[number // len(CONTENTS) % (2 if content == "few" else len(STYLES))]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A source folder of 84 small motions, each with a caption of its content and style."""
    root = tmp_path_factory.mktemp("source")
    spec, random = load_skeleton("humanml3d"), np.random.default_rng(0)
    (root / "joints").mkdir()
    (root / "texts").mkdir()
    lines = ["name,content,style"]
    for number in range(84):
        content, style = label(number)
        frames = 30 + number % 3
        np.save(root / f"joints/m{number:02d}.npy", random_joints(spec, frames, random).float().numpy())
        (root / f"texts/m{number:02d}.txt").write_text(f"a {style} person does {content}\nsomeone moves\n")
        lines.append(f"m{number:02d},{content},{style}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    about = {"name": "small", "fps": 20, "unit": "metre", "up": "y", "skeleton": "humanml3d", "min_length": 24}
    (root / "metadata.json").write_text(json.dumps(about))
    for split, numbers in (("train", range(60)), ("val", range(60, 66)), ("test", range(66, 84))):
        (root / f"{split}.txt").write_text("".join(f"m{number:02d}\n" for number in numbers))
    return root


@pytest.fixture(scope="module")
def built(source, tmp_path_factory):
    """Both data sets of the source."""
    out = tmp_path_factory.mktemp("built")
    build(source, out / "data")
    build_pairs(source, out / "pairs_data")
    return out


def test_held_out_pairs_are_whole_and_their_parts_are_known(source):
    pairs = read_pairs(source / "labels.csv")
    lists = pair_splits(pairs)
    assert sorted(name for names in lists.values() for name in names) == sorted(pairs)
    in_split = {split: {pairs[name] for name in names} for split, names in lists.items()}
    assert not in_split["test"] & (in_split["train"] | in_split["val"])
    for place in (0, 1):
        assert {pair[place] for pair in in_split["test"]} <= {pair[place] for pair in in_split["train"]}
    assert "few" not in {content for content, _ in in_split["test"]}
    assert 0.12 <= len(lists["test"]) / len(pairs) <= 0.15
    assert held_out_pairs(dict(reversed(pairs.items()))) == in_split["test"] == held_out_pairs(pairs)
    assert held_out_pairs(pairs, seed=2) != in_split["test"]
    with pytest.raises(DataError, match="too few to hold out"):
        held_out_pairs({f"m{number}": ("walk", "calm") for number in range(20)})


def test_statistics_are_those_of_each_splits_own_training_motions(built):
    found = {}
    for name in ("data", "pairs_data"):
        root = built / name
        motions = [np.load(root / f"new_joint_vecs/{motion}.npy") for motion in read_split(root / "train.txt")]
        mean, std = feature_statistics(motions, load_skeleton("humanml3d"))
        np.testing.assert_allclose(np.load(root / "Mean.npy"), mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(np.load(root / "Std.npy"), std, rtol=1e-5, atol=1e-6)
        found[name] = np.load(root / "Mean.npy")
    assert np.abs(found["data"] - found["pairs_data"]).max() > 1e-4
    assert OwnDataModule(built / "pairs_data").metadata.name == "small_pairs"


def test_the_source_is_left_alone_and_a_finished_data_set_too(source, built, tmp_path):
    before = sorted(path for path in source.rglob("*"))
    assert build(source, built / "data").endswith("built earlier")
    assert build_pairs(source, built / "pairs_data").endswith("built earlier")
    with pytest.raises(DataError, match=r"was built of another train\.txt"):
        build_pairs(source, built / "data")
    assert sorted(path for path in source.rglob("*")) == before
    assert not [path for path in built.iterdir() if path.name.startswith(".pairs_source")]


def test_wrong_labels_are_refused(source, tmp_path):
    for text, message in (
        ("name,kind\nm00,walk\n", "write name,content,style"),
        ("name,content,style\nm00,walk,\n", "line 2 lacks"),
    ):
        (tmp_path / "labels.csv").write_text(text)
        with pytest.raises(DataError, match=message):
            read_pairs(tmp_path / "labels.csv")


def test_unseen_captions_are_those_of_no_training_motion(tmp_path):
    (tmp_path / "texts").mkdir()
    captions = {"a": ["walks", "goes"], "b": ["runs"], "c": ["goes", "new"], "d": ["hops", "walks"]}
    for name, lines in captions.items():
        tokens = [f"{line}#{line}/VERB#0.0#0.0" for line in lines]
        (tmp_path / f"texts/{name}.txt").write_text("\n".join(tokens) + "\n")
    (tmp_path / "train.txt").write_text("a\nb\n")
    (tmp_path / "test.txt").write_text("c\nd\n")
    assert unseen_ids(tmp_path) == ["d"]


def test_stretching_is_linear_in_time():
    times = torch.linspace(0, 1, 7, dtype=torch.float64)
    moving = torch.stack([3 * times, 1 - times, torch.full_like(times, 2.0)], dim=1)[:, None].expand(7, 22, 3)
    for frames in (4, 7, 20):
        new = torch.linspace(0, 1, frames, dtype=torch.float64)
        expected = torch.stack([3 * new, 1 - new, torch.full_like(new, 2.0)], dim=1)[:, None].expand(frames, 22, 3)
        torch.testing.assert_close(stretched(moving, frames), expected)


def test_the_nearest_motions_are_what_sample_scoring_asks_for(built, tmp_path, checkout, hashed_cache):
    data, out = built / "data", tmp_path / "made"
    reward = write_reward(tmp_path / "reward.ckpt", dataset_normaliser(data, "humanml3d"), "humanml3d")
    matches = write_nearest(data, reward, out, replications=2, index_cache=tmp_path / "index")
    assert set(matches) == set(read_split(data / "test.txt"))
    assert set(matches.values()) <= set(read_split(data / "train.txt"))
    run = realign(
        *("test", "--config", "configs/guided/samples.yaml", *(word for word in TINY_RUN if "limit" not in word)),
        *(
            f"--data.init_args.root={data}",
            f"--model.init_args.folder={out}",
            "--model.init_args.measuring.replications=2",
        ),
        *("--model.init_args.judges={}", f"--model.init_args.reward.path={reward}"),
    )
    assert isinstance(run.model, SampleScoring)
    assert run.trainer.callback_metrics["test/samples/reward"] > run.trainer.callback_metrics["test/real/reward"] - 0.2
    with pytest.raises(ConfigError, match="--replications is 0"):
        write_nearest(data, reward, out, replications=0)
