"""Files of prompts: their three forms, and what is refused."""

import pytest

from lightning_realign.errors import ConfigError
from lightning_realign.inference.prompt import read_prompts, texts_of

TEXTS = ["a person walks", "a man says, loudly"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "a person walks\n\n  \na man says, loudly\n"),
        ("a.csv", 'id,text\n1,a person walks\n2,"a man says, loudly"\n'),
        ("a.jsonl", '{"text": "a person walks"}\n\n{"id": 2, "text": "a man says, loudly"}\n'),
    ],
)
def test_forms(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    assert read_prompts(tmp_path / name) == TEXTS
    assert texts_of(["one", str(tmp_path / name), "two.txt is a text"]) == ["one", *TEXTS, "two.txt is a text"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", " \n", "is empty; write one text a line"),
        ("a.docx", "a person walks", r"ends in '.docx'; give one of .txt, .csv, .jsonl"),
        ("a.csv", "caption\na person walks\n", r"a.csv, line 2: has no 'text'"),
        ("a.jsonl", '{"text": "x"}\n{"text": 3}\n', r"a.jsonl, line 2: has no 'text'"),
        ("a.jsonl", "a person walks\n", r"a.jsonl, line 1: has no 'text'"),
        ("a.txt", b"\xff\xfe", "cannot be read"),
    ],
)
def test_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=message):
        read_prompts(tmp_path / name)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_prompts(tmp_path / "none.txt")
