"""Quaternions in the field's order, w x y z. Products and matrices come from roma, whose order is x y z w."""

from __future__ import annotations

import roma
import torch
from torch import Tensor
from torch.nn import functional


def multiply(first: Tensor, second: Tensor) -> Tensor:
    """The rotation `second` followed by `first`: the product first * second. Both [..., 4], broadcast."""
    product: Tensor = roma.quat_product(roma.quat_wxyz_to_xyzw(first), roma.quat_wxyz_to_xyzw(second))
    return product.roll(1, dims=-1)


def conjugate(quaternion: Tensor) -> Tensor:
    """The inverse of a unit quaternion [..., 4]."""
    return torch.cat((quaternion[..., :1], -quaternion[..., 1:]), dim=-1)


def to_matrix(quaternion: Tensor) -> Tensor:
    """The rotation matrix [..., 3, 3] of a unit quaternion [..., 4]."""
    matrix: Tensor = roma.unitquat_to_rotmat(roma.quat_wxyz_to_xyzw(quaternion))
    return matrix


def rotate(quaternion: Tensor, points: Tensor) -> Tensor:
    """Rotate N points [..., N, 3] by the one quaternion [..., 4] they share."""
    return points @ to_matrix(quaternion).transpose(-1, -2)


def between(start: Tensor, end: Tensor) -> Tensor:
    """The shortest rotation [..., 4] that turns unit vectors `start` into `end`, both [..., 3], broadcast.

    For opposite vectors, where every half turn is shortest, the axis is the coordinate axis least aligned with
    `start`, made perpendicular to it: about y for vectors along z.
    """
    products = start * end
    start, end = start.expand_as(products), end.expand_as(products)
    real = 1 + products.sum(dim=-1, keepdim=True)
    quaternion = torch.cat((real, torch.linalg.cross(start, end, dim=-1)), dim=-1)
    norm = quaternion.norm(dim=-1, keepdim=True)
    opposite = norm < 4 * torch.finfo(start.dtype).eps
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
    """The 6-D form [..., 6] of Zhou et al. (2019): the first two columns of the matrix, one after the other."""
    matrix = to_matrix(quaternion)
    return torch.cat((matrix[..., 0], matrix[..., 1]), dim=-1)


def cont6d_to_matrix(cont6d: Tensor) -> Tensor:
    """The rotation matrix [..., 3, 3] of a 6-D form [..., 6] (Gram-Schmidt on its two columns)."""
    columns = torch.stack((cont6d[..., :3], cont6d[..., 3:]), dim=-1)
    matrix: Tensor = roma.special_gramschmidt(columns)
    return matrix
