"""Wrong input gets one line on standard error and exit code 2, and leaves no results."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_realign.checkpoints.entry import SPEC_KEY
from tests.helpers.cli_bench import TINY_REWARD, changed, files_in, one_error_line, realign

REWARD, GUIDED = "configs/reward/mocap.yaml", "configs/guided/mocap.yaml"
RESULTS = {".ckpt", ".npz", ".csv", ".json"}


@pytest.fixture
def refused(cli_bench, checkout, capsys):
    """Run `train.py` on tiny data with further options, expecting a refusal; its line without `error: `."""

    def run(stage, config, *options):
        before = files_in(checkout)
        with pytest.raises(SystemExit) as caught:
            realign(stage, "--config", config, *cli_bench.options(config, stage), *options)
        assert caught.value.code == 2
        left = {name for name in files_in(checkout) - before if Path(name).suffix in RESULTS}
        assert not left
        return one_error_line(capsys).removeprefix("error: ")

    return run


def spoil_motions(root, split, change):
    """Change the motions of a split in place."""
    for name in (root / f"{split}.txt").read_text().split():
        path = root / "new_joint_vecs" / f"{name}.npy"
        np.save(path, change(np.load(path)))


def with_nan(motion):
    motion[3] = np.nan
    return motion


@pytest.fixture
def data(cli_bench, tmp_path_factory):
    return changed(cli_bench.data["humanml3d"], tmp_path_factory.mktemp("spoilt") / "set")


def test_missing_folder(refused):
    assert "HumanML3DDataModule.root: nowhere is not a folder" in refused(
        "fit", REWARD, "--data.init_args.root=nowhere"
    )


def test_empty_split(refused, data):
    (data / "val.txt").write_text("\n")
    assert f"{data / 'val.txt'}: the split list is empty" in refused("fit", REWARD, f"--data.init_args.root={data}")


def test_only_broken_motions(refused, data):
    spoil_motions(data, "test", with_nan)
    message = refused("predict", GUIDED, f"--data.init_args.root={data}")
    assert "none of 8 listed motions" in message and "NaN" in message


@pytest.mark.parametrize("change", [with_nan, lambda motion: motion[:, :-1]], ids=["NaN", "misshapen"])
def test_some_broken_motions_are_left_out_and_counted(change, data, cli_bench, checkout, caplog):
    names = (data / "test.txt").read_text().split()
    (data / "bad.txt").write_text(names[0])
    spoil_motions(data, "bad", change)
    options = [*cli_bench.options(GUIDED, "predict"), "--trainer.limit_predict_batches=1.0"]
    run = realign("predict", "--config", GUIDED, *options, f"--data.init_args.root={data}")
    assert [entry.id for entry in run.datamodule.left_out["test"]] == names[:1]
    assert "1 of 8 listed motions left out (1 unreadable)" in caplog.text
    motions = Path("runs/guided/mocap/motions")
    assert {path.stem for path in motions.glob("*.npz")} == set(names[1:])


def test_caption_without_tokens(refused, data):
    name = (data / "train.txt").read_text().split()[0]
    (data / "texts" / f"{name}.txt").write_text("a person walks##0.0#0.0\n")
    message = refused("fit", REWARD, f"--data.init_args.root={data}")
    assert f"{name}.txt, line 1: caption 'a person walks' has no tokens" in message


@pytest.mark.parametrize(
    ("content", "fragments"),
    [
        ("trainr: {max_epochs: 1}", ["'trainr.max_epochs'"]),
        ("trainer: {max_epoch: 1}", ["max_epoch"]),
        ("model: {init_args: {omga: 0.5}}", ["RewardTraining", "'omga'"]),
        ("model: {init_args: {network: {wdth: 3}}}", ["RewardTraining", "'network'", "'wdth'"]),
        ("model: {init_args: {noise: {omega: high}}}", ["RewardTraining", "omega: expected float, not high"]),
        ("model: {init_args: {noise: {omega: 2}}}", ["noise omega is 2.0; set it between 0 and 1"]),
        (
            "model: {class_path: lightning_realign.training.Reward}",
            ["lightning_realign.training.Reward", "no attribute"],
        ),
        ("trainer: {max_epochs: many}", ["trainer.max_epochs", "int", "many"]),
        ("data: {init_args: {batch_size: 0}}", ["HumanML3DDataModule.batch_size is 0"]),
        ("model: [", ["more.yaml", "not valid YAML", "line 1"]),
    ],
)
def test_wrong_configuration(content, fragments, refused, checkout):
    (checkout / "more.yaml").write_text(content)
    message = refused("fit", REWARD, "--config", "more.yaml")
    assert all(fragment in message for fragment in fragments), message
    assert "Union" not in message and "<class" not in message and "Given value" not in message


@pytest.mark.parametrize(
    ("option", "fragment"),
    [
        ("--model.init_args.omga=1", "RewardTraining: Option 'omga' is not accepted"),
        ("--omga=1", "unrecognized arguments: --omga=1"),
        ("--trainer.max_epoch=1", "unrecognized arguments: --trainer.max_epoch=1"),
        ("--model.init_args.loss.reconstruct=dirty", "reconstruct: expected Literal['clean', 'noisy'], not dirty"),
        ("--config=nowhere.yaml", "nowhere.yaml"),
    ],
)
def test_wrong_option(option, fragment, refused):
    assert fragment in refused("fit", REWARD, option)


def test_networks_and_data_of_two_skeletons(refused, cli_bench):
    kit = [f"--model.init_args.{kind}.path={getattr(cli_bench, kind)['kit']}" for kind in ("generator", "reward")]
    assert "reward model is for skeleton 'kit'" in refused("predict", GUIDED, kit[1])
    assert "generator is for skeleton 'kit'" in refused("predict", GUIDED, *kit)
    root = f"--data.init_args.root={cli_bench.data['kit']}"
    assert "metadata.json says skeleton 'kit'" in refused("fit", REWARD, root)
    message = refused("fit", REWARD, "--data=lightning_realign.data.KITMLDataModule", root)
    assert "RewardTraining is for skeleton 'humanml3d', the data set has 'kit'" in message


def test_guided_settings_that_contradict_each_other(refused):
    assert "reward path is not set, but mu=30.0" in refused("predict", GUIDED, "--model.init_args.reward.path=null")
    assert "scale='posterior'" in refused("predict", GUIDED, "--model.init_args.guidance.scale=posterior")
    assert "training_step" in refused("fit", GUIDED)


class Payload:
    """Touches a file where it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("unpickled",)


