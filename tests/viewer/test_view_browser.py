"""The viewer's page in a browser: it draws, obeys keys and pointers, and stays cheap."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lightning_realign.viewer import write_page
from tests.helpers.shown_motions import synthetic_joints, write_shown

browsers = pytest.importorskip("tests.helpers.browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(browsers.FOUND is None, reason="no Chromium was found; install it to run these tests"),
]
SHIFT = 8
DRAWN = "viewer.statistics.frames > 2"


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browsers.browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Three pairs; the first one's predictions hold rewards and the motions of each step."""
    folder = tmp_path_factory.mktemp("pairs")
    for index in range(3):
        for system, other in (("unguided", index + 3), ("guided", index)):
            joints = synthetic_joints(other)
            steps = {"rewards": np.linspace(0, 0.5, 4), "trace": np.stack([joints] * 4)} if index == 0 else {}
            write_shown(folder / system / f"{index}.npz", joints, f"caption {index} <b>bold</b>", **steps)
    return write_page([folder], folder / "view.html")


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    """Four single motions."""
    folder = tmp_path_factory.mktemp("four")
    for index in range(4):
        write_shown(folder / f"{index}.npz", synthetic_joints(index), f"caption {index}")
    return write_page([folder], folder / "view.html")


@pytest.fixture
def opened(tab, pairs):
    """The page of pairs, stopped at its beginning."""
    tab.complaints.clear()
    tab.open(pairs)
    tab.until(DRAWN)
    tab.run("viewer.state.playing && document.getElementById('play').click()")
    tab.key("Home")
    tab.until("viewer.state.time === 0")
    yield tab
    assert not tab.complaints


