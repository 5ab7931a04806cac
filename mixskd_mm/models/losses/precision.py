"""Losses are computed in float32, whatever autocast says."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def full_precision(x: Tensor) -> Tensor:
    """``x`` in float32 if it came in half precision; float32 and float64 stay as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def without_autocast(device: torch.device) -> AbstractContextManager:
    """Where matrices are multiplied in the precision that they have; autocast would do so in half precision."""
    # "meta", on which only shapes are computed, has no autocast.
    return nullcontext() if device.type == 'meta' else torch.autocast(device.type, enabled=False)