def write_wrong(kind, folder, bench):
    path = folder / f"{kind}.ckpt"
    if kind == "malicious":
        torch.save({"state_dict": {}, SPEC_KEY: Payload()}, path)
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(Payload()))
    elif kind == "damaged":
        path.write_bytes(bench.generator["humanml3d"].read_bytes()[:5000])
    elif kind == "foreign":
        torch.save({"state_dict": {}}, path)
    return path


@pytest.mark.parametrize(
    ("kind", "fragment"),
    [
        ("missing", "no such checkpoint file"),
        ("malicious", "refused unread"),
        ("pickle", "refused unread"),
        ("damaged", "damaged"),
        ("foreign", "no checkpoint of"),
    ],
)
def test_checkpoints_that_cannot_be_used(kind, fragment, refused, checkout, cli_bench):
    path = write_wrong(kind, checkout, cli_bench)
    for message in (
        refused("predict", GUIDED, f"--model.init_args.generator.path={path}"),
        refused("test", REWARD, "--ckpt_path", path),
    ):
        assert message.startswith(str(path)) and fragment in message
    assert not (checkout / "unpickled").exists()


def test_checkpoints_of_another_kind(refused, cli_bench, checkout):
    networks = {kind: getattr(cli_bench, kind)["humanml3d"] for kind in ("reward", "vae")}
    message = refused("predict", GUIDED, f"--model.init_args.generator.path={networks['reward']}")
    assert "is a 'reward' checkpoint, but a 'diffusion' or 'motion_diffusion' checkpoint is needed" in message
    message = refused("fit", "configs/generator/mld_mocap.yaml", f"--model.init_args.vae={networks['reward']}")
    assert "is a 'reward' checkpoint, but a 'vae' or 'diffusion' checkpoint is needed" in message
    realign("fit", "--config", REWARD, *cli_bench.options(REWARD, "fit"), *TINY_REWARD)
    trained = ["--ckpt_path", "runs/reward/mocap/last.ckpt"]
    assert "kind 'reward', expected 'vae'" in refused("test", "configs/generator/vae_mocap.yaml", *trained)
    assert "the configuration that the checkpoint was trained with" in refused("test", REWARD, *trained)
    assert "no checkpoint of its own" in refused("test", GUIDED, *trained)
