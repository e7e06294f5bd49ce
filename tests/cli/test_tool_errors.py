"""Wrong input of `python -m lightning_realign TOOL` gets one line and exit code 2, and nothing is written."""

import pytest

from lightning_realign.__main__ import main
from tests.helpers.cli_bench import files_in, one_error_line

CASES = [
    ("data build --joints nowhere --out made", "nowhere/joints: folder is missing"),
    ("data build --joints nowhere", "data.build.out"),
    ("data synth --out made --skeleton smpl", "skeleton is 'smpl'; choose one of humanml3d, kit"),
    ("data synth --out made --train many", "train: expected int, not many"),
    ("data", "data.action"),
    ("generate EMPTY --model GENERATOR --out made", "prompt 1 is empty"),
    ("generate --model GENERATOR --out made", "prompt: no text given"),
    ("generate jump --model none.ckpt --out made", "none.ckpt: no such checkpoint file"),
    ("generate jump --model REWARD --out made", "is a 'reward' checkpoint"),
    ("generate jump --model GENERATOR --reward REWARD --eta 1 --out made", "no index of reward"),
    ("generate jump --model GENERATOR --mu 1 --out made", "reward path is not set, but mu=1.0"),
    ("generate jump --model GENERATOR --seconds 1000 --out made", "give 0.2 to 9.8 seconds"),
    ("generate jump --model GENERATOR --seconds long --out made", "seconds: expected float, not long"),
    (
        "generate jump --model GENERATOR --guidance.scale big --out made",
        "guidance scale='big' is unknown; use one of score",
    ),
    ("render none.npz --out made.gif", "none.npz: the prediction file is missing"),
    ("render none.npz --out made.xyz", "choose .gif, .mp4 or .png"),
    ("render none.npz --out made.gif --fps 3", "unrecognized arguments: --fps 3"),
    ("render none.npz --ou made.gif", "unrecognized arguments: --ou made.gif"),
    ("view none.npz --out made.html", "none.npz: the prediction file is missing"),
    ("view . --out made.html", ".: no .npz or .npy file in the folder or the folders in it"),
    ("view none.npz --data nowhere", "nowhere/attributes.json: the oracle's attributes file is missing"),
    ("sweep none.yaml", "none.yaml: the sweep file cannot be read"),
    ("conjure", "invalid choice: 'conjure'"),
    ("", 'expected "tool" to be one of'),
]


@pytest.mark.parametrize(("line", "fragment"), CASES, ids=[line for line, _ in CASES])
def test_one_line(line, fragment, cli_bench, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    known = {
        "EMPTY": " ",
        "GENERATOR": str(cli_bench.generator["humanml3d"]),
        "REWARD": str(cli_bench.reward["humanml3d"]),
    }
    with pytest.raises(SystemExit) as caught:
        main([known.get(word, word) for word in line.split()])
    assert caught.value.code == 2
    assert fragment in one_error_line(capsys)
    assert not files_in(tmp_path)
