import json
from pathlib import Path

import numpy as np
import pytest

from lightning_realign.data.formats import (
    Caption,
    Metadata,
    load_motion,
    load_statistics,
    parse_caption_line,
    read_captions,
    read_metadata,
    read_split,
)
from lightning_realign.errors import DataError
from lightning_realign.files.atomic import save_array_atomic, write_lines_atomic, write_text_atomic

PATH = Path("texts/000001.txt")
DEFAULT = Metadata("set", 20.0, "humanml3d", 40)


def test_published_line():
    caption = parse_caption_line("a man kicks.#a/DET man/NOUN kick/VERB#0.0#0.0\n", PATH, 1)
    assert caption == Caption("a man kicks.", ("a/DET", "man/NOUN", "kick/VERB"), 0.0, 0.0)
    assert caption.is_whole


def test_line_round_trip():
    caption = Caption("walks # twice", ("walk/VERB", "twice/ADV"), 1.5, 3.25)
    assert parse_caption_line(caption.line(), PATH, 1) == caption


def test_nan_tags_mean_the_whole_motion():
    assert parse_caption_line("a#a/DET#nan#nan", PATH, 1).is_whole


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a man kicks", "1 of 4 fields"),
        ("a man kicks#a/DET#0.0", "3 of 4 fields"),
        ("a man kicks##0.0#0.0", "has no tokens"),
        ("a man kicks# #0.0#0.0", "has no tokens"),
        ("#a/DET#0.0#0.0", "caption is empty"),
        ("a man#a man#0.0#0.0", "has no part of speech"),
        ("a man#a/DET#zero#0.0", "start tag is 'zero'"),
        ("a man#a/DET#0.0#inf", "end tag is 'inf'"),
        ("a man#a/DET#-1.0#2.0", "start tag is '-1.0'"),
    ],
)
def test_malformed_line_is_named_with_its_number(tmp_path, line, message):
    path = tmp_path / "000007.txt"
    path.write_text(f"fine#fine/ADJ#0.0#0.0\n\n{line}\n")
    with pytest.raises(DataError, match=message) as error:
        read_captions(path)
    assert f"{path}, line 3:" in str(error.value)
    assert "\n" not in str(error.value)


def test_blank_lines_and_byte_order_mark_are_skipped(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone#one/NUM#0.0#0.0\r\n\r\n  \ntwo#two/NUM#0.0#0.0".encode())
    assert [caption.text for caption in read_captions(path)] == ["one", "two"]


def test_split(tmp_path):
    path = tmp_path / "train.txt"
    write_lines_atomic(path, ["000001", "M000001"])
    assert read_split(path) == ["000001", "M000001"]
    write_lines_atomic(path, [])
    with pytest.raises(DataError, match="empty"):
        read_split(path)
    write_lines_atomic(path, ["a", "b", "a"])
    with pytest.raises(DataError, match="'a' is listed twice"):
        read_split(path)
    with pytest.raises(DataError, match="missing"):
        read_split(tmp_path / "val.txt")


def test_motion_of_either_precision(tmp_path):
    values = np.random.default_rng(0).standard_normal((50, 263))
    for dtype in (np.float64, np.float32):
        save_array_atomic(tmp_path / "a.npy", values.astype(dtype))
        motion = load_motion(tmp_path / "a.npy", 263)
        assert motion.dtype == np.float32
        np.testing.assert_array_equal(motion, values.astype(np.float32))


def test_broken_motions(tmp_path):
    path = tmp_path / "a.npy"
    values = np.zeros((50, 263), np.float32)
    for broken, message in ((values[:, :251], "shape"), (values[0], "shape"), (values[:0], "shape")):
        save_array_atomic(path, broken)
        with pytest.raises(DataError, match=message):
            load_motion(path, 263)
    values[7, 3] = np.nan
    save_array_atomic(path, values)
    with pytest.raises(DataError, match="first in frame 7"):
        load_motion(path, 263)
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="cannot be read"):
        load_motion(path, 263)
    path.write_text("words")
    with pytest.raises(DataError, match="cannot be read"):
        load_motion(path, 263)
    with pytest.raises(DataError, match="missing"):
        load_motion(tmp_path / "b.npy", 263)


def test_every_truncation_of_a_motion_is_a_data_error(tmp_path):
    path = tmp_path / "a.npy"
    save_array_atomic(path, np.zeros((4, 3), np.float32))
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(DataError):
            load_motion(path, 3)


def test_metadata(tmp_path):
    assert read_metadata(tmp_path, DEFAULT) == DEFAULT
    assert DEFAULT.tag_fps == 20.0
    path = tmp_path / "metadata.json"
    write_text_atomic(path, json.dumps({"name": "mine", "fps": 12.5, "min_length": 24, "up": "y"}))
    assert read_metadata(tmp_path, DEFAULT) == Metadata("mine", 12.5, "humanml3d", 24, 200, 12.5, {"up": "y"})
    for content in ('{"min_length": "x"}', '{"fps": -1}', '{"fps": true}', "[]", "{", '{"skeleton": 3}'):
        write_text_atomic(path, content)
        with pytest.raises(DataError, match=r"metadata\.json"):
            read_metadata(tmp_path, DEFAULT)


def test_statistics_of_another_skeleton(tmp_path):
    save_array_atomic(tmp_path / "Mean.npy", np.zeros(251))
    with pytest.raises(DataError, match=r"\(251,\)"):
        load_statistics(tmp_path / "Mean.npy", 263)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "list.txt"
    write_lines_atomic(path, ["old"])

    def lines():
        yield "new"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_lines_atomic(path, lines())
    with pytest.raises(ValueError, match="Object arrays"):
        save_array_atomic(path, np.array([None]))
    assert path.read_text() == "old\n"
    assert list(tmp_path.iterdir()) == [path]


def test_real_caption_file(test_data):
    captions = read_captions(test_data / "humanml3d_samples" / "texts" / "000000.txt")
    assert len(captions) >= 3
    assert all(caption.is_whole for caption in captions)
    assert captions[0].tokens[1] == "man/NOUN"


def test_real_kit_captions_read_back(test_data, tmp_path):
    annotations = json.loads((test_data / "kit_ml" / "annotations.json").read_text())
    count = 0
    for item in annotations.values():
        for annotation in item["annotations"]:
            text = " ".join(annotation["text"].split())
            tokens = tuple(f"{word}/X" for word in text.split())
            caption = Caption(text, tokens)
            if text:
                assert parse_caption_line(caption.line(), tmp_path, 1) == caption
                count += 1
    assert count > 5000
    assert len(read_split(test_data / "kit_ml" / "train.txt")) == 4688
