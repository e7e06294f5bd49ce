"""ReMoDiffuse: network, retrieval, mixture and sampling against the public code's numbers; its files and databases."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from fixed_weights import fixed_input, fixed_state, fixed_tensor, golden, relative_error
from guided_toys import FunctionReward

from lightning_realign.__main__ import main
from lightning_realign.convert import convert
from lightning_realign.data.formats import write_lines_atomic
from lightning_realign.diffusion import NoiseSchedule
from lightning_realign.errors import CheckpointError, ConfigError, DataError, FeatureSpecError
from lightning_realign.generators import LoadOptions, Recipe, remodiffuse_build
from lightning_realign.generators.network import Facts
from lightning_realign.generators.remodiffuse import (
    Branch,
    ReMoDiffuseGenerator,
    coin,
    load,
    published_timesteps,
)
from lightning_realign.generators.remodiffuse_build import make_database
from lightning_realign.generators.remodiffuse_database import DatabaseForm, RetrievalDatabase
from lightning_realign.guidance import GuidanceConfig, RewardGuidedSampler, make_walk
from lightning_realign.inference.pipeline import CountingGenerator
from lightning_realign.models.remodiffuse import ReMoDiffuseArchitecture, ReMoDiffuseDenoiser
from lightning_realign.motion.normaliser import Normaliser
from lightning_realign.types import TextFeatures, zero_padding

GOLDEN = golden(Path(__file__).parent / "golden" / "remodiffuse.json")
TEXTS, ENDS, FRAMES, WIDTH = ["a person walks", "somebody jumps"], (9, 31), 24, 64
LENGTHS = torch.tensor([24, 17])
ROWS = [24, 9, 17, 12, 20, 5]
FORM = DatabaseForm(512, WIDTH, FRAMES, 263)
# Root channels, contacts last.
SCALED = [0, 1, 2, 3, -4, -3, -2, -1]
READS = {"both": (True, True), "text": (True, False), "retr": (False, True), "none": (False, False)}


def network(features: int = 263, **sizes) -> ReMoDiffuseDenoiser:
    small = {"width": WIDTH, "layers": 2, "max_frames": FRAMES} | sizes
    module = ReMoDiffuseDenoiser(features, ReMoDiffuseArchitecture(**small)).eval().requires_grad_(False)
    module.load_state_dict(fixed_state({key: tuple(value.shape) for key, value in module.state_dict().items()}))
    return module


def hidden_states(captions) -> TextFeatures:
    """Stand-ins for CLIP's hidden states of the two captions, or of others by their first letters."""
    places = [TEXTS.index(caption) if caption in TEXTS else ord(caption[0]) % 2 for caption in captions]
    tokens = fixed_input("clip", 2, 77, 512).float()[places]
    sentence = tokens[torch.arange(len(tokens)), [ENDS[place] for place in places]]
    return TextFeatures(tokens, torch.full((len(tokens),), 77), sentence)


def arrays(features: int = 263, width: int = WIDTH, frames: int = FRAMES) -> dict[str, np.ndarray]:
    """A database of 6 motions, whose captions are near those of the tests by turns."""
    queries = hidden_states(TEXTS).sentence.double() @ fixed_tensor("clip.text_projection", (512, 512)).double()
    spread = 0.3 * queries.norm(dim=1).mean() / 512**0.5 * fixed_input("db:text", 6, 512)
    return {
        "text_features": (queries[[0, 1] * 3] + spread).float().numpy(),
        "captions": np.array([f"caption {row}" for row in range(6)]),
        "motions": fixed_input(f"db:motions{features}", 6, frames, features).float().numpy(),
        "m_lengths": np.array(ROWS),
        "clip_seq_features": fixed_input("db:tokens", 6, 77, width).float().numpy(),
    }


