"""Keys of texts."""

from lightning_realign.files.hashing import stable_key


def test_keys_are_distinct_and_fixed():
    keys = {stable_key(f"{number:06d}") for number in range(1000)}
    assert len(keys) == 1000
    assert all(0 <= key < 2**63 for key in keys)
    assert stable_key("") == 0xE3B0C44298FC1C14 >> 1  # the first bytes of the well-known SHA-256 of nothing
