"""Whether the schedule of the learning rate ends where the training ends."""

from __future__ import annotations

import math
from collections.abc import Iterator

from mmengine.config import Config

from mixskd_mm.errors import InputError

# They only begin a schedule: the learning rate may stay as it is afterwards.
WARM_UPS = ('LinearLR', 'ConstantLR')
ENDLESS = 10**9


def length_of(cfg: Config) -> tuple[bool, int] | None:
    """Whether the training counts epochs, and how many epochs or iterations it has; None without a known loop."""
    loop = cfg.get('train_cfg') or {}
    for key, by_epoch in (('max_epochs', True), ('max_iters', False)):
        if isinstance(loop.get(key), int):
            return by_epoch, loop[key]
    return None


def ends(cfg: Config, by_epoch: bool) -> Iterator[tuple[dict, int]]:
    """Each scheduler that counts what the training counts, and where it ends or changes for the last time."""
    schedulers = cfg.get('param_scheduler') or []
    for scheduler in schedulers if isinstance(schedulers, list | tuple) else [schedulers]:
        if not isinstance(scheduler, dict) or scheduler.get('by_epoch', True) != by_epoch:
            continue
        begin, end = scheduler.get('begin', 0), scheduler.get('end') or ENDLESS
        if scheduler.get('milestones'):
            end = min(end, max(scheduler['milestones']))
        if end >= ENDLESS and 'T_max' in scheduler:
            end = begin + scheduler['T_max']
        if end < ENDLESS:
            yield scheduler, end


def check_schedule(cfg: Config) -> None:
    """Raise InputError if the schedule goes on after the training, or is over before its end.

    A cosine, a polynomial and the like have to end with it; a warm-up and milestones have to lie within it.
    """
    length = length_of(cfg)
    if length is None:
        return
    by_epoch, total = length
    unit, key = ('epochs', 'max_epochs') if by_epoch else ('iterations', 'max_iters')
    found = list(ends(cfg, by_epoch))
    last = max((end for _, end in found), default=0)
    for scheduler, end in found:
        early = end == last < total and scheduler.get('type') not in WARM_UPS and not scheduler.get('milestones')
        # Paper recipes have a polynomial that would reach zero one iteration after the last.
        late = end > total + (not by_epoch)
        if late or early:
            raise InputError(
                f'param_scheduler: {scheduler.get("type")} ends after {end} {unit}, the training after {total} '
                f'(train_cfg.{key}): expected the same; --scale-schedule makes the schedule fit'
            )


def fit_schedule(cfg: Config, before: Config) -> None:
    """Stretch or shorten the schedule of ``cfg``, in place, as much as its training is longer or shorter than ``before``'s.

    Args:
        cfg (Config): With another ``train_cfg.max_epochs`` or ``max_iters``.
        before (Config): The recipe as it is in its file.

    Raises:
        InputError: if the trainings cannot be compared.
    """
    lengths = [length_of(one) for one in (cfg, before)]
    if None in lengths or lengths[0][0] != lengths[1][0]:
        raise InputError(
            '--scale-schedule: expected train_cfg.max_epochs, or train_cfg.max_iters, in the config and in --cfg-options'
        )
    schedulers = cfg.get('param_scheduler') or []
    schedulers = schedulers if isinstance(schedulers, list | tuple) else [schedulers]
    if lengths[0] != lengths[1]:
        scale_schedule(schedulers, lengths[0][1] / lengths[1][1], cfg.get('iters_per_epoch'))


def scale_schedule(schedulers: list[dict], share: float, iters_per_epoch: int | None) -> None:
    """Multiply the length of each part of a schedule; in place.

    Args:
        schedulers (list[dict]): The config's ``param_scheduler``.
        share (float): New length over old.
        iters_per_epoch (int, optional): For a linear warm-up that rises in every iteration: it starts at one step of it.
    """
    for scheduler in schedulers:
        for key in ('begin', 'end'):
            if scheduler.get(key) and scheduler[key] < ENDLESS:
                scheduler[key] = scaled(scheduler[key], share)
        if 'T_max' in scheduler:
            # A cosine that ends with the training still does.
            if scheduler.get('end'):
                scheduler['end'] = max(scheduler['end'], scheduler.get('begin', 0) + 1)
                scheduler['T_max'] = scheduler['end'] - scheduler.get('begin', 0)
            else:
                scheduler['T_max'] = scaled(scheduler['T_max'], share)
        if 'milestones' in scheduler:
            scheduler['milestones'] = [scaled(milestone, share) for milestone in scheduler['milestones']]
        if iters_per_epoch and scheduler.get('convert_to_iter_based') and scheduler['type'] == 'LinearLR':
            # As in the recipes: lr of iteration t is lr (t + 1) / (iterations of the warm-up).
            scheduler['start_factor'] = 1 / (scheduler['end'] * math.ceil(iters_per_epoch))


def scaled(length: int, share: float) -> int:
    """``length`` epochs or iterations times ``share``; at least 1."""
    return max(1, round(length * share))
