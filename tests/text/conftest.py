"""Tiny encoders for the tests of this folder; none of them changes these files."""

import pytest

from tests.helpers.tiny_encoders import CLIP_SIZES, write_clip, write_distilbert


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip") / "tiny_clip", **CLIP_SIZES)


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory):
    return write_distilbert(tmp_path_factory.mktemp("bert") / "tiny_bert")
