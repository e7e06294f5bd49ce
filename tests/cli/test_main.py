"""One command: the trainer's part and the tools, help, configurations by name, and what doctor says."""

import os
import resource
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from lightning_realign import __version__
from lightning_realign.cli.main import TRAINER_COMMANDS, build_parser, main
from lightning_realign.cli.tool_parser import expand_aliases, summary, tool_parser
from lightning_realign.cli.tools import DATA_TOOLS, TOOLS
from lightning_realign.files.shipped_configs import find_shipped, resolve, shipped_files
from tests.helpers.cli_bench import ROOT, one_error_line


def called(*words, folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "lightning_realign", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def processor_seconds():
    """Of the processes that this one has started; other work on the machine does not count."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_lists_every_command_at_once(tmp_path):
    seconds = []
    for _ in range(3):
        start = processor_seconds()
        done = called("--help", folder=tmp_path)
        seconds.append(processor_seconds() - start)
    assert done.returncode == 0
    for name in (*TRAINER_COMMANDS, *TOOLS, "toy", "data"):
        assert f"\n    {name} " in done.stdout, name
    assert min(seconds) < 1.0


@pytest.mark.parametrize(("word", "code", "said"), [("--version", 0, __version__), ("nonsense", 2, "'nonsense'")])
def test_version_and_unknown_commands_are_answered_at_once(word, code, said, tmp_path):
    seconds = []
    for _ in range(3):
        start = processor_seconds()
        done = called(word, folder=tmp_path)
        seconds.append(processor_seconds() - start)
    assert (done.returncode, len((done.stdout + done.stderr).splitlines())) == (code, 1)
    assert said in done.stdout + done.stderr
    assert min(seconds) < 1.0


@pytest.mark.parametrize("name", [*TOOLS, *(f"data {name}" for name in DATA_TOOLS)])
def test_every_tool_has_help(name, capsys):
    with pytest.raises(SystemExit) as end:
        build_parser().parse_args([*name.split(), "--help"])
    assert not end.value.code
    tool = (DATA_TOOLS[name.split()[1]] if " " in name else TOOLS[name])[0]
    assert summary(tool).split()[0] in capsys.readouterr().out


def test_the_trainer_is_reached(checkout, capsys):
    with pytest.raises(SystemExit) as end:
        main(["fit", "--config", "reward/synthetic", "--print_config"])
    assert not end.value.code
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["data"]["init_args"]["root"] == "runs/data/synthetic"
    assert shown["best_checkpoint"]["monitor"] == "val/t0/t2m_R@3"
    assert shown["last_checkpoint"]["dirpath"] == shown["best_checkpoint"]["dirpath"] == "runs/reward/synthetic"
    assert shown["writer"]["folder"] == "runs/reward/synthetic/motions"


def test_a_name_means_an_existing_file_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped = ROOT / "configs" / "reward" / "synthetic.yaml"
    for name in ("configs/reward/synthetic.yaml", "reward/synthetic.yaml", "reward/synthetic"):
        assert resolve(name) == shipped
    assert resolve("mu_eta.yaml") == ROOT / "sweeps" / "mu_eta.yaml"
    (tmp_path / "reward").mkdir()
    (tmp_path / "reward" / "synthetic.yaml").write_text("mine")
    assert resolve("reward/synthetic.yaml") == Path("reward/synthetic.yaml")
    for name in ("", "..", "../configs/wandb.yaml", "nothing.yaml", "configs", "\0", "a" * 5000):
        assert find_shipped(name) is None
        assert resolve(name) == Path(name)


def test_configurations_are_listed_shown_and_copied(tmp_path, capsys):
    main(["configs"])
    listed = capsys.readouterr().out
    for kind in ("configs", "sweeps"):
        assert all(f"{kind}/{name}" in listed for name in shipped_files(kind))
    assert all(len(line.split(maxsplit=1)) == 2 for line in listed.splitlines()), "every file says what it is"
    main(["configs", "guided/"])
    assert {line.partition(" ")[0].rpartition("/")[0] for line in capsys.readouterr().out.splitlines()} == {
        "configs/guided"
    }
    main(["configs", "reward/kit.yaml"])
    assert capsys.readouterr().out.strip() == (ROOT / "configs" / "reward" / "kit.yaml").read_text().strip()
    main(["configs", "--copy", "evaluator", "--out", str(tmp_path)])
    copies = {path.relative_to(tmp_path) for path in tmp_path.rglob("*.yaml")}
    assert copies >= {path.relative_to(ROOT / "configs") for path in (ROOT / "configs" / "evaluator").iterdir()}
    assert Path("data/mocap.yaml") in copies
    assert len(capsys.readouterr().out.splitlines()) == len(copies)


@pytest.mark.parametrize(
    ("words", "fragment"),
    [
        (["configs", "nowhere"], "no configuration is named 'nowhere'"),
        (["configs", "--copy", "nowhere"], "copy is 'nowhere'"),
        (["configs", "--copy", ""], "copy is ''"),
        (["configs", "--copy", "wandb", "--out", str(ROOT / "configs")], "exists already"),
    ],
)
def test_what_configs_refuses(words, fragment, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert fragment in one_error_line(capsys)


def test_doctor_says_what_is_there_and_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    data = tmp_path / "runs" / "data" / "mocap"
    data.mkdir(parents=True)
    for split, count in (("train", 3), ("val", 1)):
        (data / f"{split}.txt").write_text("\n".join(f"{number}" for number in range(count)))
    main(["doctor"])
    told = capsys.readouterr().out
    for fragment in (
        "lightning_realign ",
        "torch ",
        "cpu: ",
        "no API key",
        f"features of captions: {os.environ['REALIGN_CACHE']}",
        "all-MiniLM-L6-v2: installed",
        "runs/data/mocap (data/mocap.yaml): train 3, val 1, test MISSING",
        "runs/data/synthetic (data/synthetic.yaml): none yet; the first run makes it",
        "datasets/HumanML3D (data/humanml3d.yaml): none; ",
        "needed for the published judge `guo_published`",
    ):
        assert fragment in told, fragment


@dataclass(frozen=True)
class Strength:
    """How strong.

    Args:
        mu: weight of the text.
        names: some names.
    """

    mu: float = 0.0
    names: dict[str, float] = field(default_factory=dict)


def made(words: list[str], guidance: Strength = Strength(), loud: bool = False, count: int = 1) -> None:
    """Make something.

    Args:
        words: What to make,
            in one or more words.
        guidance: How strongly.
        loud: Say so.
        count: How often.
    """


def test_settings_become_options():
    parser = tool_parser("made", made, "words")
    told = " ".join(parser.format_help().split())
    for fragment in ("What to make, in one or more words.", "weight of the text.", "Say so.", "--count COUNT"):
        assert fragment in told
    parsed = parser.instantiate_classes(
        parser.parse_args(["a", "b", "--guidance.mu=2", "--guidance.names={x: 1}", "--loud"])
    )
    assert parsed.guidance == Strength(2.0, {"x": 1.0}) and parsed.loud is True and parsed.words == ["a", "b"]


def test_short_spellings():
    def generate(prompt: list[str], guidance: Strength) -> None:
        """Make."""

    generate.__annotations__ = {"prompt": list[str], "guidance": Strength}
    words = ["a --mu b", "--mu", "3", "--eta=2", "--out", "--model=x"]
    assert expand_aliases("generate", generate, words) == [
        *("a --mu b", "--guidance.mu", "3", "--guidance.eta=2", "--out", "--model=x")
    ]
    assert expand_aliases("render", generate, words) == words
