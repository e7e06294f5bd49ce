"""Every kind of broken input that docs/data.md tells of: how it is made, and what must come of it."""

import errno
import json
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lightning_realign.data.build.resume import PartialBuild
from tests.helpers.bvh_files import BODY, bvh_text, stick_body, swaying_rows

# Where the payload of the pickle rows would leave its mark.
MARK = "PAYLOAD_RAN"


class Payload:
    """Pickled, an instruction to make a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


@dataclass(frozen=True)
class Row:
    """spoil: called with the source's folder. result: `error`, `left out` or `read`. says: what its reason contains."""

    what: str
    spoil: Callable[[Path], object]
    result: str
    says: str = ""


def motion(change):
    """A row's change of the array of motion a1."""

    def spoil(root):
        path = root / "joints" / "a1.npy"
        np.save(path, change(np.load(path)))

    return spoil


def array_bytes(change):
    """A row's change of the file of motion a1."""

    def spoil(root):
        path = root / "joints" / "a1.npy"
        path.write_bytes(change(path.read_bytes()))

    return spoil


def objects(path):
    array = np.empty(1, dtype=object)
    array[0] = Payload(path.parents[1] / MARK)
    np.save(path, array, allow_pickle=True)


def plain_pickle(root):
    (root / "joints" / "a1.npy").write_bytes(pickle.dumps(Payload(root / MARK)))


def archive(root, cut):
    path = root / "joints" / "a1.npz"
    np.savez(path, joints=np.zeros((30, 22, 3)))
    content = path.read_bytes()
    path.unlink()
    (root / "joints" / "a1.npy").write_bytes(content[:cut])


def huge_header(content):
    text = repr({"descr": "<f4", "fortran_order": False, "shape": (10**11, 22, 3)}).encode()
    return content[:8] + len(text).to_bytes(2, "little") + text


def put(value):
    def change(joints):
        joints[3, 4, 1] = value
        return joints

    return motion(change)


def replaced(folder, suffix, make):
    """Something else in the place of a file of motion a1."""
    return instead(f"{folder}/a1.{suffix}", make)


def instead(name, make):
    """Something else in the place of a file."""

    def spoil(root):
        (root / name).unlink()
        make(root / name)

    return spoil


def text(content):
    """Captions of motion a1."""

    def spoil(root):
        path = root / "texts" / "a1.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return spoil


