"""Folders of models that are damaged, incomplete or another's: one line each, like checkpoint files."""

import json
import shutil

import pytest

from lightning_realign.checkpoints.entry import SPEC_KEY
from lightning_realign.checkpoints.hub import export_model
from lightning_realign.checkpoints.vae import load_vae
from lightning_realign.errors import CheckpointError
from tests.helpers.every_kind import write


def broken_config(folder, change):
    path = folder / "config.json"
    path.write_text(change(path.read_text()))


def broken_entry(folder, **changes):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config[SPEC_KEY].update(changes)
    path.write_text(json.dumps(config))


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


DAMAGE = {
    "no configuration": (lambda f: (f / "config.json").unlink(), "no such checkpoint"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
    "cut configuration": (lambda f: broken_config(f, lambda text: text[:50]), "not valid JSON"),
    "empty configuration": (lambda f: broken_config(f, lambda text: ""), "not valid JSON"),
    "a list": (lambda f: broken_config(f, lambda text: "[1]"), "not an object"),
    "no text": (lambda f: (f / "config.json").write_bytes(b"\xff\xfe\x00"), "not UTF-8"),
    "deep": (lambda f: broken_config(f, lambda text: "[" * 100_000), "not valid JSON"),
    "somebody else's": (lambda f: broken_config(f, lambda text: '{"model_type": "clip"}'), "no checkpoint of this"),
    "next version": (
        lambda f: broken_config(f, lambda text: text.replace('version": 1', 'version": 2')),
        "format_version",
    ),
    "kind": (lambda f: broken_entry(f, kind="other"), "is a 'other' checkpoint"),
    "no fingerprint": (lambda f: broken_entry(f, fingerprint=None), "'fingerprint' is None"),
    "architecture": (lambda f: broken_entry(f, architecture={"depth": 3}), "does not fit"),
    "sizes": (lambda f: broken_entry(f, num_features=251), "of another shape"),
    "cut weights": (lambda f: cut(f / "model.safetensors"), "cannot be read"),
    "no safetensors": (lambda f: (f / "model.safetensors").write_bytes(b"hello"), "cannot be read"),
    "another's weights": (
        lambda f: shutil.copy(f.parent / "other" / "model.safetensors", f / "model.safetensors"),
        "missing",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_folders_get_one_line(tmp_path, damage):
    export_model(write(tmp_path / "reward.ckpt", "reward"), tmp_path / "other")
    folder = export_model(write(tmp_path / "vae.ckpt", "vae"), tmp_path / "vae")
    load_vae(folder)
    change, message = DAMAGE[damage]
    change(folder)
    with pytest.raises(CheckpointError) as caught:
        load_vae(folder)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(folder))
    assert "\n" not in str(caught.value)
