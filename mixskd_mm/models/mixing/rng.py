"""Random numbers of a training iteration that depend on the run, the rank and the iteration alone."""

from __future__ import annotations

import zlib

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.logging import MessageHub


def training_rng(stream: str) -> np.random.Generator:
    """The generator for this rank's draws in this training iteration.

    Inside a Runner's training loop it depends on the run's seed, the rank, the iteration and ``stream`` alone: ranks draw
    differently, and a resumed run draws what the uninterrupted one would have drawn. Elsewhere it follows
    ``torch.manual_seed``.

    Args:
        stream (str): What is drawn, such as ``'mixture'``. Each name has draws of its own, independent of all others.
    """
    hub = MessageHub.get_current_instance()
    if hub.runtime_info.get('loop_stage') == 'train':
        name = zlib.crc32(stream.encode())
        return np.random.default_rng([hub.get_info('seed'), get_rank(), hub.get_info('iter'), name])
    return np.random.default_rng(torch.randint(2**63 - 1, ()).item())
