"""Settings and figures of receipts, as runs write them."""

from lightning_realign.report.intervals import interval
from lightning_realign.report.paper import GENERATION, RETRIEVAL

PUBLISHED = {"kind": "guo_published", "path": "finest.tar"}
OWN = {"kind": "guo", "path": "best.ckpt"}
GENERATION_SETTINGS = {
    "split": "test",
    "protocol": "published",
    "judges": {"guo": PUBLISHED},
    "shared_with_reward": {"guo": []},
    "guided": True,
    "samples": 4384,
    "split_size": 4384,
    "pool": 32,
    "provenance": {"data": {"root": "d/HumanML3D", "name": "HumanML3D", "skeleton": "humanml3d", "fingerprint": "f"}},
}
RETRIEVAL_SETTINGS = {"split": "test", "system": "TMR", "nsim": "nsim_test.txt"}
RETRIEVAL_SETTINGS |= {"provenance": GENERATION_SETTINGS["provenance"]}


def judged(*names, value=0.5):
    """Rows of one judge; the value tells runs apart."""
    return {
        name: {
            f"guo/{figure}": interval([value + number, value + number + 0.25])
            for number, figure in enumerate(GENERATION)
        }
        for name in names
    }


def data(name, skeleton="humanml3d", fingerprint="f"):
    return {"data": {"root": f"d/{name}", "name": name, "skeleton": skeleton, "fingerprint": fingerprint}}


def recalls(*protocols):
    return {
        f"{protocol}/{figure}": interval([float(number)])
        for protocol in protocols
        for number, figure in enumerate(RETRIEVAL)
    }
