"""Quaternions in the field's order, w x y z.

Products and matrices are linear in the 16 products of two quaternions' entries. Each is therefore one matrix product
with a table of 0, 1, -1 and 2. That takes few calls, and for motions the overhead of calls is most of the time.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional


def _table(rows: tuple[str, ...]) -> NDArray[np.float64]:
    """Sums of products of two quaternions' entries, as columns [16, len(rows)]: "+ww-xx" is w w' - x x'."""
    table = np.zeros((4, 4, len(rows)))
    for column, row in enumerate(rows):
        for sign, first, second in zip(row[::3], row[1::3], row[2::3], strict=True):
            table["wxyz".index(first), "wxyz".index(second), column] += 1 if sign == "+" else -1
    return table.reshape(16, -1)


_PRODUCT = _table(("+ww-xx-yy-zz", "+wx+xw+yz-zy", "+wy-xz+yw+zx", "+wz+xy-yx+zw"))
_COLUMNS = _table(
    (
        "+ww+xx-yy-zz",
        "+xy+xy+wz+wz",
        "+xz+xz-wy-wy",
        "+xy+xy-wz-wz",
        "+ww-xx+yy-zz",
        "+yz+yz+wx+wx",
        "+xz+xz+wy+wy",
        "+yz+yz-wx-wx",
        "+ww-xx-yy+zz",
    )
)


# These repeat each entry of the first factor four times, and the whole second factor four times. The products are then
# those of neighbours in memory, which is several times faster than a broadcast.
_FIRST, _SECOND = np.repeat(np.eye(4), 4, axis=1), np.tile(np.eye(4), 4)


def _sums_of_products(first: Tensor, second: Tensor, table: NDArray[np.float64]) -> Tensor:
    spread, tiled, sums = (torch.from_numpy(part).to(first) for part in (_FIRST, _SECOND, table))
    return ((first @ spread) * (second @ tiled)) @ sums


def multiply(first: Tensor, second: Tensor) -> Tensor:
    """The rotation `second` followed by `first`: the product first * second. Both [..., 4], broadcast."""
    return _sums_of_products(first, second, _PRODUCT)


def conjugate(quaternion: Tensor) -> Tensor:
    """The inverse of a unit quaternion [..., 4]."""
    return torch.cat((quaternion[..., :1], -quaternion[..., 1:]), dim=-1)


def to_matrix(quaternion: Tensor) -> Tensor:
    """The rotation matrix [..., 3, 3] of a unit quaternion [..., 4]."""
    columns = _sums_of_products(quaternion, quaternion, _COLUMNS)
    return columns.reshape(*quaternion.shape[:-1], 3, 3).mT


def rotate(quaternion: Tensor, points: Tensor) -> Tensor:
    """Rotate N points [..., N, 3] by one quaternion [..., 4]."""
    return points @ to_matrix(quaternion).transpose(-1, -2)


def between(start: Tensor, end: Tensor) -> Tensor:
    """The shortest rotation [..., 4] that turns unit vectors `start` into `end`, both [..., 3], broadcast.

    For opposite vectors, every half turn is shortest. The axis is then the coordinate axis least aligned with `start`,
    made perpendicular to it; for vectors along z, it is y.
    """
    products = start * end
    start, end = start.expand_as(products), end.expand_as(products)
    real = 1 + products.sum(dim=-1, keepdim=True)
    quaternion = torch.cat((real, torch.linalg.cross(start, end, dim=-1)), dim=-1)
    norm: Tensor = torch.linalg.vector_norm(quaternion, dim=-1, keepdim=True)
    opposite = norm < 4 * torch.finfo(start.dtype).eps
    if not opposite.any():
        return quaternion / norm
    # The minimum breaks ties by the first axis, so that start = z gives z cross x = y.
    helper = functional.one_hot(start.abs().argmin(dim=-1), 3).to(start.dtype)
    axis = functional.normalize(torch.linalg.cross(start, helper, dim=-1), dim=-1)
    half_turn = torch.cat((torch.zeros_like(real), axis), dim=-1)
    return torch.where(opposite, half_turn, quaternion / norm.where(~opposite, torch.ones_like(norm)))


def about_y(half_angle: Tensor) -> Tensor:
    """The quaternion [..., 4] that turns about the y axis by twice `half_angle` [...] (radians)."""
    zero = torch.zeros_like(half_angle)
    return torch.stack((half_angle.cos(), zero, half_angle.sin(), zero), dim=-1)


def to_cont6d(quaternion: Tensor) -> Tensor:
    """The 6-D form [..., 6] of Zhou et al. (2019): the first two columns of the rotation matrix."""
    return _sums_of_products(quaternion, quaternion, _COLUMNS[:, :6])


def cont6d_to_matrix(cont6d: Tensor) -> Tensor:
    """The rotation matrix [..., 3, 3] of a 6-D form [..., 6] (Gram-Schmidt on its two columns)."""
    columns = torch.stack((cont6d[..., :3], cont6d[..., 3:]), dim=-1)
    import roma  # its import takes as long as torch's, and few need it

    matrix: Tensor = roma.special_gramschmidt(columns)
    return matrix
