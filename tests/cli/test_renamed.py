"""An old class path or option gets one line that says what it is called now."""

from importlib import import_module

import pytest

from lightning_realign import training
from lightning_realign.cli.main import main
from lightning_realign.cli.renamed import CLASSES, MODEL_OPTIONS, TOOL_OPTIONS, explain_run
from lightning_realign.cli.tool_parser import ALIASES, tool_parser
from lightning_realign.cli.tools import TOOLS
from lightning_realign.evaluation import SampleScoring
from lightning_realign.inference import GuidedGeneration
from tests.helpers.cli_bench import one_error_line, realign

GUIDED = "configs/guided/synthetic.yaml"


@pytest.mark.parametrize("old", CLASSES)
def test_old_class_paths_are_gone_and_new_ones_there(old):
    module, _, name = CLASSES[old].rpartition(".")
    assert getattr(import_module(module), name).__name__ == old.rpartition(".")[2]
    with pytest.raises((ImportError, AttributeError)):
        getattr(import_module(old.rpartition(".")[0]), name)


def fields(kind, prefix=""):
    """The dotted names of all settings and groups of settings that a class takes."""
    from dataclasses import is_dataclass
    from typing import get_args, get_type_hints

    for name, hint in get_type_hints(kind.__init__).items():
        yield f"{prefix}{name}"
        for part in (hint, *get_args(hint)):
            if is_dataclass(part):
                yield from fields(part, f"{prefix}{name}.")


MODULES = (GuidedGeneration, SampleScoring, *(getattr(training, name) for name in training.__all__))
KINDS = [kind for kind in MODULES if isinstance(kind, type) and kind.__name__ in MODEL_OPTIONS]


def test_every_renamed_module_is_known():
    assert {kind.__name__ for kind in KINDS} == MODEL_OPTIONS.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_every_new_option_of_a_module_exists(kind):
    names = set(fields(kind))
    assert set(MODEL_OPTIONS[kind.__name__].values()) <= names
    assert not {old for old, new in MODEL_OPTIONS[kind.__name__].items() if not new.startswith(f"{old}.")} & names


@pytest.mark.parametrize("tool", TOOL_OPTIONS)
def test_every_new_option_of_a_tool_exists(tool):
    known = tool_parser(tool, *TOOLS[tool]).format_help()
    for old, new in TOOL_OPTIONS[tool].items():
        assert f"--{ALIASES.get(tool, {}).get(new, new)} " in known, new
        assert f"--{old} " not in known, old


def refused(run, capsys):
    with pytest.raises(SystemExit) as caught:
        run()
    assert caught.value.code == 2
    return one_error_line(capsys)


@pytest.mark.parametrize(
    ("option", "new"),
    [
        ("--model.init_args.mu=2", "--model.init_args.mu is now --model.init_args.guidance.mu"),
        ("--model.mu=2", "--model.mu is now --model.init_args.guidance.mu"),
        ("--model.init_args.rows=[guided]", "--model.init_args.measuring.systems"),
        ("--model.init_args.reward=runs/r.ckpt", "--model.init_args.reward is now --model.init_args.reward.path"),
        ("--model.init_args.generator=runs/g.ckpt", "--model.init_args.generator.path"),
        ("--model.init_args.travel=2", "--model.init_args.search.travel.times"),
    ],
)
def test_an_old_option(option, new, checkout, capsys):
    assert new in refused(lambda: realign("test", "--config", GUIDED, option), capsys)


@pytest.mark.parametrize(
    ("option", "new"), [("omega=0.3", "noise.omega"), ("learning_rate=1", "optimiser.learning_rate")]
)
def test_an_old_option_of_a_training(option, new, checkout, capsys):
    line = refused(
        lambda: realign("fit", "--config", "configs/reward/synthetic.yaml", f"--model.init_args.{option}"), capsys
    )
    assert f"is now --model.init_args.{new}" in line


def test_an_old_option_in_a_file(checkout, capsys):
    (checkout / "old.yaml").write_text("model: {init_args: {family: own, steps: 5}}")
    line = refused(lambda: realign("test", "--config", GUIDED, "--config", "old.yaml"), capsys)
    assert "old.yaml: model.init_args.family is now model.init_args.generator.family" in line


def test_an_old_class_path(checkout, capsys):
    old = "lightning_realign.retrieval.RetrievalSystem"
    (checkout / "old.yaml").write_text(f"model: {{class_path: {old}, init_args: {{system: TMR}}}}")
    line = refused(lambda: realign("test", "--config", "old.yaml", "--data", "configs/data/mocap.yaml"), capsys)
    assert line == f"error: old.yaml: {old} is now {CLASSES[old]}"
    writer = "lightning_realign.callbacks.writer.PredictionWriter"
    (checkout / "old.yaml").write_text(f"trainer: {{callbacks: [{{class_path: {writer}}}]}}")
    line = refused(lambda: realign("test", "--config", GUIDED, "--config", "old.yaml"), capsys)
    assert line == f"error: old.yaml: {writer} is now {CLASSES[writer]}"


def test_a_group_is_no_old_option(checkout):
    assert explain_run(["test", "--config", GUIDED, "--model.init_args.reward={path: a.ckpt}"]) == ""


@pytest.mark.parametrize(
    ("options", "new"),
    [
        (["--ckpt", "a.ckpt"], "--ckpt is now --model"),
        (["--model", "a.ckpt", "--steps=5"], "--steps is now --sampling.steps"),
        (["--model", "a.ckpt", "--reward_family=tmr"], "--reward_family is now --reward.family"),
    ],
)
def test_an_old_option_of_a_tool(options, new, checkout, capsys):
    assert new in refused(lambda: main(["generate", "a person walks", "--out", "made", *options]), capsys)