def fake_files(root: Path, features: int = 263, width: int = WIDTH, frames: int = FRAMES, **changes) -> Path:
    """A small model in the form of the public tree, logs/ and data/. Returns the checkpoint."""
    name, database = ("human_ml3d", "t2m_text_train") if features != 251 else ("kit_ml", "kit_text_train")
    for folder in ("logs/remodiffuse", "data/database", f"data/datasets/{name}"):
        (root / folder).mkdir(parents=True)
    weights = {
        f"model.{key}": value for key, value in network(features, width=width, max_frames=frames).state_dict().items()
    }
    weights |= {"model.clip.ln_final.weight": torch.ones(512), "model.clip.positional_embedding": torch.zeros(77, 512)}
    meta = {
        "mmcv_version": "1.7.0",
        "seed": 0,
        "epoch": 40,
        "iter": 1,
        "time": "Mon",
        "env_info": "sys.platform: linux",
    }
    torch.save({"meta": meta, "state_dict": weights | changes}, root / "logs/remodiffuse/latest.pth")
    np.savez(root / f"data/database/{database}.npz", **arrays(features, width, frames))
    mean, std = raw_statistics(features)
    std[SCALED] /= 25
    np.save(root / f"data/datasets/{name}/mean.npy", mean)
    np.save(root / f"data/datasets/{name}/std.npy", std)
    return root / "logs/remodiffuse/latest.pth"


def raw_statistics(features: int = 263) -> tuple[np.ndarray, np.ndarray]:
    """Statistics as a data set has them."""
    random = np.random.RandomState(0)
    return random.randn(features), 0.3 + 0.2 * random.rand(features)


def options(**given) -> LoadOptions:
    return LoadOptions(encode=hidden_states, **given)


def generator_of(root: Path, features: int = 263, dtype: torch.dtype = torch.float64, **given) -> ReMoDiffuseGenerator:
    return load(fake_files(root, features), options(**given)).to(dtype=dtype)


def database(root: Path, **changes) -> RetrievalDatabase:
    np.savez(root / "database.npz", **(arrays() | changes))
    return RetrievalDatabase(root / "database.npz", FORM)


@pytest.mark.parametrize("features", [263, 251])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-9)])
def test_a_forward_is_the_public_one(tmp_path, features, dtype, tolerance):
    """With and without caption and retrieved motions, and mixed, for two motions of other lengths and timesteps."""
    generator = generator_of(tmp_path, features, getattr(torch, dtype))
    cond, x = generator.condition(TEXTS), fixed_input(f"x{features}", 2, FRAMES, features).to(generator.dtype)
    found, steps = generator.retrieved(cond, LENGTHS), torch.tensor([987, 57])
    for name, reads in READS.items():
        output = generator.denoiser(x, steps, cond.text, found, LENGTHS, torch.tensor([reads, reads]))
        assert relative_error(zero_padding(output, LENGTHS), GOLDEN[f"{name}_{features}_{dtype}"]) < tolerance
    for name, steps in zip(("mixed", "mixed_reversed"), GOLDEN["mixed_at"], strict=True):
        output = torch.cat([generator.denoise(x, t, cond, LENGTHS)[row : row + 1] for row, t in enumerate(steps)])
        assert relative_error(zero_padding(output, LENGTHS), GOLDEN[f"{name}_{features}_{dtype}"]) < tolerance


def test_a_forward_at_the_published_size_is_the_public_one(tmp_path):
    module = network(width=512, layers=4, max_frames=196)
    assert sum(parameter.numel() for parameter in module.parameters()) == 47_228_935
    assert len(module.state_dict()) == 241
    np.savez(tmp_path / "database.npz", **arrays(263, 512, 196))
    stored = RetrievalDatabase(tmp_path / "database.npz", DatabaseForm(512, 512, 196, 263))
    recipe = Recipe("ddim", 50, 7.5, published_timesteps())
    facts = Facts("humanml3d", NoiseSchedule("linear", 1e-4, 0.02), "sample", "clip-vit-base-patch32", recipe)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-9)):
        generator = ReMoDiffuseGenerator(facts, module.to(dtype), stored, Normaliser(263), options())
        x, cond = fixed_input("x263", 2, FRAMES, 263).to(dtype), generator.condition(TEXTS)
        output = torch.cat([generator.denoise(x, t, cond, LENGTHS)[row : row + 1] for row, t in enumerate((987, 57))])
        assert relative_error(zero_padding(output, LENGTHS), GOLDEN[f"published_{str(dtype)[6:]}"]) < tolerance