def lines(name, content):
    return lambda root: (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def metadata(**fields):
    return lines("metadata.json", json.dumps({"min_length": 24, **fields}))


def itself(path):
    path.symlink_to(path)


ARRAYS = [
    Row("truncated array", array_bytes(lambda content: content[:500]), "left out", "cannot be read"),
    Row("file of zero bytes", array_bytes(lambda _: b""), "left out", "cannot be read"),
    Row(
        "damaged header",
        array_bytes(lambda content: content.replace(b"{'descr'", b"{('descr")),
        "left out",
        "cannot be read",
    ),
    Row("header of 26 TB", array_bytes(huge_header), "left out", "cannot be read"),
    Row("text in place of an array", array_bytes(lambda _: b"1 2 3\n4 5 6\n"), "left out", "cannot be read"),
    Row("archive in place of an array", lambda root: archive(root, None), "left out", "not one array of numbers"),
    Row("truncated archive", lambda root: archive(root, 200), "left out", "cannot be read"),
    Row("array of objects", replaced("joints", "npy", objects), "left out", "Object arrays cannot be loaded"),
    Row("pickle", plain_pickle, "left out", "cannot be read"),
    Row("array of strings", motion(lambda joints: joints.astype(str)), "left out", "not one array of numbers"),
    Row("complex numbers", motion(lambda joints: joints * 1j), "left out", "not one array of numbers"),
    Row("transposed array", motion(lambda joints: joints.T), "left out", r"shape \(3, 22, 30\)"),
    Row("features in place of joints", motion(lambda _: np.zeros((30, 263))), "left out", r"shape \(30, 263\)"),
    Row("joints of another skeleton", motion(lambda joints: joints[:, :21]), "left out", r"shape \(30, 21, 3\)"),
    Row("zero frames", motion(lambda joints: joints[:0]), "left out", "0 frames; the minimum length is 24"),
    Row("too few frames", motion(lambda joints: joints[:23]), "left out", "23 frames; the minimum length is 24"),
    Row("NaN", put(np.nan), "left out", "NaN or infinite"),
    Row("infinite number", put(-np.inf), "left out", "NaN or infinite"),
    Row("number beyond float32", motion(lambda joints: joints.astype(float) * 1e300), "left out", "NaN or infinite"),
    Row("all joints in one place", motion(np.zeros_like), "left out", "bone of left_hip has length 0 in frame 0"),
    Row("missing array", replaced("joints", "npy", lambda path: None), "left out", "missing"),
    Row("folder in place of an array", replaced("joints", "npy", Path.mkdir), "left out", "Is a directory"),
    Row("array that cannot be opened", replaced("joints", "npy", itself), "left out", "cannot be read"),
    Row("float64, big-endian or integer array", motion(lambda joints: (joints * 64).astype(">i4")), "read"),
]

CAPTIONS = [
    Row("missing captions", replaced("texts", "txt", lambda path: None), "left out", "missing"),
    Row("folder in place of captions", replaced("texts", "txt", Path.mkdir), "left out", "cannot be read"),
    Row("captions that cannot be opened", replaced("texts", "txt", itself), "left out", "cannot be read"),
    Row("captions not in UTF-8", text("übt".encode("latin-1")), "left out", "not UTF-8"),
    Row("no caption", text("\n \n"), "left out", "no caption; write"),
    Row("empty caption", text("#walk/VERB#0.0#0.0\n"), "left out", "line 1: the caption is empty"),
    Row("caption without a word", text("?!\n"), "left out", "has no tokens"),
    Row("empty tokens", text("he walks##0.0#0.0\n"), "left out", "has no tokens"),
    Row("missing #", text("he walks#he/PRON walk/VERB#0.0\n"), "left out", "3 of 4 fields"),
    Row("token without part of speech", text("he walks#he walk#0.0#0.0\n"), "left out", "'he' has no part of speech"),
    Row("times that are no numbers", text("he walks#walk/VERB#a#b\n"), "left out", "start tag is 'a'"),
    Row("negative times", text("he walks#walk/VERB#0#-1\n"), "left out", "end tag is '-1'"),
    Row("Windows line ends", text("he walks#walk/VERB#0#0\r\nhe runs#run/VERB#0#0\r\n"), "read"),
    Row("byte-order mark", text("\ufeffhe walks#walk/VERB#0#0\n"), "read"),
    Row("plain caption without any #", text("he walks\n"), "read"),
]

FILES = [
    Row("missing split list", lambda root: (root / "val.txt").unlink(), "error", "val.txt: split list is missing"),
    Row("empty split list", lines("val.txt", "\n"), "error", "val.txt: the split list is empty"),
    Row("folder in place of a split list", instead("val.txt", Path.mkdir), "error", "cannot be read"),
    Row("id twice in a list", lines("val.txt", "b1\nb1\n"), "error", "'b1' is listed twice"),
    Row("id in two splits", lines("val.txt", "b1\na1\n"), "error", "'a1' is also in train.txt"),
    Row("id with a path", lines("val.txt", "../b1\n"), "error", "not a plain file name"),
    Row("split list in UTF-16", lines("val.txt", "b1\n".encode("utf-16-le")), "error", "not a plain file name"),
    Row("no motion of a split usable", lines("val.txt", "x1\n"), "error", "none of its 1 motions can be used"),
    Row("split list with Windows line ends and byte-order mark", lines("val.txt", "\ufeffb1\r\nb2\r\n"), "read"),
    Row("array in no list", lines("train.txt", "a2\na3\na4\n"), "left out", "listed in no split"),
    Row("metadata that is no JSON", lines("metadata.json", "{"), "error", "not valid JSON"),
    Row("metadata that is a list", lines("metadata.json", "[]"), "error", "JSON list, not an object"),
    Row("impossible frame rate", metadata(fps=-20), "error", "fps is -20"),
    Row("minimum length above the maximum", metadata(max_length=20), "error", "min_length is 24, not below"),
    Row("unknown skeleton", metadata(skeleton="robot"), "error", "'robot'"),
    Row("another unit", metadata(unit="inch"), "error", "unit is 'inch'"),
    Row("another up axis", metadata(up="z"), "error", "up is 'z'"),
    Row("labels without a header", lines("labels.csv", "a1\n"), "error", "line 1 has no header"),
    Row("labels with a short line", lines("labels.csv", "name,content\na1\n"), "error", "line 2 has 1 cells"),
    Row("labels not in UTF-8", lines("labels.csv", b"name,content\na1,\xff\n"), "error", "not UTF-8"),
]


def full_disk(monkeypatch):
    """The third motion no longer fits."""
    add, count = PartialBuild.add, []

    def failing(self, *args):
        count.append(1)
        if len(count) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        add(self, *args)

    monkeypatch.setattr(PartialBuild, "add", failing)


def bvh(change):
    """A row's change of the text of recording a1."""

    def spoil(root):
        path = root / "a1.bvh"
        changed = change(path.read_text())
        path.write_bytes(changed if isinstance(changed, bytes) else changed.encode())

    return spoil


def swap(old, new):
    return bvh(lambda content: content.replace(old, new, 1))


def without_last_line(content):
    return content[: content.rindex("\n", 0, -1) + 1]


RECORDINGS = [
    Row("empty recording", bvh(lambda _: ""), "left out", "no MOTION section"),
    Row("recording cut short in the hierarchy", bvh(lambda content: content[:300]), "left out", "cut short"),
    Row("frames missing", bvh(without_last_line), "left out", "59 rows of numbers for 'Frames: 60'; the file is cut"),
    Row("more frames than stated", swap("Frames: 60", "Frames: 58"), "left out", "60 rows of numbers for 'Frames: 58'"),
    Row("frame cut short", bvh(lambda content: content[: content.rindex(" ")] + "\n"), "left out", "68 numbers for 69"),
    Row("wrong number of channels", swap("CHANNELS 3", "CHANNELS 6"), "left out", "not a BVH file|channels"),
    Row("unknown channel", swap("Xrotation", "Xscale"), "left out", "has channels"),
    Row("no hierarchy", bvh(lambda content: content[content.index("MOTION") :]), "left out", "not a BVH file"),
    Row("brace missing", swap("{", ""), "left out", "not a BVH file"),
    Row("joint twice", swap("right_hip", "left_hip"), "left out", "occurs twice"),
    Row("negative frame time", swap("Frame Time: 0.0", "Frame Time: -0.0"), "left out", "Frame Time is -0.0"),
    Row("frame time that is no number", swap("Frame Time: ", "Frame Time: x"), "left out", "not a BVH file"),
    Row("zero frames recorded", swap("Frames: 60", "Frames: 0"), "left out", "for 'Frames: 0'"),
    Row(
        "NaN in a recording",
        bvh(lambda content: content[: content.rindex(" ")] + " nan\n"),
        "left out",
        "frame 59 has NaN",
    ),
    Row(
        "word in a recording",
        bvh(lambda content: content[: content.rindex(" ")] + " x\n"),
        "left out",
        "what is no number",
    ),
    Row(
        "recording not in UTF-8",
        bvh(lambda content: content.replace("pelvis", "b\u00e9").encode("latin-1")),
        "left out",
        "not UTF-8",
    ),
    Row("recording with byte-order mark", bvh(lambda content: "\ufeff" + content), "left out", "byte-order mark"),
    Row("joints without a mapping", swap("left_knee", "LeftKneeJoint"), "left out", r"perhaps LeftKneeJoint\)"),
    Row("recording in another unit", bvh(lambda _: scaled_recording()), "left out", "build such files apart"),
    Row("recording too short", bvh(lambda _: scaled_recording(100.0, 20)), "left out", "the minimum length is 24"),
    Row("folder named like a recording", replaced(".", "bvh", Path.mkdir), "left out", "BVH file is missing"),
    Row("recording without a caption", lines("x.bvh", ""), "left out", "no caption"),
    Row(
        "two recordings of one name",
        lambda root: [(root / "more").mkdir(), (root / "more" / "a1.bvh").write_text("")],
        "error",
        "in more than one folder",
    ),
    Row("captions table without the columns", lines("captions.csv", "id,text\na1,x\n"), "error", "the columns are"),
    Row("captions table with an open quote", lines("captions.csv", 'name,caption\na1,"x\n'), "error", "no CSV table"),
    Row("unknown split in the table", lines("captions.csv", "name,caption,split\na1,x,dev\n"), "error", "'dev'"),
    Row("recording with Windows line ends", bvh(lambda content: content.replace("\n", "\r\n")), "read"),
    Row(
        "joint names that are not ASCII",
        bvh(lambda content: content.replace("left_wrist", "Ü:left_wrist")),
        "read",
    ),
]


def scaled_recording(scale=1000.0, frames=60):
    rows = swaying_rows(frames, BODY.num_joints, 1)
    rows[:, :3] *= scale
    return bvh_text(BODY.joints, BODY.parents, stick_body(scale), rows, frame_time=0.05)


@dataclass(frozen=True)
class SetRow:
    """A broken file of motion a1 in a finished data set.

    finds: kind and severity that the doctor reports. loads: `error`, `used`, or the kind under which loaders leave it
    out.
    """

    what: str
    spoil: Callable[[Path], object]
    finds: tuple[str, str] | None
    loads: str


def in_set(spoil):
    """A row's way to spoil an array, in the folders of a finished data set."""

    def spoil_set(root):
        (root / "joints").symlink_to(root / "new_joint_vecs")
        spoil(root)
        (root / "joints").unlink()

    return spoil_set


def of(rows, what):
    (row,) = (row for row in rows if row.what == what)
    return row.spoil


def array_rows(finds, loads, *names):
    return [SetRow(name, in_set(of(ARRAYS, name)), finds, loads) for name in names]


def caption_rows(finds, loads, *names):
    return [SetRow(name, of(CAPTIONS, name), finds, loads) for name in names]


SETS = [
    *array_rows(
        ("unreadable motion", "error"),
        "unreadable",
        *("truncated array", "file of zero bytes", "damaged header", "truncated archive", "array of objects"),
        *("pickle", "array of strings"),
    ),
    *array_rows(("wrong shape", "error"), "unreadable", "transposed array", "zero frames"),
    SetRow("NaN", in_set(motion(lambda rows: rows * np.nan)), ("NaN or infinite features", "error"), "unreadable"),
    *array_rows(("NaN or infinite features", "error"), "unreadable", "number beyond float32"),
    *array_rows(("missing motions", "error"), "missing", "missing array"),
    *array_rows(("unreadable motion", "error"), "missing", "folder in place of an array"),
    SetRow("half-precision array", in_set(motion(lambda rows: rows.astype("f2"))), ("wrong type", "warning"), "used"),
    SetRow("too few frames", in_set(motion(lambda rows: rows[:20])), ("too short", "note"), "too short"),
    *caption_rows(("missing captions", "error"), "missing", "missing captions"),
    *caption_rows(("unreadable captions", "error"), "missing", "folder in place of captions"),
    *caption_rows(("unreadable captions", "error"), "error", "captions not in UTF-8"),
    *caption_rows(("no captions", "error"), "without captions", "no caption"),
    *caption_rows(("captions without tokens", "error"), "error", "empty tokens"),
    *caption_rows(
        ("malformed captions", "error"),
        "error",
        *("empty caption", "missing #", "plain caption without any #", "token without part of speech"),
        *("times that are no numbers", "negative times"),
    ),
    SetRow(
        "times beyond the clip",
        text("he walks#walk/VERB#30#50\n"),
        ("tags beyond the clip", "warning"),
        "too short",
    ),
    *caption_rows(None, "used", "byte-order mark", "Windows line ends"),
    SetRow("id in two splits", lines("val.txt", "b1\nb2\na1\n"), ("ids in two splits", "error"), "used"),
    SetRow("empty split list", lines("train.txt", ""), ("split list train.txt", "error"), "error"),
    SetRow("broken statistics", lines("Std.npy", ""), ("statistics", "error"), "error"),
]
