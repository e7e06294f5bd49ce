"""A user's own skeleton from its YAML file to a picture: the file is only needed to build the data set."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_realign.__main__ import main
from lightning_realign.checkpoints.diffusion import load_diffusion
from lightning_realign.checkpoints.reward import load_reward
from lightning_realign.checkpoints.vae import load_vae
from lightning_realign.data import HumanML3DDataModule, OwnDataModule
from lightning_realign.data.check.doctor import examine
from lightning_realign.errors import CheckpointError, ConfigError, DataError, FeatureSpecError
from lightning_realign.motion import load_skeleton, recover_joints, skeleton_of_reference, skeleton_reference
from lightning_realign.motion.bvh.read import read_bvh
from lightning_realign.motion.kinematics import bone_lengths
from lightning_realign.training import DiffusionTraining, RewardTraining, VAETraining
from tests.helpers.bvh_files import bvh_text, swaying_rows
from tests.helpers.own_skeletons import STUDIO, write_spec
from tests.helpers.support import random_caption, random_joints, write_tiny_dataset
from tests.helpers.tiny_models import use_hashed_text
from tests.helpers.training_runs import DENOISER, REWARD, VAE, trainer

SPLITS = {"train": 16, "val": 4, "test": 4}


def write_joints(root, skeleton):
    random = np.random.default_rng(0)
    for folder in ("joints", "texts"):
        (root / folder).mkdir(parents=True)
    for split, count in SPLITS.items():
        names = [f"{split}{number}" for number in range(count)]
        (root / f"{split}.txt").write_text("\n".join(names) + "\n")
        for name in names:
            joints = random_joints(skeleton, int(random.integers(24, 60)), random)
            np.save(root / "joints" / f"{name}.npy", joints.float().numpy())
            (root / "texts" / f"{name}.txt").write_text(random_caption(random).line() + "\n")
    return root


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A data set of an own skeleton, whose source and spec are gone."""
    folder = tmp_path_factory.mktemp("own")
    spec = write_spec(folder / "studio.yaml", STUDIO)
    source = write_joints(folder / "source", load_skeleton(str(spec)))
    main(["data", "build", "--joints", str(source), "--skeleton", str(spec), "--out", str(folder / "made"), "--mirror"])
    shutil.rmtree(source)
    spec.unlink()
    return folder / "made"


@pytest.fixture(scope="module")
def checkpoints(made, tmp_path_factory):
    """VAE, reward model and generator, trained for a few steps; far from the data set."""
    folder = tmp_path_factory.mktemp("checkpoints")
    spec = str(made / "skeleton.yaml")
    with pytest.MonkeyPatch.context() as patch:
        use_hashed_text(patch, tmp_path_factory.mktemp("hashed"))
        paths = {kind: str(folder / f"{kind}.ckpt") for kind in ("vae", "reward", "generator")}
        modules = {
            "vae": lambda: VAETraining(skeleton=spec, network=VAE),
            "reward": lambda: RewardTraining(skeleton=spec, network=REWARD, noise={"validation_timesteps": (0,)}),
            "generator": lambda: DiffusionTraining(skeleton=spec, vae=paths["vae"], denoiser=DENOISER),
        }
        for kind, make in modules.items():
            fitted = trainer(folder, max_steps=3, max_epochs=None, limit_val_batches=1)
            fitted.fit(make(), datamodule=OwnDataModule(made, batch_size=8))
            fitted.save_checkpoint(paths[kind])
        yield paths