def test_steps_are_the_public_ones(tmp_path):
    """20 steps from pure noise, the last 10, and all 50; the first are coarse, the last fine."""
    generator = generator_of(tmp_path)
    recipe = generator.recipe
    assert list(recipe.timesteps) == GOLDEN["timesteps"] == list(published_timesteps())
    assert (recipe.scheduler, recipe.steps, recipe.cfg_scale) == ("ddim", 50, 7.5)
    walk = make_walk(generator.scheduler, recipe.scheduler, recipe.steps, timesteps=recipe.timesteps)
    for name, indices in (("first", range(20)), ("last", range(40, 50)), ("all", range(50))):
        x, cond = fixed_input("start", 2, FRAMES, 263), generator.condition(TEXTS)
        for index in indices:
            x = walk.step(index, generator.denoise(x, walk.timesteps[index], cond, LENGTHS), x, None).prev
        assert relative_error(zero_padding(x, LENGTHS), GOLDEN[f"steps_{name}"]) < 1e-6


def test_the_ranking_is_the_public_one(tmp_path):
    stored = database(tmp_path)
    queries = network().search_features(hidden_states(TEXTS).sentence)
    assert len({tuple(rows) for _, _, rows in GOLDEN["ranking"]}) >= 4
    for caption, length, rows in GOLDEN["ranking"]:
        found = stored.search(queries[caption : caption + 1], torch.tensor([length]), 6)
        assert found.tolist() == [rows]


def test_retrieved_motions_are_those_of_the_rows(tmp_path):
    """Whatever way the file is packed."""
    plain, packed = tmp_path / "plain.npz", tmp_path / "packed.npz"
    content = arrays()
    np.savez(plain, **content)
    np.savez_compressed(packed, **content)
    rows = torch.tensor([[3, 1], [5, 0]])
    for path in (plain, packed):
        motions, lengths, tokens = RetrievalDatabase(path, FORM).read(rows)
        assert np.array_equal(motions, content["motions"][rows.numpy()])
        assert np.array_equal(tokens, content["clip_seq_features"][rows.numpy()])
        assert lengths.tolist() == [[12, 9], [5, 24]]


def test_of_equal_motions_the_first_is_retrieved(tmp_path):
    content = arrays()
    text = np.repeat(content["text_features"][:1], 6, axis=0)
    stored = database(tmp_path, text_features=text, m_lengths=np.array([9, 17, 17, 9, 17, 9]))
    found = stored.search(torch.from_numpy(text[:2]), torch.tensor([17, 9]), 6)
    assert found.tolist() == [[1, 2, 4, 0, 3, 5], [0, 3, 5, 1, 2, 4]]


def test_what_lies_beyond_a_retrieved_motions_length_is_not_read(tmp_path):
    content, module = arrays(), network()
    motions, lengths = torch.from_numpy(content["motions"])[None], torch.tensor([ROWS])
    tokens = torch.from_numpy(content["clip_seq_features"])[None]
    broken = motions.clone()
    for row, length in enumerate(ROWS):
        broken[0, row, length:] = math.nan
    one, other = (module.database(motion, lengths, tokens) for motion in (motions, broken))
    assert torch.equal(one.valid, other.valid)
    torch.testing.assert_close(one.features[one.valid], other.features[other.valid], rtol=0, atol=0)


def test_a_motion_does_not_depend_on_its_batch(tmp_path):
    generator = generator_of(tmp_path)
    sampler = RewardGuidedSampler(generator)
    both = sampler.sample(TEXTS, torch.tensor([17, 24]), ["a", "b"])
    alone = sampler.sample(TEXTS[:1], torch.tensor([17]), ["a"])
    torch.testing.assert_close(both.features[:1, :17], alone.features, rtol=1e-9, atol=1e-9)
    assert (both.features[0, 17:] == 0).all()
    assert both.timesteps.tolist() == list(published_timesteps())


