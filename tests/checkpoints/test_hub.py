"""Models as folders and on the Hub: nothing is lost, they stand wherever a checkpoint does, and mistakes get a line."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch

from lightning_realign.__main__ import main
from lightning_realign.checkpoints import folder as model_folder
from lightning_realign.checkpoints.entry import SPEC_KEY, read_resumable
from lightning_realign.checkpoints.folder import checkpoint_sha256, located
from lightning_realign.checkpoints.hub import PRETRAINED, PretrainedReward, PretrainedVAE, export_model
from lightning_realign.checkpoints.reward import load_reward
from lightning_realign.checkpoints.vae import load_vae
from lightning_realign.data.datamodule import HumanML3DDataModule
from lightning_realign.errors import CheckpointError, ConfigError
from lightning_realign.evaluation.judges import load_evaluator
from lightning_realign.evaluation.provenance import provenance
from lightning_realign.generators import load_generator
from lightning_realign.sweep.inputs import files_behind
from tests.helpers.cli_bench import ROOT, one_error_line, realign
from tests.helpers.every_kind import LOADERS, checkpoint, write

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(params=sorted(PRETRAINED))
def kind(request):
    return request.param


def export(folder, kind):
    """A tiny model of a kind as a folder."""
    return export_model(write(folder / f"{kind}.ckpt", kind), folder / kind)


@pytest.fixture
def model(kind, tmp_path):
    return export(tmp_path, kind)


def weights_of(bundle):
    return {f"{name}.{key}": value for name, part in bundle.modules.items() for key, value in part.state_dict().items()}


def values_of(bundle):
    """All that is no network."""
    return {field.name: getattr(bundle, field.name) for field in dataclasses.fields(bundle)} | dict.fromkeys(
        ("latents", "space", "network", "denoiser", "normaliser", "vocabulary")
    )


def assert_same(one, other):
    mine, theirs = weights_of(one), weights_of(other)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[key]) for key, value in mine.items())
    assert values_of(one) == values_of(other)


def test_every_kind_has_a_class():
    assert PRETRAINED.keys() == LOADERS.keys()


def test_a_folder_gives_back_the_checkpoint(kind, model, tmp_path):
    file = tmp_path / f"{kind}.ckpt"
    loaded = PRETRAINED[kind].from_pretrained(model)
    assert_same(loaded, LOADERS[kind](file))
    assert_same(LOADERS[kind](model), loaded)
    assert isinstance(loaded, type(LOADERS[kind](file)))
    assert not any(part.training or any(p.requires_grad for p in part.parameters()) for part in loaded.modules.values())
    saved = checkpoint(kind)
    assert json.loads((model / "config.json").read_text()) == {"format_version": 1, SPEC_KEY: saved[SPEC_KEY]}
    assert weights_of(loaded).keys() == saved["state_dict"].keys()
    assert {path.name for path in model.iterdir()} == {"config.json", "model.safetensors", "README.md"}


@pytest.mark.parametrize("space", ["motion", "latent", "decoded"])
def test_rewards_give_the_same_output_and_keep_what_they_share(space, tmp_path):
    torch.save(checkpoint("reward", space), tmp_path / "last.ckpt")
    before = load_reward(tmp_path / "last.ckpt")
    PretrainedReward.of(before).save_pretrained(tmp_path / "model")
    after = PretrainedReward.from_pretrained(tmp_path / "model")
    assert after.network.motion_encoder.norm is after.network.text_encoder.norm
    motion, lengths, t = torch.randn(2, 9, 263), torch.tensor([9, 5]), torch.tensor([0, 40])
    assert torch.equal(before.embed(motion, lengths), after.embed(motion, lengths))
    seen = before.space.view(before.space.clean(motion, lengths), lengths)
    outputs = [one.network.encode_motion(seen, one.space.read_lengths(lengths), t) for one in (before, after)]
    assert torch.equal(outputs[0].mean, outputs[1].mean)
    assert torch.equal(outputs[0].logvar, outputs[1].logvar)


def test_a_published_reward_is_not_saved_as_ours(tmp_path):
    bundle = dataclasses.replace(load_reward(write(tmp_path / "last.ckpt", "reward")), index_tokens=True)
    with pytest.raises(ConfigError, match="published"):
        PretrainedReward.of(bundle).save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model" / "config.json").exists()


def test_the_card_says_what_the_entry_says(kind, model):
    card = huggingface_hub.ModelCard.load(model / "README.md")
    spec = checkpoint(kind)[SPEC_KEY]
    assert card.data.library_name == "lightning_realign"
    assert kind in card.data.tags
    for name in ("kind", "skeleton", "fingerprint", "text_encoder"):
        assert name not in spec or f"| {spec[name]} |" in card.text
    assert PRETRAINED[kind].__name__ in card.text


def test_folders_stand_wherever_a_checkpoint_does(tmp_path):
    motion, lengths = torch.randn(1, 8, 263), torch.tensor([8])
    for kind in ("diffusion", "motion_diffusion"):
        generators = [load_generator(path) for path in (export(tmp_path, kind), tmp_path / f"{kind}.ckpt")]
        state = torch.randn(1, *generators[0].noise_shape(8))
        assert torch.equal(*(generator.features(state, lengths) for generator in generators))
    for name, kind in (("guo", "evaluator"), ("tmr", "reward")):
        judges = [load_evaluator(name, path) for path in (export(tmp_path, kind), tmp_path / f"{kind}.ckpt")]
        assert torch.equal(*(judge.embed_motion(motion, lengths) for judge in judges))


def test_guided_generation_from_addresses_is_that_from_files(hub, cli_bench, checkout):
    common = ["generate", "a person walks", "--sampling.steps", "2", "--seconds", "1", "--guidance.mu", "5"]
    made = []
    for form in ("file", "hub"):
        paths = {}
        for kind in ("generator", "reward"):
            paths[kind] = str(getattr(cli_bench, kind)["humanml3d"])
            if form == "hub":
                hub.add(export_model(Path(paths[kind]), checkout / kind), f"owner/{kind}")
                paths[kind] = f"hf://owner/{kind}"
        sources = ["--generator.path", paths["generator"], "--reward.path", paths["reward"]]
        main([*common, *sources, "--out", str(checkout / form)])
        with np.load(next((checkout / form).glob("*.npz")), allow_pickle=False) as content:
            made.append(dict(content))
    assert np.array_equal(made[0]["joints"], made[1]["joints"])


def test_configurations_take_folders_and_addresses(hub, cli_bench, checkout):
    hub.add(export_model(cli_bench.vae["humanml3d"], checkout / "vae"), "owner/vae")
    config = "configs/generator/mld_synthetic.yaml"
    for vae in ("vae", "hf://owner/vae"):
        run = realign("fit", "--config", config, *cli_bench.options(config, "fit"), f"--model.init_args.vae={vae}")
        assert torch.equal(
            run.model.latents.vae.skel_embedding.weight, load_vae("vae").network.skel_embedding.weight
        ), vae


def test_a_sweep_notices_another_model_in_a_folder(tmp_path):
    folder = export(tmp_path, "vae")
    argument = [f"--model.init_args.vae={folder}"]
    before = files_behind(argument)
    assert files_behind(argument) == before
    (folder / "config.json").write_text("{}")
    assert files_behind(argument) != before
    assert files_behind(["fit"]) == []


def test_receipts_name_the_commit(hub, cli_bench, tmp_path):
    folder = hub.add(export(tmp_path, "reward"), "owner/reward")
    data = HumanML3DDataModule(cli_bench.data["humanml3d"])
    data.setup("validate")
    said = provenance(data, "val", {"reward": "hf://owner/reward", "generator": str(tmp_path / "reward.ckpt")})["files"]
    digest = checkpoint_sha256(folder)
    assert said["reward"] == {"path": "hf://owner/reward", "sha256": digest, "revision": COMMIT}
    assert "revision" not in said["generator"]


def test_export_of_a_folder_is_a_copy(kind, model, tmp_path):
    again = export_model(model, tmp_path / "again")
    for name in ("config.json", "model.safetensors", "README.md"):
        assert (again / name).read_bytes() == (model / name).read_bytes()


def test_command(tmp_path, capsys):
    file = write(tmp_path / "last.ckpt", "vae")
    main(["export-model", str(file), "--out", str(tmp_path / "vae")])
    assert capsys.readouterr().out.strip() == str(tmp_path / "vae")
    load_vae(tmp_path / "vae")
    for ckpt, out, message in (
        (file, tmp_path / "vae", "no empty folder"),
        (file, file, "no empty folder"),
        (tmp_path / "none", tmp_path / "new", "no such checkpoint"),
    ):
        with pytest.raises(SystemExit):
            main(["export-model", str(ckpt), "--out", str(out)])
        assert message in one_error_line(capsys)


def test_a_folder_is_no_training_to_go_on_from(tmp_path):
    for path in (export(tmp_path, "vae"), "hf://owner/name"):
        with pytest.raises(CheckpointError, match=r"give the \.ckpt file"):
            read_resumable(path)


class FakeHub:
    """Stands in for the Hub: a cache as huggingface_hub keeps it, and what it was asked for."""

    def __init__(self, cache, monkeypatch):
        self.cache, self.asked, self.offline = cache, [], False
        monkeypatch.setattr(huggingface_hub, "snapshot_download", self.download)
        model_folder._pinned.cache_clear()

    def add(self, model, repository, commit=COMMIT):
        folder = self.cache / f"models--{repository.replace('/', '--')}" / "snapshots" / commit
        shutil.copytree(model, folder)
        return folder

    def download(self, repository, *, revision, **options):
        self.asked.append((repository, revision))
        found = sorted((self.cache / f"models--{repository.replace('/', '--')}" / "snapshots").glob("*"))
        if self.offline or not found:
            raise huggingface_hub.errors.LocalEntryNotFoundError("cannot be found\nand more lines")
        return str(self.cache / found[-1].parent / (revision or found[-1].name))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    yield FakeHub(tmp_path / "hub", monkeypatch)
    model_folder._pinned.cache_clear()


@pytest.mark.parametrize("address", ["hf://owner/my-vae", f"hf://owner/my-vae@{COMMIT}"])
def test_addresses_stand_for_a_commit(hub, tmp_path, address):
    file = write(tmp_path / "last.ckpt", "vae")
    folder = hub.add(export_model(file, tmp_path / "vae"), "owner/my-vae")
    for path in (address, Path(address)):  # which has one slash less
        assert_same(load_vae(path), load_vae(file))
        assert located(path).revision == COMMIT
        assert checkpoint_sha256(Path(path)) == checkpoint_sha256(folder)
    assert_same(PretrainedVAE.from_pretrained(address), load_vae(file))
    assert len(hub.asked) == 1, "a process must not see two commits of one address"
    with pytest.raises(CheckpointError) as caught:
        load_reward(address)
    assert str(caught.value).startswith(f"hf://owner/my-vae@{COMMIT}: is a 'vae' checkpoint")


def test_from_pretrained_takes_names_as_the_mixin_does(hub, tmp_path, monkeypatch):
    file = write(tmp_path / "last.ckpt", "vae")
    hub.add(export_model(file, tmp_path / "vae"), "owner/vae", "a1")
    assert_same(PretrainedVAE.from_pretrained("owner/vae"), load_vae(file))
    assert_same(PretrainedVAE.from_pretrained("owner/vae", revision="a1"), load_vae(file))
    assert hub.asked == [("owner/vae", None), ("owner/vae", "a1")]
    shutil.copytree(tmp_path / "vae", tmp_path / "owner" / "vae")
    monkeypatch.chdir(tmp_path)
    PretrainedVAE.from_pretrained("owner/vae")
    assert len(hub.asked) == 2, "a folder of that name comes first"
    with pytest.raises(ConfigError, match="revision"):
        PretrainedVAE.from_pretrained(tmp_path / "vae", revision="main")


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_the_cache_of_huggingface_hub_is_read_without_a_network(tmp_path, revision):
    """The real thing: the folders that `snapshot_download` keeps."""
    repository = tmp_path / "cache" / "models--owner--vae"
    export_model(write(tmp_path / "last.ckpt", "vae"), repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    options = {"cache_dir": tmp_path / "cache", "local_files_only": revision != COMMIT}
    loaded = PretrainedVAE.from_pretrained("owner/vae", revision=revision, **options)
    assert_same(loaded, load_vae(tmp_path / "last.ckpt"))
    with pytest.raises(CheckpointError, match=r"hf://owner/other: cannot be downloaded"):
        PretrainedVAE.from_pretrained("owner/other", cache_dir=tmp_path / "cache", local_files_only=True)


@pytest.mark.parametrize(
    "address", ["hf://owner/none", "hf://owner", "hf://owner/name/more", "hf://owner/na me", "hf://owner/name@"]
)
def test_addresses_that_lead_nowhere_get_one_line(hub, address):
    for path in (address, Path(address)):
        with pytest.raises(CheckpointError) as caught:
            load_vae(path)
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith("hf:/")


def test_push_sends_the_folder(hub, tmp_path, monkeypatch):
    sent = {}

    def upload(self, *, repo_id, folder_path, **options):
        sent[repo_id] = sorted(path.name for path in Path(folder_path).iterdir())
        assert_same(load_vae(folder_path), load_vae(tmp_path / "last.ckpt"))

    answer = type("Answer", (), {"repo_id": "owner/vae"})
    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", lambda self, **options: answer)
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload)
    PretrainedVAE.of(load_vae(write(tmp_path / "last.ckpt", "vae"))).push_to_hub("owner/vae")
    assert sent == {"owner/vae": ["README.md", "config.json", "model.safetensors"]}


def test_nothing_else_imports_the_hub():
    code = "import sys, lightning_realign.checkpoints.folder; sys.exit('huggingface_hub' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0
