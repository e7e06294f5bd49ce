"""The pages of the documentation: links lead somewhere, commands name files that are there, the README stays short."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
import yaml

from lightning_realign.cli import main as command_line
from tests.helpers.doc_pages import PAGES, ROOT, anchors, blocks, links, numbers_in_prose, page_commands, page_text

LARGEST_PICTURE = 300_000


def test_the_readme_invites():
    assert len(page_text("README.md").splitlines()) <= 100
    numbers = numbers_in_prose("README.md")
    assert len(numbers) <= 15, numbers


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for target in links(page):
        if "://" in target:
            continue
        place, _, anchor = target.partition("#")
        path = (ROOT / page).parent / place if place else ROOT / page
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(str(path.resolve().relative_to(ROOT))), target


def test_every_page_is_in_the_navigation():
    content = (ROOT / "mkdocs.yml").read_text()
    named = set(re.findall(r"[\w/-]+\.md", content[content.index("nav:") :]))
    pages = {page.removeprefix("docs/").replace("experiments/README", "experiments") for page in PAGES}
    assert named == pages - {"README.md"}


@pytest.mark.parametrize("page", PAGES)
def test_commands_name_files_that_are_there(page):
    made = {block.title for block in blocks(page) if block.title}
    for words in page_commands(page):
        for word in words:
            file = word.partition("=")[2] or word
            if re.fullmatch(r"(configs|sweeps)/[\w/]+\.yaml", file):
                assert (ROOT / file).is_file(), " ".join(words)
        for option, value in pairwise(words):
            if option == "--config" and not value.startswith("configs/") and value.endswith(".yaml"):
                assert value in made, " ".join(words)


def test_tools_know_the_documented_options(capsys):
    parser = command_line.build_parser()
    parsed = 0
    for page in PAGES:
        for words in page_commands(page):
            words = words[words.index("lightning_realign") + 1 :] if "lightning_realign" in words else words[1:]
            if words[0] in ("train.py", "toy", *command_line.TRAINER_COMMANDS):
                continue
            try:
                parser.parse_args(command_line._with_aliases(words))
            except SystemExit:
                pytest.fail(f"{page}: {' '.join(words)}: {capsys.readouterr().err}")
            parsed += 1
    assert parsed > 30


def test_pictures_are_small():
    for path in (ROOT / "docs" / "images").rglob("*.*"):
        assert path.stat().st_size < LARGEST_PICTURE, path


def test_the_citation_is_valid():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    paper = citation["preferred-citation"]
    assert paper["authors"][0]["family-names"] == "Weng" and paper["identifiers"][0]["value"] == "arXiv:2511.19217"
    assert paper["title"].startswith("ReAlign") and "2511.19217" in page_text("README.md")


def test_the_forge_calls_make_targets():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    makefile = (ROOT / "Makefile").read_text()
    run = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert {"make lint", "make test", "make docs"} <= set(run)
    for line in run:
        assert re.search(rf"^{line.split()[1]}:", makefile, re.MULTILINE), line