def test_a_reward_at_x0_reads_the_very_motion(tmp_path):
    generator, seen = generator_of(tmp_path), []

    def remember(motion, alpha_bar):
        seen.append(motion.detach())
        return motion.square().sum(dim=(1, 2))

    reward = FunctionReward(remember)
    reward.normaliser = Normaliser(263).double()
    reward.normaliser.set(*raw_statistics())
    config = GuidanceConfig(mu=1e-12, location="x0")
    result = RewardGuidedSampler(generator, config=config, reward=reward).sample(TEXTS, LENGTHS, ["a", "b"])
    assert len(seen) == 50
    expected = zero_padding(reward.normaliser.normalise(result.features), LENGTHS)
    torch.testing.assert_close(seen[-1], expected, rtol=1e-6, atol=1e-6)


def test_one_condition_serves_any_lengths(tmp_path):
    generator = generator_of(tmp_path)
    cond, x = generator.condition(TEXTS), fixed_input("x263", 2, FRAMES, 263)
    for lengths in ([24, 17], [4, 24], [24, 17]):
        wanted = generator.denoise(x, 57, generator.condition(TEXTS), torch.tensor(lengths))
        assert torch.equal(generator.denoise(x, 57, cond, torch.tensor(lengths)), wanted)
    assert len(cond.found) == 2
    one, other = (cond.found[key].features for key in ((24, 17), (4, 24)))
    assert not torch.equal(one[0], other[0])


def mixed(branches: tuple[Branch, ...], row: int) -> dict[str, float]:
    """The coefficients of a sample's outputs by what they read."""
    names = {reads: name for name, reads in READS.items()}
    return {names[tuple(branch.reads[row].tolist())]: branch.coefficient for branch in branches}


def test_mixtures(tmp_path):
    generator = generator_of(tmp_path)
    captions = [f"caption {number}" for number in range(400)]
    for t in (101, 500, 999):
        branches, scale = generator.branches(t, captions), 1 + 6.5 * t / 1000
        found = [mixed(branches, row) for row in range(len(captions))]
        for caption, coefficients in zip(captions, found, strict=True):
            names = ("both", "retr") if coin(caption, t) else ("text", "none")
            assert coefficients == pytest.approx({names[0]: scale, names[1]: 1 - scale})
        assert 160 < sum("both" in coefficients for coefficients in found) < 240
    for t in (0, 100):
        fine = mixed(generator.branches(t, captions), 7)
        assert fine == pytest.approx({"both": 0.52351, "text": -0.28419, "retr": 2.39872, "none": -1.63804})
    assert generator.evaluations == 4
    plain = generator_of(tmp_path / "plain", cfg_scale=1.0)
    assert [mixed(plain.branches(t, captions), 3) for t in (0, 999)] == [{"both": 1.0}] * 2
    assert plain.evaluations == 1


def test_only_what_is_mixed_is_evaluated(tmp_path):
    generator, sizes = generator_of(tmp_path, dtype=torch.float32), []
    handle = generator.denoiser.register_forward_hook(lambda _, args, output: sizes.append(len(args[0])))
    counting = CountingGenerator(generator)
    RewardGuidedSampler(counting).sample(TEXTS, LENGTHS, ["a", "b"])
    handle.remove()
    assert sizes == [4] * 42 + [8] * 8
    assert counting.calls == sum(sizes) / len(TEXTS)


def test_public_files_say_what_the_model_is(tmp_path):
    kit = generator_of(tmp_path, 251, steps=10)
    assert (kit.skeleton, kit.latents, kit.recipe.cfg_scale) == ("kit", None, 5.0)
    assert (kit.recipe.steps, kit.recipe.timesteps) == (10, None)
    assert (kit.facts.prediction, kit.scheduler.config.num_train_timesteps) == ("sample", 1000)
    np.testing.assert_allclose(kit.scheduler.betas[[0, -1]], [1e-4, 0.02])


def test_files_may_lie_beside_the_checkpoint(tmp_path):
    checkpoint = fake_files(tmp_path / "tree")
    tree = load(checkpoint, options())
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in [checkpoint, *(tmp_path / "tree/data").rglob("*.np?")]:
        path.rename(flat / path.name)
    found = load(flat / "latest.pth", options())
    assert found.normaliser.fingerprint() == tree.normaliser.fingerprint()
    assert found.database.path == flat / "t2m_text_train.npz"


