"""Captions of synthetic motions in HumanML3D's text format, with lemmas and part-of-speech tags.

A wording has `surface|lemma/POS` for each word (`surface/POS` if both are the same). `{side}`, `{times}`, `{angle}` and
`{pace}` are filled in from the action.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lightning_realign.data.synthetic.grammar import Action

_SUBJECTS = ("a/DET person/NOUN", "someone/PRON", "a/DET man/NOUN", "the/DET figure/NOUN", "the/DET person/NOUN")
_JOINERS = (",| then/ADV", ",| and/CCONJ then/ADV", "and/CCONJ then/ADV", ",| and/CCONJ after/ADP that/PRON")

_WALK_VERBS = ("walks|walk/VERB", "walks|walk/VERB", "steps|step/VERB", "moves|move/VERB")
_WALK_WAYS: Mapping[str, tuple[str, ...]] = {
    "forward": ("forward/ADV", "straight/ADV ahead/ADV", "forwards|forward/ADV"),
    "backward": ("backward/ADV", "backwards|backward/ADV"),
    "left": ("to/ADP the/DET left/NOUN", "sideways/ADV to/ADP the/DET left/NOUN"),
    "right": ("to/ADP the/DET right/NOUN", "sideways/ADV to/ADP the/DET right/NOUN"),
}
_PACES: Mapping[str, tuple[str, ...]] = {
    "slow": ("slowly/ADV", "at/ADP a/DET slow/ADJ pace/NOUN", "very/ADV slowly/ADV"),
    "normal": ("", "at/ADP a/DET normal/ADJ pace/NOUN"),
    "fast": ("quickly/ADV", "fast/ADV", "at/ADP a/DET fast/ADJ pace/NOUN"),
}
_TIMES: Mapping[int, tuple[str, ...]] = {
    1: ("once/ADV", "one/NUM time/NOUN"),
    2: ("twice/ADV", "two/NUM times|time/NOUN"),
    3: ("three/NUM times|time/NOUN",),
}
_ANGLES: Mapping[int, tuple[str, ...]] = {
    90: ("90/NUM degrees|degree/NOUN", "a/DET quarter/NOUN turn/NOUN"),
    180: ("180/NUM degrees|degree/NOUN", "a/DET half/NOUN turn/NOUN"),
}
_RUN: Mapping[str, tuple[str, ...]] = {
    "normal": (
        "runs|run/VERB forward/ADV",
        "jogs|jog/VERB forward/ADV",
        "runs|run/VERB straight/ADV ahead/ADV",
        "is|be/AUX running|run/VERB forward/ADV",
    ),
    "fast": (
        "runs|run/VERB forward/ADV fast/ADV",
        "sprints|sprint/VERB forward/ADV",
        "runs|run/VERB forward/ADV quickly/ADV",
        "runs|run/VERB ahead/ADV at/ADP full/ADJ speed/NOUN",
    ),
}
_BOTH_HANDS = ("both/DET hands|hand/NOUN", "both/DET arms|arm/NOUN", "both/DET of/ADP their/DET hands|hand/NOUN")
_ONE_HAND = ("the/DET {side}/ADJ hand/NOUN", "the/DET {side}/ADJ arm/NOUN", "their/DET {side}/ADJ hand/NOUN")

_WORDINGS: Mapping[str, tuple[str, ...]] = {
    "turn": (
        "turns|turn/VERB {angle} to/ADP the/DET {side}/NOUN",
        "turns|turn/VERB {side}/ADV by/ADP {angle}",
        "rotates|rotate/VERB {angle} to/ADP the/DET {side}/NOUN",
        "turns|turn/VERB to/ADP the/DET {side}/NOUN by/ADP {angle}",
    ),
    "jump": (
        "jumps|jump/VERB {times}",
        "jumps|jump/VERB up/ADV {times}",
        "jumps|jump/VERB up/ADV and/CCONJ down/ADV {times}",
        "hops|hop/VERB {times} with/ADP both/DET feet|foot/NOUN",
    ),
    "squat": (
        "squats|squat/VERB {times}",
        "squats|squat/VERB down/ADV {times}",
        "does|do/VERB squats|squat/NOUN {times}",
        "bends|bend/VERB the/DET knees|knee/NOUN and/CCONJ squats|squat/VERB {times}",
    ),
    "raise": (
        "raises|raise/VERB {hand}",
        "raises|raise/VERB {hand} above/ADP the/DET head/NOUN",
        "lifts|lift/VERB {hand} up/ADV",
        "puts|put/VERB {hand} up/ADV in/ADP the/DET air/NOUN",
    ),
    "wave": (
        "waves|wave/VERB {hand}",
        "waves|wave/VERB with/ADP {hand}",
        "is|be/AUX waving|wave/VERB {hand}",
        "waves|wave/VERB hello/INTJ with/ADP {hand}",
    ),
    "kick": (
        "kicks|kick/VERB with/ADP the/DET {side}/ADJ leg/NOUN",
        "kicks|kick/VERB with/ADP the/DET {side}/ADJ foot/NOUN",
        "does|do/VERB a/DET {side}/ADJ kick/NOUN",
        "kicks|kick/VERB forward/ADV with/ADP their/DET {side}/ADJ leg/NOUN",
    ),
    "punch": (
        "punches|punch/VERB with/ADP the/DET {side}/ADJ hand/NOUN",
        "throws|throw/VERB a/DET {side}/ADJ punch/NOUN",
        "punches|punch/VERB forward/ADV with/ADP the/DET {side}/ADJ fist/NOUN",
        "punches|punch/VERB with/ADP their/DET {side}/ADJ arm/NOUN",
    ),
    "bow": (
        "bows|bow/VERB",
        "bows|bow/VERB down/ADV",
        "takes|take/VERB a/DET bow/NOUN",
        "bends|bend/VERB forward/ADV at/ADP the/DET waist/NOUN to/PART bow/VERB",
    ),
    "clap": (
        "claps|clap/VERB {times}",
        "claps|clap/VERB their/DET hands|hand/NOUN {times}",
        "claps|clap/VERB the/DET hands|hand/NOUN together/ADV {times}",
        "claps|clap/VERB both/DET hands|hand/NOUN {times}",
    ),
    "stand": (
        "stands|stand/VERB still/ADV",
        "is|be/AUX standing|stand/VERB still/ADV",
        "stands|stand/VERB in/ADP place/NOUN",
        "stays|stay/VERB in/ADP place/NOUN without/ADP moving|move/VERB",
    ),
}


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def _locomotion(action: Action, rng: np.random.Generator) -> str:
    speed = action.speed or "normal"
    if action.family == "run":
        return _pick(rng, _RUN[speed])
    way, pace = _pick(rng, _WALK_WAYS[action.side or "forward"]), _pick(rng, _PACES[speed])
    verb = _pick(rng, _WALK_VERBS)
    if pace.count(" ") == 0 and rng.random() < 0.3:  # "slowly walks forward"
        return f"{pace} {verb} {way}".strip()
    return f"{verb} {way} {pace}".strip()


def _phrase(action: Action, rng: np.random.Generator) -> str:
    """One action in words, without its subject."""
    if action.family in ("walk", "run"):
        return _locomotion(action, rng)
    hand = _pick(rng, _BOTH_HANDS if action.side == "both" else _ONE_HAND)
    template = _pick(rng, _WORDINGS[action.family]).replace("{hand}", hand)
    return template.format(
        side=action.side,
        times=_pick(rng, _TIMES[action.count or 1]),
        angle=_pick(rng, _ANGLES[action.angle or 90]),
    )


def _line(marked: str) -> str:
    """Marked words as a line `caption#word/POS ...#start#end`; 0.0#0.0 means the whole motion."""
    surface: list[str] = []
    tokens: list[str] = []
    for word in marked.split():
        if word == ",|":
            surface[-1] += ","
            continue
        text, tag = word.rsplit("/", 1)
        shown, _, lemma = text.partition("|")
        surface.append(shown)
        if shown.isalpha():
            tokens.append(f"{lemma or shown}/{tag}")
    return f"{' '.join(surface)}.#{' '.join(tokens)}#0.0#0.0"


def caption_lines(actions: tuple[Action, ...], rng: np.random.Generator, count: int) -> list[str]:
    """Up to `count` different caption lines for one motion (fewer only where the wordings run out)."""
    lines: list[str] = []
    for _ in range(20 * count):
        joiner = f" {_pick(rng, _JOINERS)} "
        line = _line(f"{_pick(rng, _SUBJECTS)} {joiner.join(_phrase(action, rng) for action in actions)}")
        if line not in lines:
            lines.append(line)
        if len(lines) == count:
            break
    return lines
