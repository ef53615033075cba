"""Which cells answer for which truth, and the loss.

Assignment is task-aligned (TOOD, ICCV 2021): cells within the truth's middle are ranked by score^0.5 * IoU^4, the best
few are positive and their soft targets follow the rank. A small prior on size and distance carries the first steps,
when every score and IoU is noise. Scores learn by varifocal loss (CVPR 2021), boxes by GIoU.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

TOP: Final = 9
BOX_GAIN: Final = 2.5


def overlaps(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and GIoU of boxes xyxy, broadcast over the leading axes."""
    inner = (
        (torch.minimum(one[..., 2:], other[..., 2:]) - torch.maximum(one[..., :2], other[..., :2])).clamp(0).prod(-1)
    )
    outer = (
        (torch.maximum(one[..., 2:], other[..., 2:]) - torch.minimum(one[..., :2], other[..., :2])).clamp(0).prod(-1)
    )
    union = (
        (one[..., 2:] - one[..., :2]).clamp(0).prod(-1)
        + (other[..., 2:] - other[..., :2]).clamp(0).prod(-1)
        - inner
        + 1e-6
    )
    iou = inner / union
    return iou, iou - (outer - union) / (outer + 1e-6)


def assign(
    logits: Tensor, boxes: Tensor, centres: Tensor, strides: Tensor, truth: Tensor, classes: Tensor, real: Tensor
) -> tuple[Tensor, Tensor]:
    """Positive cells of a batch.

    `truth` [B, M, 4], `classes` [B, M] and `real` [B, M] (False for padding). Returns the index of each cell's truth
    [B, N], -1 where it has none, and its soft target [B, N].
    """
    iou = overlaps(boxes[:, None], truth[:, :, None])[0]
    score = logits.sigmoid().gather(2, classes[:, None, :].expand(-1, logits.shape[1], -1)).transpose(1, 2)
    middle, side = (truth[..., :2] + truth[..., 2:]) / 2, (truth[..., 2:] - truth[..., :2]).clamp(1.0)
    offset = (centres[None, None] - middle[:, :, None]).abs()
    reach = torch.maximum(side[:, :, None] * 0.35, strides[None, None] * 0.75)
    inside = (offset < reach).all(-1) & real[..., None]
    fit = torch.exp(-(torch.log2(side.prod(-1).sqrt()[..., None] / (strides[:, 0] * 4.0)) ** 2))
    near = torch.exp(-((offset / (strides * 1.5)) ** 2).sum(-1))
    rank = (score.sqrt() * iou**4 + 1e-3 * fit * near) * inside
    best, index = rank.topk(TOP, dim=-1)
    chosen = torch.zeros_like(inside).scatter_(2, index, best > 1e-9)
    claim = torch.where(chosen, rank, torch.zeros_like(rank))
    top, owner = claim.max(1)
    owner = torch.where(top > 0, owner, torch.full_like(owner, -1))
    peak = claim.amax(-1, keepdim=True).clamp(min=1e-9)
    quality = torch.where(chosen, iou, torch.zeros_like(iou)).amax(-1, keepdim=True).clamp(min=0.25)
    soft = (claim / peak * quality).gather(1, owner.clamp(min=0)[:, None])[:, 0]
    return owner, soft * (owner >= 0)


def loss(
    logits: Tensor,
    boxes: Tensor,
    centres: Tensor,
    strides: Tensor,
    truth: Tensor,
    classes: Tensor,
    real: Tensor,
    ignored: Tensor,
) -> tuple[Tensor, float, float]:
    """The loss of a batch, and its score and box parts; `ignored` [B, M] marks truths that are not asked for."""
    with torch.no_grad():
        owner, soft = assign(logits, boxes, centres, strides, truth, classes, real)
    positive = owner >= 0
    at = owner.clamp(min=0)
    target = torch.zeros_like(logits)
    target.scatter_(2, classes.gather(1, at)[..., None], soft[..., None])
    within = ((centres[None, None] > truth[:, :, None, :2]) & (centres[None, None] < truth[:, :, None, 2:])).all(-1)
    # What is left of a vehicle at the edge is no vehicle to be asked for, but still no person.
    kinds = functional.one_hot(classes, logits.shape[-1]).float()
    skip = (torch.einsum("bmn,bmc->bnc", (within & ignored[..., None]).float(), kinds) > 0) & ~positive[..., None]
    weight = torch.where(target > 0, torch.ones_like(target), 0.75 * logits.detach().sigmoid() ** 2)
    weight = weight * ~skip
    total = target.sum().clamp(min=1.0)
    scores = functional.binary_cross_entropy_with_logits(logits, target, weight, reduction="sum") / total
    wanted = truth.gather(1, at[..., None].expand(-1, -1, 4))
    sides = ((1 - overlaps(boxes[positive], wanted[positive])[1]) * soft[positive]).sum() / total
    return scores + BOX_GAIN * sides, float(scores.detach()), float(sides.detach())