def state(tab):
    return json.loads(tab.run("JSON.stringify({...viewer.state, camera: viewer.view.mode})"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_four_motions_are_cheap(scheme, tab, four):
    tab.complaints.clear()
    tab.open(four, width=600, height=400, scheme=scheme)
    tab.until("viewer.statistics.frames > 25", seconds=120)
    assert tab.run("document.querySelectorAll('.panel').length") == 4
    assert tab.run("document.documentElement.dataset.theme") == scheme
    assert 4 <= tab.run("viewer.statistics.calls") <= 80
    median = np.median(tab.run("viewer.statistics.script.slice(5)"))
    assert median <= 4, f"{median} ms"
    assert not tab.complaints


def test_something_is_drawn(opened):
    """Blue, orange and grey are there, each by many dots: a left side, a right side and a trunk."""
    count = """new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => {
        const canvas = document.getElementById('canvas'), copy = document.createElement('canvas');
        [copy.width, copy.height] = [canvas.width, canvas.height];
        viewer.draw();
        const context = copy.getContext('2d');
        context.drawImage(canvas, 0, 0);
        const { data } = context.getImageData(0, 0, copy.width, copy.height);
        const found = { blue: 0, orange: 0 };
        for (let place = 0; place < data.length; place += 4) {
            const [red, green, blue, alpha] = data.slice(place, place + 4);
            if (alpha < 250) continue;
            if (blue > red + 60 && blue > green + 30) found.blue++;
            if (red > blue + 60 && red > green + 30) found.orange++;
        }
        resolve(JSON.stringify(found));
    })))"""
    found = json.loads(opened.run(count))
    assert found["blue"] > 300 and found["orange"] > 300


def test_time(opened):
    assert state(opened)["time"] == 0
    opened.key("ArrowRight")
    assert state(opened)["time"] == pytest.approx(0.05)
    opened.key("ArrowRight", SHIFT)
    assert state(opened)["time"] == pytest.approx(0.55)
    opened.key("ArrowLeft")
    assert state(opened)["time"] == pytest.approx(0.5)
    opened.run("Object.assign(document.getElementById('scrub'), {value: 20}).dispatchEvent(new Event('input'))")
    assert state(opened)["time"] == pytest.approx(1.0)
    opened.until("document.getElementById('time').textContent.startsWith('1.00 /')")
    assert opened.run("document.getElementById('scrub').getAttribute('aria-valuetext')").startswith("1.00 of ")
    opened.key(" ")
    assert state(opened)["playing"]
    opened.until("viewer.state.time > 1.1")
    opened.key(" ")
    assert not state(opened)["playing"]


def test_cameras_trails_and_theme(opened):
    for key, camera in (("2", "orbit"), ("3", "follow"), ("1", "fixed")):
        opened.key(key)
        assert state(opened)["camera"] == camera
        pressed = "document.querySelector('[data-camera][aria-pressed=true]').dataset.camera"
        assert opened.run(pressed) == camera
    opened.key("t")
    assert not state(opened)["trails"]
    opened.key("l")
    assert not state(opened)["loop"]
    opened.key("d")
    assert opened.run("document.documentElement.dataset.theme") == "dark"
    opened.key("+")
    assert state(opened)["speed"] == 2


def test_dragging_turns_the_camera(opened):
    before = opened.run("viewer.view.azimuth")
    box = json.loads(opened.run("JSON.stringify(document.querySelector('.view').getBoundingClientRect())"))
    x, y = box["x"] + 40, box["y"] + 40
    for kind, place in (("mousePressed", x), ("mouseMoved", x + 50), ("mouseReleased", x + 50)):
        opened.call("Input.dispatchMouseEvent", type=kind, x=place, y=y, button="left", buttons=1, clickCount=1)
    assert opened.run("viewer.view.azimuth") < before - 0.2


def test_ghosts_stand_in_one_place(opened):
    assert opened.run("document.querySelectorAll('.panel').length") == 2
    opened.key("g")
    assert opened.run("document.querySelectorAll('.panel').length") == 1
    assert opened.run("document.querySelectorAll('.panel .system').length") == 2
    opened.until("viewer.statistics.calls === 6")  # floor, marks, body, shadow, and the ghost's two
    opened.key("g")
    assert opened.run("document.querySelectorAll('.panel').length") == 2


def test_captions_systems_and_charts(opened):
    assert opened.run("document.getElementById('caption').textContent") == "caption 0 <b>bold</b>"
    systems = "[...document.querySelectorAll('.system')].map((span) => span.textContent)"
    assert opened.run(systems) == ["unguided", "guided"]
    labels = "[...document.querySelectorAll('.chart svg')].map((chart) => chart.getAttribute('aria-label'))"
    assert opened.run(labels) == ["Reward over 4 diffusion steps, from 0.00 to 0.50"] * 2


def test_diffusion_steps(opened):
    opened.key("]")
    opened.key("]")
    assert state(opened)["step"] == 1
    assert opened.run("document.querySelector('.steps').value") == "1"
    opened.key("[")
    opened.key("[")
    assert state(opened)["step"] == 0


def test_the_gallery(opened):
    assert opened.run("document.querySelectorAll('#entries li').length") == 3
    opened.key("ArrowDown")
    opened.until("document.getElementById('caption').textContent.startsWith('caption 1')")
    opened.run("document.querySelectorAll('#entries .add')[2].click()")
    opened.until("document.querySelectorAll('.panel').length === 4")
    search = "Object.assign(document.getElementById('search'), {value: 'CAPTION 2'}).dispatchEvent(new Event('input'))"
    opened.run(search)
    assert opened.run("document.querySelectorAll('#entries li:not([hidden])').length") == 1
    assert opened.run("document.getElementById('found').textContent") == "1 of 3"


def test_a_phone(tab, pairs):
    tab.complaints.clear()
    tab.open(pairs, width=390, height=844)
    tab.until(DRAWN)
    assert tab.run("document.documentElement.scrollWidth") <= 390
    hidden = "document.getElementById('gallery').hidden"
    assert tab.run(hidden)
    tab.run("document.getElementById('gallery-button').click()")
    assert not tab.run(hidden)
    tab.run("document.querySelectorAll('#entries .entry')[1].click()")
    tab.until("document.getElementById('caption').textContent.startsWith('caption 1')")
    assert tab.run(hidden)
    assert not tab.complaints


def test_every_control_has_a_name(opened):
    unnamed = """[...document.querySelectorAll('button, input, select')].filter((control) =>
        !(control.getAttribute('aria-label') || control.textContent.trim())).map((control) => control.id)"""
    assert opened.run(unnamed) == []
