"""What tells data sets apart, and the frame rate that a data set must have."""

import json
import os
import time

import pytest

from lightning_realign.data import HumanML3DDataModule
from lightning_realign.data.fingerprint import dataset_fingerprint
from lightning_realign.data.formats import Metadata, read_split
from lightning_realign.errors import FeatureSpecError
from lightning_realign.files.atomic import write_text_atomic
from tests.helpers.support import write_tiny_dataset


@pytest.fixture
def root(tmp_path):
    return write_tiny_dataset(tmp_path / "data", train=3, val=1, test=1)


@pytest.mark.parametrize(("folder", "suffix"), [("new_joint_vecs", "npy"), ("texts", "txt")])
def test_a_changed_training_file_changes_the_fingerprint(root, folder, suffix):
    first = HumanML3DDataModule(root).fingerprint
    assert HumanML3DDataModule(root).fingerprint == first
    path = root / folder / f"{read_split(root / 'train.txt')[1]}.{suffix}"
    status, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert HumanML3DDataModule(root).fingerprint != first
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert HumanML3DDataModule(root).fingerprint == first
    path.write_bytes(content + b" ")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert HumanML3DDataModule(root).fingerprint != first
    path.unlink()
    assert HumanML3DDataModule(root).fingerprint != first


def test_files_outside_the_training_split_do_not_count(root):
    first = HumanML3DDataModule(root).fingerprint
    os.utime(root / "new_joint_vecs" / f"{read_split(root / 'test.txt')[0]}.npy", ns=(1, 1))
    (root / "texts" / "unlisted.txt").write_text("anything")
    assert HumanML3DDataModule(root).fingerprint == first


def test_no_file_is_read(tmp_path):
    """Thousands of motions take a moment: only names, sizes and times are asked for."""
    names = [f"{number:06d}" for number in range(3000)]
    for folder, suffix in (("new_joint_vecs", "npy"), ("texts", "txt")):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / f"{name}.{suffix}").touch()
    write_text_atomic(tmp_path / "train.txt", "\n".join(names))
    start = time.process_time()
    dataset_fingerprint(tmp_path, Metadata("many", 20.0, "humanml3d", 40), [])
    assert time.process_time() - start < 0.3


def test_another_frame_rate_is_refused(root):
    path = root / "metadata.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"fps": 30}))
    with pytest.raises(
        FeatureSpecError, match=r"metadata.json says 30 fps, skeleton 'humanml3d' has 20; resample [^\n]*build [^\n]*$"
    ):
        HumanML3DDataModule(root).setup("fit")
