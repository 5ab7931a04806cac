"""What a kind of device cannot do."""

from __future__ import annotations

import torch


def dtype_on(device: torch.device | str, dtype: torch.dtype = torch.float64) -> torch.dtype:
    """``dtype``, or float32 for float64 on Apple's GPUs (``mps``), which have none."""
    return torch.float32 if torch.device(device).type == 'mps' and dtype == torch.float64 else dtype