def test_the_data_set_carries_its_spec(made):
    metadata = json.loads((made / "metadata.json").read_text())
    assert (metadata["skeleton"], metadata["fps"], metadata["unit"]) == ("studio", 30.0, "metre")
    data = OwnDataModule(made, batch_size=4)
    data.setup()
    assert data.skeleton.name == "studio" and data.skeleton.joints == tuple(STUDIO["joints"])
    batch = next(iter(data.train_dataloader()))
    assert batch.motion.shape[2] == data.skeleton.num_features == 131
    joints = recover_joints(batch.motion[0, : int(batch.lengths[0])], data.skeleton)
    lengths = bone_lengths(joints, data.skeleton)
    torch.testing.assert_close(lengths, data.skeleton.lengths(lengths).expand_as(lengths), atol=1e-4, rtol=0)
    before = data.fingerprint
    spec = made / "skeleton.yaml"
    text = spec.read_text()
    spec.write_text(text.replace("contact_threshold: 0.001", "contact_threshold: 0.01"))
    assert OwnDataModule(made).fingerprint != before
    spec.write_text(text)


def test_tools_take_the_skeleton_from_the_data_set(made, tmp_path, capsys):
    copy = shutil.copytree(made, tmp_path / "copy")
    checkup = examine(copy)
    assert checkup.skeleton == "studio"
    assert not [finding for finding in checkup.findings if finding.severity == "error"]
    main(["data", "pack", str(copy)])
    packed = OwnDataModule(copy, batch_size=4)
    batch, plain = (
        next(iter(data.test_dataloader()))
        for data in (packed, OwnDataModule(made, batch_size=4))
        if data.setup() is None
    )
    assert torch.equal(batch.motion, plain.motion)
    main(["export", str(copy / "new_joint_vecs" / "test1.npy"), "--out", str(tmp_path / "test1.bvh")])
    assert sorted(read_bvh(tmp_path / "test1.bvh").joints) == sorted(STUDIO["joints"])


def test_own_data_modules_read_shipped_skeletons_too(tmp_path):
    data = OwnDataModule(write_tiny_dataset(tmp_path / "kit", "kit", train=3, val=1, test=1))
    assert data.skeleton == load_skeleton("kit") and not (data.root / "skeleton.yaml").exists()


def test_checkpoints_are_self_contained(made, checkpoints, monkeypatch, tmp_path):
    spec = OwnDataModule(made).skeleton
    text = (made / "skeleton.yaml").read_text()
    (made / "skeleton.yaml").unlink()
    try:
        for load, kind in ((load_vae, "vae"), (load_reward, "reward"), (load_diffusion, "generator")):
            assert skeleton_of_reference(load(checkpoints[kind]).skeleton) == spec
        again = VAETraining.load_from_checkpoint(checkpoints["vae"], weights_only=True)
        assert again.skeleton == spec
    finally:
        (made / "skeleton.yaml").write_text(text)