def test_a_converted_checkpoint_is_the_same(tmp_path):
    checkpoint = fake_files(tmp_path)
    converted = checkpoint.with_suffix(".safetensors")
    convert(checkpoint, converted)
    one, other = (load(path, options()).denoiser.state_dict() for path in (checkpoint, converted))
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[key]) for key, value in one.items())


def test_statistics_of_the_data_set_serve_where_the_models_own_are_missing(tmp_path):
    checkpoint = fake_files(tmp_path)
    own = load(checkpoint, options()).normaliser
    (tmp_path / "data/datasets/human_ml3d").rename(tmp_path / "moved")
    with pytest.raises(ConfigError, match="set statistics to the folder"):
        load(checkpoint, options())
    for name, values in zip(("Mean", "Std"), raw_statistics(), strict=True):
        np.save(tmp_path / f"{name}.npy", values)
    made = load(checkpoint, options(statistics=tmp_path)).normaliser
    torch.testing.assert_close(made.std, own.std)


def make_dataset(root: Path, count: int = 5) -> list[np.ndarray]:
    """A data set in HumanML3D's form; returns its motions."""
    random = np.random.RandomState(1)
    motions = [random.randn(40 + 45 * number, 263).astype(np.float32) for number in range(count)]
    for folder in ("new_joint_vecs", "texts"):
        (root / folder).mkdir(parents=True)
    for number, motion in enumerate(motions):
        np.save(root / f"new_joint_vecs/{number:03d}.npy", motion)
        lines = [f"{text} {number}#walk/VERB#0.0#0.0" for text in ("bows", "crawls")]
        write_lines_atomic(root / f"texts/{number:03d}.txt", lines)
    write_lines_atomic(root / "train.txt", [f"{number:03d}" for number in range(count)])
    return motions


def test_a_database_can_be_made_of_a_data_set(tmp_path):
    checkpoint = fake_files(tmp_path, frames=196)
    (tmp_path / "data/database/t2m_text_train.npz").unlink()
    with pytest.raises(DataError, match=r"put the published t2m_text_train\.npz into .*lightning_realign database"):
        load(checkpoint, options())
    motions = make_dataset(tmp_path / "set")

    def encode(captions):
        """Hidden states as wide as the small network."""
        features = hidden_states(captions)
        return TextFeatures(features.tokens[..., :WIDTH], features.lengths, features.sentence)

    path = make_database(checkpoint, tmp_path / "set", None, LoadOptions(encode=encode))
    assert path == checkpoint.parent / "t2m_text_train.npz"
    generator = load(checkpoint, options())
    # The fifth has 220 frames, more than the data set's limit.
    assert len(generator.database) == 4
    with np.load(path, allow_pickle=False) as made:
        assert made["captions"].tolist() == [f"bows {number}" for number in range(4)]
        assert made["motions"].shape == (4, 196, 263)
        assert made["m_lengths"].tolist() == [40, 85, 130, 175]
        assert (made["motions"][0, 40:] == 0).all()
        wanted = generator.denoiser.search_features(hidden_states(["bows 0"]).sentence)
        np.testing.assert_allclose(made["text_features"][:1], wanted, rtol=0, atol=1e-5)
    found, lengths, tokens = generator.database.read(torch.tensor([[1]]))
    expected = generator.normaliser.normalise(torch.from_numpy(motions[1]))
    torch.testing.assert_close(found[0, 0, :85], expected)
    assert (lengths.tolist(), tokens.shape) == ([[85]], (1, 1, 77, WIDTH))
    assert torch.equal(tokens[0, 0], encode(["bows 1"]).tokens[0])


class Bomb:
    """Does harm where it is unpickled."""

    def __reduce__(self):
        return (open, (str(Path(__file__).parent / "harm"), "w"))


