import argparse
import collections
import hashlib
import json
import os
import pickle
import sys
import types
import zipfile
from pathlib import PosixPath

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from safetensors import safe_open

from lightning_realign.__main__ import main
from lightning_realign.checkpoints.convert import convert
from lightning_realign.errors import CheckpointError
from lightning_realign.files.weights import read_weights
from tests.helpers.cli_bench import one_error_line


class Payload:
    """An object that runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


class Settings:
    """A class that the reader does not know."""

    def __init__(self):
        self.rate = 0.1
        self.tensor = torch.ones(2)


class Names(dict):
    pass


class Slots:
    __slots__ = ("value",)

    def __init__(self):
        self.value = 1


def weights():
    torch.manual_seed(0)
    base = torch.randn(6, 5)
    kinds = (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8)
    state = collections.OrderedDict(
        {
            "layer.weight": base,
            "layer.transposed": base.t(),
            "layer.part": base[2:4, 1:3],
            "layer.shared": base,
            "layer.parameter": torch.nn.Parameter(torch.randn(3)),
            "scalar": torch.tensor(3.5),
            "empty": torch.zeros(0, 4),
            "bytes": torch.arange(5, dtype=torch.uint8),
            "flags": torch.tensor([True, False]),
        }
    )
    state.update({str(kind): torch.arange(4).to(kind) for kind in kinds})
    state._metadata = {"": {"version": 1}}
    return state


def checkpoint():
    return {
        "state_dict": weights(),
        "epoch": 3,
        "settings": Settings(),
        "namespace": types.SimpleNamespace(a=1),
        "names": Names(a=1),
        "slots": Slots(),
        "counter": collections.Counter("abba"),
        "default": collections.defaultdict(list),
        "callback": os.path.join,
        "optimizer": {"state": {0: {"momentum": torch.ones(3)}}},
    }


def read(path):
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_weights_survive_and_objects_do_not(tmp_path, zipped, protocol):
    source = tmp_path / "old.ckpt"
    torch.save(checkpoint(), source, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(source, weights_only=True)
    report = convert(source, tmp_path / "new.safetensors")
    tensors, header = read(tmp_path / "new.safetensors")
    wanted = weights()
    assert tensors.keys() == wanted.keys()
    for name, value in wanted.items():
        assert tensors[name].dtype == value.dtype
        assert torch.equal(tensors[name], value.detach())
    assert report.kept == int(header["kept"]) == len(wanted)
    dropped = json.loads(header["dropped"])
    assert dropped == report.dropped
    assert dropped[f"{__name__}.Settings"] == dropped["types.SimpleNamespace"] == dropped["int"] == 1
    assert len(header["source_sha256"]) == 64
    assert not list(tmp_path.glob(".new*"))


def test_nested_dictionaries_become_dotted_names(tmp_path):
    torch.save(
        {"model": {"a": {"b": torch.ones(1)}, 2: torch.zeros(1)}, "x": Settings(), "l": [torch.ones(1)]},
        tmp_path / "a.pt",
    )
    convert(tmp_path / "a.pt", tmp_path / "a.safetensors")
    tensors, header = read(tmp_path / "a.safetensors")
    assert sorted(tensors) == ["model.2", "model.a.b"]
    assert json.loads(header["dropped"]) == {"list": 1, f"{__name__}.Settings": 1}


class WordVectorizer:
    """A data module's helper, of a module that is not there when the file is read."""

    def __init__(self):
        self.table = np.ones((3, 2))


def published(kind):
    """Look-alikes of public files: what they hold beside weights, and the names that their weights get."""
    weight = {"net.weight": torch.arange(6.0).reshape(2, 3)}
    if kind == "mld":  # Lightning's checkpoint with a data module's hyper-parameters
        config = OmegaConf.create({"TRAIN": {"BATCH_SIZE": 64}, "DATASET": {"ROOT": "${oc.env:HOME}"}})
        hidden = {"cfg": config, "mean": np.zeros(3), "std": np.float64(2), "w": WordVectorizer(), "f": os.path.join}
        content = {"state_dict": weight, "hyper_parameters": hidden, "datamodule_hyper_parameters": hidden}
        return content | {"epoch": 3, "path": PosixPath("a")}, ""
    if kind == "motiondiffuse":
        network = torch.nn.Linear(3, 2)
        optimiser = torch.optim.Adam(network.parameters())
        network(torch.ones(1, 3)).sum().backward()
        optimiser.step()
        counters = {"ep": np.int64(3), "total_it": np.float32(7), "opt": argparse.Namespace(lr=np.array([1e-4]))}
        return {"encoder": weight, "opt_encoder": optimiser.state_dict(), **counters}, "encoder."
    return {"movement_encoder": weight, "motion_encoder": weight, "epoch": np.int64(215)}, "movement_encoder."


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(("kind", "name"), [("mld", "a.ckpt"), ("motiondiffuse", "latest.tar"), ("guo", "finest.tar")])
def test_public_files_become_what_their_adapters_read(tmp_path, kind, name, zipped, monkeypatch):
    content, prefix = published(kind)
    torch.save(content, tmp_path / name, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match="python -m lightning_realign convert"):
        read_weights(tmp_path / name, "state_dict", "encoder")
    monkeypatch.delattr(sys.modules[__name__], "WordVectorizer")
    convert(tmp_path / name, tmp_path / "new.safetensors")
    tensors, header = read(tmp_path / "new.safetensors")
    assert torch.equal(tensors[f"{prefix}net.weight"], torch.arange(6.0).reshape(2, 3))
    assert header["source"] == name
    assert header["source_sha256"] == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    weights = read_weights(tmp_path / "new.safetensors", "state_dict", "encoder", "movement_encoder")
    assert list(weights) == ["net.weight"]