def test_generate_render_and_export_need_only_checkpoints(checkpoints, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = ["--reward.path", checkpoints["reward"], "--guidance.mu", "1", "--sampling.steps", "2", "--seconds", "1"]
    main(["generate", "a person walks", "--generator.path", checkpoints["generator"], "--out", "made", *settings])
    (file,) = (tmp_path / "made").glob("*.npz")
    with np.load(file, allow_pickle=False) as content:
        joints, skeleton = content["joints"], skeleton_of_reference(str(content["skeleton"]))
        assert float(content["fps"]) == 30.0
    assert joints.shape == (32, 11, 3) and skeleton.name == "studio"
    main(["render", str(file), "--out", "strip.png"])
    with Image.open(tmp_path / "strip.png") as strip:
        colours = {colour for _, colour in strip.convert("RGB").getcolors(1 << 24)}
    assert len(colours) > 10
    main(["export", str(file), "--out", "made.bvh"])
    motion = read_bvh(tmp_path / "made.bvh")
    assert len(motion.positions) == 32 and sorted(motion.joints) == sorted(skeleton.joints)


def test_another_spec_of_the_same_name_is_refused(made, checkpoints, tmp_path):
    other = write_spec(tmp_path / "studio.yaml", STUDIO | {"contact_threshold": 0.5})
    model = VAETraining(skeleton=str(other), network=VAE)
    with pytest.raises(FeatureSpecError, match=r"is for skeleton 'studio#\w{8}', the data set has 'studio#\w{8}'"):
        trainer(tmp_path).fit(model, datamodule=OwnDataModule(made))
    with pytest.raises(CheckpointError, match=r"is for skeleton 'studio#"):
        DiffusionTraining(skeleton=str(other), vae=checkpoints["vae"], denoiser=DENOISER).setup("fit")
    content = torch.load(checkpoints["vae"], weights_only=True)
    with pytest.raises(CheckpointError, match=r"has skeleton 'studio#\w{8}', expected 'studio#\w{8}'"):
        model.on_load_checkpoint(content)


def test_bvh_files_with_the_skeletons_own_names(tmp_path, capsys):
    spec = load_skeleton(str(write_spec(tmp_path / "studio.yaml", STUDIO)))
    folder = tmp_path / "recordings"
    folder.mkdir()
    offsets = 100 * np.array(spec.raw_offsets) * np.array(spec.target_lengths)[:, None]
    for number in range(5):
        rows = swaying_rows(60, spec.num_joints, number, height=90)
        text = bvh_text(spec.joints, spec.parents, offsets, rows, frame_time=1 / 60)
        (folder / f"m{number}.bvh").write_text(text)
    (folder / "captions.csv").write_text("name,caption\n" + "".join(f"m{n}.bvh,a person sways\n" for n in range(5)))
    common = ["data", "build", "--bvh", str(folder), "--skeleton", str(tmp_path / "studio.yaml")]
    main([*common, "--out", str(tmp_path / "made")])
    assert "mapping by the names of studio, 0.01 m per unit, y up" in capsys.readouterr().out
    assert OwnDataModule(tmp_path / "made").skeleton == spec
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text("joints:\n" + "".join(f"  {joint}: {joint}\n" for joint in spec.joints))
    main([*common, "--out", str(tmp_path / "mapped"), "--mapping", str(mapping)])
    for name in ("train", "val", "test"):
        (first, *_) = (tmp_path / "made" / f"{name}.txt").read_text().split()
        arrays = [np.load(tmp_path / out / "new_joint_vecs" / f"{first}.npy") for out in ("made", "mapped")]
        assert np.array_equal(*arrays) and arrays[0].shape == (29, 131)


def test_mistakes_are_named(made, tmp_path, capsys):
    with pytest.raises(DataError, match=r"HumanML3DDataModule.root: .*says skeleton 'studio'"):
        HumanML3DDataModule(made).setup()
    with pytest.raises(DataError, match=r"OwnDataModule.root: .*nothing is not a folder"):
        OwnDataModule(tmp_path / "nothing")
    lacking = shutil.copytree(made, tmp_path / "lacking")
    (lacking / "skeleton.yaml").unlink()
    with pytest.raises(DataError, match=r"OwnDataModule.root: .*skeleton is 'studio'; choose one .* put its spec into"):
        OwnDataModule(lacking)
    write_spec(lacking / "skeleton.yaml", STUDIO | {"name": "other"})
    with pytest.raises(DataError, match=r"name is 'other', metadata.json says 'studio'; put the right spec there"):
        OwnDataModule(lacking)
    write_spec(lacking / "skeleton.yaml", STUDIO | {"unit": "cm"})
    with pytest.raises(DataError, match=r"skeleton.yaml: unit is 'cm'; write metre"):
        OwnDataModule(lacking)


def test_synthetic_motions_are_for_the_shipped_skeletons(tmp_path):
    from lightning_realign.data.synthetic import make_dataset
    from lightning_realign.data.synthetic.oracle import recognise

    spec = write_spec(tmp_path / "studio.yaml", STUDIO)
    message = "skeleton is 'studio'; synthetic motions and their oracle are for humanml3d and kit alone"
    with pytest.raises(ConfigError, match=message):
        make_dataset(tmp_path / "out", str(spec))
    with pytest.raises(ConfigError, match=message):
        recognise(torch.zeros(9, 11, 3), load_skeleton(str(spec)))
    assert skeleton_reference(load_skeleton(str(spec))).startswith('{"name":"studio"')