def test_a_database_of_python_objects_is_refused_unread(tmp_path):
    for name in ("text_features", "motions"):
        np.savez(tmp_path / "database.npz", **(arrays() | {name: np.array([Bomb()] * 6, dtype=object)}))
        with pytest.raises(DataError, match=f"'{name}' holds Python objects, which are refused unread"):
            RetrievalDatabase(tmp_path / "database.npz", FORM)
    assert not (Path(__file__).parent / "harm").exists()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"motions": np.zeros((6, 24, 251))},
            FeatureSpecError,
            r"'motions' has shape \(6, 24, 251\), this model needs",
        ),
        ({"motions": np.zeros((5, 24, 263))}, FeatureSpecError, r"'motions' has shape \(5, 24, 263\)"),
        ({"text_features": np.zeros((6, 384))}, FeatureSpecError, r"'text_features' has shape \(6, 384\)"),
        ({"clip_seq_features": np.zeros((6, 77, 8))}, FeatureSpecError, "'clip_seq_features' has shape"),
        ({"m_lengths": np.zeros(6, dtype=int)}, DataError, "'m_lengths' are no 6 whole numbers from 1"),
        ({"m_lengths": np.full(6, 1.5)}, DataError, "'m_lengths' are no 6 whole numbers"),
        ({"text_features": np.full((6, 512), np.nan)}, DataError, "'text_features' has NaN or infinite entries"),
        ({"m_lengths": np.array(["9"] * 6)}, DataError, "'m_lengths' holds <U1, not numbers"),
    ],
)
def test_a_database_that_does_not_fit_is_one_line(tmp_path, changes, error, message):
    with pytest.raises(error, match=message) as caught:
        database(tmp_path, **changes)
    assert "\n" not in str(caught.value)


def test_damaged_databases_are_one_line(tmp_path):
    path = tmp_path / "database.npz"
    with pytest.raises(DataError, match=r"database\.npz: the retrieval database is missing"):
        RetrievalDatabase(path, FORM)
    database(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="cannot be read"):
        RetrievalDatabase(path, FORM)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("text_features.npy", b"no array")
    with pytest.raises(DataError, match="cannot be read"):
        RetrievalDatabase(path, FORM)
    np.savez(path, other=np.zeros(2))
    with pytest.raises(DataError, match="has no array 'text_features'"):
        RetrievalDatabase(path, FORM)
    with pytest.raises(DataError, match="holds 6 motions, but 7 are read"):
        database(tmp_path).search(torch.ones(1, 512), torch.tensor([9]), 7)


def test_other_weights_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"1 surplus \('extra'\)"):
        load(fake_files(tmp_path / "a", **{"model.extra": torch.zeros(7)}), options())
    with pytest.raises(CheckpointError, match=r"latest\.pth: is no ReMoDiffuse model"):
        load(fake_files(tmp_path / "b", extra=torch.zeros(7)), options())
    with pytest.raises(CheckpointError, match="its motions have 99 features: give a model of 263"):
        load(fake_files(tmp_path / "c", 99), options())
    torch.save({"state_dict": {"model.weight": torch.zeros(2)}}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other\.pth: is no ReMoDiffuse model"):
        load(tmp_path / "other.pth", options())


def test_what_it_cannot_do_is_refused(tmp_path):
    generator = generator_of(tmp_path)
    with pytest.raises(FeatureSpecError, match="a motion of 25 frames: this ReMoDiffuse model makes at most 24"):
        generator.noise_shape(25)
    wrong = TextFeatures(torch.zeros(2, 77, 384), torch.tensor([77, 77]), torch.zeros(2, 384))
    other = load(tmp_path / "logs/remodiffuse/latest.pth", LoadOptions(encode=lambda texts: wrong))
    with pytest.raises(ConfigError, match="ReMoDiffuse reads those of 'clip-vit-base-patch32'"):
        other.condition(TEXTS)


def test_golden_numbers_are_of_both_sides_of_the_coin():
    assert {coin(caption, t) for caption in TEXTS for t in published_timesteps()[:20]} == {True, False}


def test_the_tool_makes_a_database(tmp_path, monkeypatch, capsys):
    checkpoint = fake_files(tmp_path, width=512, frames=196)
    make_dataset(tmp_path / "set", 2)
    monkeypatch.setattr(remodiffuse_build, "CachedTextEncoder", lambda name, cache: hidden_states)
    arguments = ["--ckpt", checkpoint, "--data", tmp_path / "set", "--out", tmp_path / "made.npz"]
    main(["database", *map(str, arguments)])
    assert capsys.readouterr().out.strip() == str(tmp_path / "made.npz")
    assert len(RetrievalDatabase(tmp_path / "made.npz", DatabaseForm(512, 512, 196, 263))) == 2
