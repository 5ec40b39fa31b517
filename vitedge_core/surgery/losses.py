"""Losses that teach a student by a teacher's outputs: pure functions of tensors, without a weight of their own."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def soft_logits(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(teacher || student) of the class probabilities at temperature T, mean over the batch.

    Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015 (arXiv:1503.02531), section 2. The
    factor T^2 keeps the gradient about as long at every temperature: per image it is T (p_student - p_teacher).

    Args:
        student: Logits [B, K].
        teacher: Logits [B, K]; no gradient flows into them.
        temperature: T > 0; higher ones look more at the classes that are not the answer.

    Returns:
        A scalar, 0 where both say the same.
    """
    ours = F.log_softmax(student / temperature, dim=1)
    theirs = F.log_softmax(teacher.detach() / temperature, dim=1)
    return F.kl_div(ours, theirs, reduction="batchmean", log_target=True) * temperature**2


def mixed(hard: Tensor, soft: Tensor, weight: float) -> Tensor:
    """(1 - weight) hard + weight soft: the labels' share and the teacher's share of what is learned."""
    return (1 - weight) * hard + weight * soft