def numpy_file(path, name):
    if name == "array":
        with path.open("wb") as file:
            np.save(file, np.ones(3))
    elif name == "archive":
        np.savez(path, a=np.ones(3))
        path.with_name(f"{path.name}.npz").rename(path)
    else:
        path.write_bytes(pickle.dumps({"a": np.ones(3)}))


@pytest.mark.parametrize(
    ("name", "said"), [("array", "a NumPy array"), ("archive", "a NumPy archive"), ("pickle", "a plain pickle")]
)
def test_files_of_numpy_are_refused_by_name(tmp_path, name, said):
    numpy_file(tmp_path / "cache.bin", name)
    with pytest.raises(CheckpointError, match=f"cache.bin: is {said}: give a file that torch.save wrote"):
        convert(tmp_path / "cache.bin", tmp_path / "out.safetensors")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_payload_never_runs(tmp_path, zipped):
    armed, source = tmp_path / "armed", tmp_path / "bad.ckpt"
    content = {"state_dict": {"weight": torch.ones(2), "bomb": Payload(armed)}, "bomb": Payload(armed)}
    torch.save(content, source, _use_new_zipfile_serialization=zipped)
    convert(source, tmp_path / "good.safetensors")
    assert not armed.exists()
    tensors, header = read(tmp_path / "good.safetensors")
    assert list(tensors) == ["weight"]
    assert json.loads(header["dropped"]) == {f"{os.system.__module__}.system": 2}
    # The proof that the payload works: reading the file in the ordinary way runs it.
    torch.load(source, weights_only=False)
    assert armed.exists()


ATTACKS = {
    "plain pickle": lambda path: pickle.dumps(Payload(path)),
    "dotted name": lambda path: b"\x80\x04\x8c\x0btorch._utils\x8c\x17_rebuild_tensor.__self__\x93.",
    "persistent id": lambda path: b"\x80\x02X\x01\x00\x00\x00xQ.",
    "setattr on a rebuilder": lambda path: (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}X\x04\x00\x00\x00nameK\x01s\x86b."
    ),
    "extension": lambda path: b"\x80\x02\x82\x01.",
    "build on a class": lambda path: b"\x80\x02ccollections\nOrderedDict\n}X\x03\x00\x00\x00getK\x01sb.",
    "self-containing": lambda path: b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01h\x00s.",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_hostile_pickles_are_refused(tmp_path, attack):
    armed, source = tmp_path / "armed", tmp_path / "bad.pt"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("bad/data.pkl", ATTACKS[attack](armed))
        archive.writestr("bad/version", "3")
    with pytest.raises(CheckpointError) as caught:
        convert(source, tmp_path / "out.safetensors")
    assert "\n" not in str(caught.value)
    assert str(source) in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.pt"]


class Record:
    """Pickles as a call of torch's own rebuilder with false sizes."""

    def __init__(self, storage, *args):
        self.storage, self.args = storage, args

    def __reduce__(self):
        return torch._utils._rebuild_tensor_v2, (self.storage, *self.args, False, collections.OrderedDict())


@pytest.mark.parametrize(
    "args",
    [(0, (9,), (1,)), (3, (2,), (1,)), (-1, (2,), (1,)), (0, (10**12,), (0,)), (0, (2, 2), (1,)), (0, "ab", (1, 1))],
)
def test_tensors_stay_within_their_storage(tmp_path, args):
    storage = torch.arange(4.0).storage()
    torch.save({"weight": Record(storage, *args)}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="does not fit its storage"):
        convert(tmp_path / "a.pt", tmp_path / "a.safetensors")


def not_torch(tmp_path):
    good = tmp_path / "good.pt"
    torch.save(weights(), good)
    legacy = tmp_path / "legacy.pt"
    torch.save(weights(), legacy, _use_new_zipfile_serialization=False)
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "script.pt")
    return {
        "text": b"hello\n",
        "empty": b"",
        "pickle": pickle.dumps({"a": 1}),
        "cut zip": good.read_bytes()[:-200],
        "cut legacy": legacy.read_bytes()[:-20],
        "script": (tmp_path / "script.pt").read_bytes(),
    }


@pytest.mark.parametrize("kind", ["text", "empty", "pickle", "cut zip", "cut legacy", "script"])
def test_other_files_are_refused_in_one_line(tmp_path, kind, capsys):
    source = tmp_path / "file.bin"
    source.write_bytes(not_torch(tmp_path)[kind])
    with pytest.raises(SystemExit) as caught:
        main(["convert", str(source), "--out", str(tmp_path / "out.safetensors")])
    assert caught.value.code == 2
    assert str(source) in one_error_line(capsys)
    assert not (tmp_path / "out.safetensors").exists()


def test_command(tmp_path, capsys):
    torch.save(checkpoint(), tmp_path / "a.ckpt")
    main(["convert", str(tmp_path / "a.ckpt"), "--out", str(tmp_path / "a.safetensors")])
    assert "a.safetensors: 16 tensors; dropped" in capsys.readouterr().out
    for args, message in (("none.ckpt --out a.safetensors", "no such file"), ("a.ckpt --out a.bin", "no .safetensors")):
        with pytest.raises(SystemExit):
            main(["convert", *args.split()])
        assert message in one_error_line(capsys)
