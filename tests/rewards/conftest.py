"""Files of published rewards, as fixtures."""

import pytest
import torch

from tests.helpers.published_rewards import NAME, SMALL, hollow, spm_state, write_statistics, write_tmr


@pytest.fixture(scope="module")
def weights():
    return hollow(spm_state())


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A reward's file with weights that are not hollow."""
    path = tmp_path_factory.mktemp("full") / NAME
    torch.save({"state_dict": spm_state()}, path)
    return path


@pytest.fixture
def spm(tmp_path, weights):
    """Writes a reward's file under a name, its weights changed; or links one to the file given."""

    def write(name=NAME, source=None, **changes):
        path = write_statistics(tmp_path) / name
        state = {key: value for key, value in (weights | changes).items() if value is not None}
        if source is not None:
            path.hardlink_to(source)
        else:
            torch.save({"state_dict": state}, path)
        return path

    return write


@pytest.fixture
def tmr(tmp_path):
    return write_tmr(tmp_path, SMALL)
