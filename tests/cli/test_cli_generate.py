"""From a prompt to a picture, in an empty folder: two checkpoints and no data set."""

import logging
import shutil

import numpy as np
import pytest
from PIL import Image

from lightning_realign.__main__ import main
from tests.helpers.cli_bench import files_in

PROMPT = "a person walks"


@pytest.fixture
def networks(cli_bench, tmp_path_factory, monkeypatch):
    """Copies of the checkpoints far from any data set; the current folder is empty."""
    folder = tmp_path_factory.mktemp("networks")
    monkeypatch.chdir(tmp_path_factory.mktemp("empty"))
    return {
        kind: shutil.copy(getattr(cli_bench, kind)["humanml3d"], folder / f"{kind}.ckpt")
        for kind in ("generator", "reward")
    }


def motion(folder):
    (file,) = folder.glob("*.npz")
    with np.load(file, allow_pickle=False) as content:
        return dict(content)


def test_prompts_become_motions_and_pictures(networks, tmp_path):
    common = [PROMPT, "--generator.path", str(networks["generator"]), "--sampling.steps", "3", "--seconds", "2"]
    main(["generate", *common, "--out", str(tmp_path / "plain")])
    guided = ["--reward.path", str(networks["reward"]), "--guidance.mu", "5", "--guidance.location", "x0"]
    main(["generate", *common, *guided, "--out", str(tmp_path / "guided")])
    plain, steered = motion(tmp_path / "plain"), motion(tmp_path / "guided")
    assert plain["joints"].shape == steered["joints"].shape == (40, 22, 3)
    assert str(plain["text"]) == PROMPT and float(steered["mu"]) == 5.0
    assert np.isnan(plain["rewards"]).all() and np.isfinite(steered["rewards"]).all()
    assert np.abs(plain["joints"] - steered["joints"]).max() > 1e-6
    files = [str(next((tmp_path / name).glob("*.npz"))) for name in ("plain", "guided")]
    for picture in ("pair.gif", "pair.png"):
        main(["render", *files, "--out", str(tmp_path / picture), "--titles", '["unguided", "guided"]'])
    with Image.open(tmp_path / "pair.gif") as animation:
        assert animation.n_frames > 10
    with Image.open(tmp_path / "pair.png") as strip:
        assert strip.width > strip.height > 100
    assert {name.split("/")[0] for name in files_in(tmp_path)} == {"plain", "guided", "pair.gif", "pair.png"}


def test_results_may_go_below_the_empty_folder(networks, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fast = ["--generator.path", str(networks["generator"]), "--sampling.steps", "2"]
    main(["generate", PROMPT, "a person jumps", *fast, "--out", "out"])
    assert len(files_in(tmp_path)) == 2 and all(name.startswith("out/a-person-") for name in files_in(tmp_path))


def test_a_reward_guides_as_its_folder_remembers(networks, tmp_path, capsys, caplog):
    folder = str(tmp_path / "reward")
    suits = ["--guidance.mu", "4", "--guidance.scale", "constant", "--guidance.location", "x0", "--steps", "3"]
    main(["export-model", str(networks["reward"]), "--out", folder, *suits])
    with pytest.raises(SystemExit):
        main(["export-model", str(networks["reward"]), "--out", str(tmp_path / "none"), *suits[2:]])
    assert "guidance scale='constant', location='x0' without mu" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()

    def made(name, *words):
        common = [PROMPT, "--model", str(networks["generator"]), "--seconds", "1", "--out", str(tmp_path / name)]
        caplog.clear()
        with caplog.at_level(logging.INFO):
            main(["generate", *common, *words])
        return motion(tmp_path / name), caplog.text

    guided, told = made("guided", "--reward", folder)
    assert f"guided by {folder}: mu=4.0, scale=constant, location=x0 (remembered)" in told
    assert float(guided["mu"]) == 4.0 and np.isfinite(guided["rewards"]).all() and guided["rewards"].shape == (3,)
    fast, told = made("fast", "--reward", folder, "--preset", "fast")
    assert "start=0.55, stop=0.0, every=2 (set)" in told and np.isfinite(fast["rewards"]).sum() == 1
    plain, told = made("plain")
    assert "guided" not in told
    for name, words in (("off", ["--unguided"]), ("zero", ["--mu", "0", "--eta", "0"])):
        off, told = made(name, "--reward", folder, *words)
        assert "guided" not in told and float(off["mu"]) == 0.0
        np.testing.assert_array_equal(off["features"], plain["features"])
    with pytest.raises(SystemExit):
        made("error", "--reward", folder, "--guidance.scale", "score")
    assert "guidance scale='score' without mu" in capsys.readouterr().err and not (tmp_path / "error").exists()
