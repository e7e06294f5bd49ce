"""When published rows may stand beside measured ones, and what keeps them out."""

from __future__ import annotations

from lightning_realign.report.context import Context, JudgeRecord
from lightning_realign.report.published import published_on

_PUBLISHED_KIND = "guo_published"
_POOL = 32


def _set_hurdles(context: Context) -> list[str]:
    hurdles = []
    if not context.named:
        hurdles.append("the receipt does not name its data set")
    elif published_on(context) is None:
        hurdles.append(f"the data set is {context.data}, neither HumanML3D nor KIT-ML")
    if context.split != "test":
        hurdles.append(f"the split is {context.split}, not test" if context.split else "the split is not stated")
    return hurdles


def _size_hurdles(context: Context) -> list[str]:
    hurdles = []
    if context.samples is None or context.split_size is None:
        hurdles.append("the receipt does not say whether the whole split was measured")
    elif context.samples != context.split_size:
        hurdles.append(f"{context.samples} of the split's {context.split_size} motions were measured")
    if context.pool != _POOL:
        stated = "is not stated" if context.pool is None else f"is {context.pool}, not {_POOL}"
        hurdles.append(f"the size of R-Precision's pools {stated}")
    return hurdles


def generation_hurdles(context: Context, judge: str) -> list[str]:
    """Why published rows of generation would not compare; empty if they do."""
    hurdles = _set_hurdles(context) + _size_hurdles(context)
    if context.protocol != "published":
        stated = "is not stated" if context.protocol is None else f"is {context.protocol}, not published"
        hurdles.append(f"the protocol {stated}")
    if context.judges.get(judge, JudgeRecord()).kind != _PUBLISHED_KIND:
        hurdles.append(f"judge {judge} does not have the published weights")
    return hurdles


def retrieval_hurdles(context: Context, protocol: str) -> list[str]:
    """Why published rows of retrieval would not compare; empty if they do."""
    hurdles = _set_hurdles(context)
    if protocol == "nsim" and not context.retrieval.listed:
        hurdles.append("the dissimilar captions were chosen here, not taken from a list")
    return hurdles
