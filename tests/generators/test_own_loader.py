"""A generator of one's own: one file with a loader, named by its dotted path."""

from __future__ import annotations

import sys
import textwrap

import pytest

from lightning_realign.errors import ConfigError
from lightning_realign.generators import LoadOptions, load_generator
from lightning_realign.settings.sampling import SamplingConfig

SAMPLING = SamplingConfig(steps=7, cfg_scale=2.0)
MODULE = """
    from tests.helpers.guided_toys import GaussianGenerator

    SCALE = 1.0


    def load(checkpoint, options):
        generator = GaussianGenerator()
        generator.loaded = checkpoint, options
        return generator
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with a loader, which Python finds."""
    folder = tmp_path / "my_generators"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "toy.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "my_generators"
    for name in [name for name in sys.modules if name.startswith("my_generators")]:
        del sys.modules[name]


def test_a_dotted_path_loads_a_generator_of_ones_own(package, tmp_path):
    generator = load_generator(tmp_path / "toy.pt", f"{package}.toy.load", sampling=SAMPLING)
    checkpoint, options = generator.loaded
    assert checkpoint == tmp_path / "toy.pt"
    assert options == LoadOptions(SAMPLING)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{0}.toy.read", r"cannot be imported \(module 'my_generators.toy' has no attribute 'read'\)"),
        ("{0}.none.load", r"cannot be imported \(No module named 'my_generators.none'\)"),
        ("nowhere.load", r"cannot be imported \(No module named 'nowhere'\)"),
        (".toy.load", "cannot be imported"),
        ("{0}.toy.SCALE", "is a float, no function"),
        ("mdx", "family='mdx' is unknown; use one of own, mld.* or the path of your own, package.module.Name"),
    ],
)
def test_what_cannot_be_imported_gets_one_line(package, name, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_generator("toy.pt", name.format(package))
    assert "\n" not in str(caught.value)
