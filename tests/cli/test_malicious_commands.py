"""Malicious files where the command lines read them, and in `convert`: one line, and nothing runs."""

from pathlib import Path

import pytest
import yaml
from safetensors import safe_open
from safetensors.torch import load_file

from lightning_realign.__main__ import main
from lightning_realign.checkpoints.convert import convert
from lightning_realign.errors import CheckpointError, RealignError
from lightning_realign.motion import load_skeleton
from lightning_realign.motion.bvh.mapping import load_mapping
from lightning_realign.sweep.spec import read_sweep
from tests.helpers.cli_bench import one_error_line, realign
from tests.helpers.malicious import ARRAYS, PICKLES, TORCH, YAML

BINARY = TORCH | PICKLES | ARRAYS
REWARD = "configs/reward/mocap.yaml"


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "marker"


YAML_READERS = {"skeleton": lambda path: load_skeleton(str(path)), "mapping": load_mapping, "sweep": read_sweep}


@pytest.mark.parametrize("form", YAML)
@pytest.mark.parametrize("reader", YAML_READERS)
def test_yaml_tags(reader, form, tmp_path, marker):
    path = tmp_path / "file.yaml"
    path.write_bytes(YAML[form](marker))
    with pytest.raises(RealignError) as caught:
        YAML_READERS[reader](path)
    assert "\n" not in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize("form", YAML)
def test_configurations(form, cli_bench, checkout, capsys, marker):
    content = YAML[form](marker)
    Path("bad.yaml").write_bytes(content)
    Path("outer.yaml").write_text(yaml.safe_dump({"data": "bad.yaml"}))
    for options in (
        ["--config", "bad.yaml"],
        ["--config", "outer.yaml"],
        ["--data=bad.yaml"],
        [f"--model={content!r}"],
    ):
        with pytest.raises(SystemExit) as caught:
            realign("fit", "--config", REWARD, *cli_bench.options(REWARD, "fit"), *options)
        assert caught.value.code == 2
        one_error_line(capsys)
        assert not marker.exists()


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle", "object array"])
@pytest.mark.parametrize("place", ["given", "last", "hpc"])
def test_checkpoints_to_go_on_from(place, form, cli_bench, checkout, capsys, marker):
    folder = Path("runs/reward/mocap")
    path = {"given": Path("bad.ckpt"), "last": folder / "last.ckpt", "hpc": folder / "hpc_ckpt_1.ckpt"}[place]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(BINARY[form](marker))
    options = ["--ckpt_path", "bad.ckpt" if place == "given" else place]
    root = [f"--trainer.default_root_dir={folder}"] if place == "hpc" else []
    with pytest.raises(SystemExit) as caught:
        realign("fit", "--config", REWARD, *cli_bench.options(REWARD, "fit"), *options, *root)
    assert caught.value.code == 2
    assert "ckpt" in one_error_line(capsys)
    assert not marker.exists()


@pytest.mark.parametrize("url", ["https://127.0.0.1:9/a.ckpt", "http://127.0.0.1:9/a.ckpt", "s3://a/b.ckpt"])
def test_checkpoints_are_not_read_from_elsewhere(url, cli_bench, checkout, capsys):
    with pytest.raises(SystemExit):
        realign("fit", "--config", REWARD, *cli_bench.options(REWARD, "fit"), "--ckpt_path", url)
    assert "download it" in one_error_line(capsys)


@pytest.mark.parametrize("form", TORCH)
def test_tools(form, cli_bench, tmp_path, capsys, marker):
    bad, good = tmp_path / "bad.ckpt", cli_bench.generator["humanml3d"]
    bad.write_bytes(TORCH[form](marker))
    out = ["--out", str(tmp_path / "out")]
    guided = ["--reward.path", str(bad), "--guidance.mu", "1"]
    for call in (
        ["generate", "a person walks", "--generator.path", str(bad), *out],
        ["generate", "a person walks", "--generator.path", str(good), *guided, *out],
        ["export-model", str(bad), *out],
    ):
        with pytest.raises(SystemExit) as caught:
            main(call)
        assert caught.value.code == 2
        assert str(bad) in one_error_line(capsys)
        assert not marker.exists()


@pytest.mark.parametrize("form", TORCH)
def test_convert_keeps_tensors_and_runs_nothing(form, tmp_path, marker):
    (tmp_path / "bad.ckpt").write_bytes(TORCH[form](marker))
    convert(tmp_path / "bad.ckpt", tmp_path / "good.safetensors")
    assert not marker.exists()
    kept = load_file(tmp_path / "good.safetensors")
    assert kept and all((value == 1).all() for value in kept.values())
    with safe_open(tmp_path / "good.safetensors", "pt") as file:
        assert file.metadata()["source"] == "bad.ckpt"


@pytest.mark.parametrize(("form", "name"), [("pickle", "a plain pickle"), ("object array", "a NumPy array")])
def test_convert_refuses_what_torch_did_not_write_by_name(form, name, tmp_path, marker):
    (tmp_path / "bad.ckpt").write_bytes(BINARY[form](marker))
    with pytest.raises(CheckpointError, match=name):
        convert(tmp_path / "bad.ckpt", tmp_path / "good.safetensors")
    assert not marker.exists()
