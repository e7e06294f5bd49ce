"""ReMoDiffuse's retrieval databases: what is retrieved, how one is made, and which are refused."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_realign.__main__ import main
from lightning_realign.errors import DataError, FeatureSpecError
from lightning_realign.files.atomic import write_lines_atomic
from lightning_realign.generators import LoadOptions
from lightning_realign.generators.remodiffuse import build as remodiffuse_build
from lightning_realign.generators.remodiffuse.build import make_database
from lightning_realign.generators.remodiffuse.database import DatabaseForm, RetrievalDatabase
from lightning_realign.generators.remodiffuse.generator import load
from lightning_realign.types import TextFeatures
from tests.helpers.fixed_weights import golden
from tests.helpers.published_remodiffuse import (
    FORM,
    ROWS,
    TEXTS,
    WIDTH,
    arrays,
    database,
    hidden_states,
    network,
    options,
    write_remodiffuse,
)

GOLDEN = golden(Path(__file__).parent / "golden" / "remodiffuse.json")


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
    checkpoint = write_remodiffuse(tmp_path, frames=196)
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


def test_the_tool_makes_a_database(tmp_path, monkeypatch, capsys):
    checkpoint = write_remodiffuse(tmp_path, width=512, frames=196)
    make_dataset(tmp_path / "set", 2)
    monkeypatch.setattr(remodiffuse_build, "CachedTextEncoder", lambda name, cache: hidden_states)
    arguments = ["--ckpt", checkpoint, "--data", tmp_path / "set", "--out", tmp_path / "made.npz"]
    main(["database", *map(str, arguments)])
    assert capsys.readouterr().out.strip() == str(tmp_path / "made.npz")
    assert len(RetrievalDatabase(tmp_path / "made.npz", DatabaseForm(512, 512, 196, 263))) == 2
