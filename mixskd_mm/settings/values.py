"""Which numbers a setting may have, by what its name means in the OpenMMLab libraries and torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from mixskd_mm.errors import InputError

from .paths import Path, dotted, key_of, walk

# Beyond any size, count, weight or rate of a training; mistyped exponents are not.
HUGE = 1e12


@dataclass(frozen=True)
class Range:
    """The numbers from ``low`` to ``high``, which a setting or each element of its list may be.

    Args:
        low (float): The smallest.
        high (float): The largest. Defaults to 1e12.
        whole (bool): Whether they are integers. Defaults to False.
        above (bool): Whether ``low`` itself is too small. Defaults to False.
        also (tuple): Other values, with a meaning of their own. Defaults to none.
        required (bool): Whether None is refused. Defaults to False.
    """

    low: float
    high: float = HUGE
    whole: bool = False
    above: bool = False
    also: tuple = ()
    required: bool = False

    def __contains__(self, value) -> bool:
        if any(value == other and type(value) is type(other) for other in self.also):
            return True
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return False
        if self.whole and value != int(value):
            return False
        return (value > self.low if self.above else value >= self.low) and value <= self.high

    def __str__(self) -> str:
        noun = 'a whole number' if self.whole else 'a number'
        if self.high >= HUGE:
            text = f'{noun} {">" if self.above else ">="} {self.low:g}'
        else:
            text = (
                f'{noun} {"above" if self.above else "from"} {self.low:g} {"up " if self.above else ""}to {self.high:g}'
            )
        return ' or '.join([text, *map(repr, self.also)])


COUNT = Range(1, 1e9, whole=True)
CHANNELS = Range(1, 1e6, whole=True)
FRACTION = Range(0, 1)
WEIGHT = Range(0, 1e6)
POSITIVE = Range(0, 1e9, above=True)

RANGES = {
    **dict.fromkeys(('batch_size', 'max_epochs', 'max_iters'), Range(1, 1e9, whole=True, required=True)),
    **dict.fromkeys(('val_interval', 'accumulative_counts', 'base_batch_size', 'window_size'), COUNT),
    **dict.fromkeys(('size_divisor', 'pad_size_divisor', 'num_outs', 'num_stages', 'num_classes', 'topk'), COUNT),
    **dict.fromkeys(('dilations', 'featmap_strides', 'roi_feat_size', 'milestones', 'num'), COUNT),
    **dict.fromkeys(('base_channels', 'stem_channels', 'feat_channels', 'fc_out_channels'), CHANNELS),
    **dict.fromkeys(('in_channels', 'out_channels', 'channels'), CHANNELS),
    **dict.fromkeys(('interval', 'max_keep_ckpts', 'nms_pre', 'max_per_img'), Range(1, 1e9, whole=True, also=(-1,))),
    'num_workers': Range(0, 4096, whole=True, required=True),
    'opencv_num_threads': Range(0, 4096, whole=True),
    'begin': Range(0, whole=True),
    'end': Range(1, whole=True),
    'dropout_ratio': Range(0, 1, also=(-1,)),
    'seed': Range(0, 2**32 - 1, whole=True),
    'lr': Range(0, 1e3, above=True, required=True),
    'eta_min': Range(0, 1e3),
    'momentum': FRACTION,
    'weight_decay': Range(0, 1e3),
    **dict.fromkeys(('strides', 'max_norm', 'T_max', 'power', 'std', 'target_stds', 'scales', 'ratios'), POSITIVE),
    **dict.fromkeys(('drop_path_rate', 'label_smooth_val', 'pos_fraction', 'prob'), FRACTION),
    **dict.fromkeys(('pos_iou_thr', 'neg_iou_thr', 'iou_threshold', 'score_thr', 'start_factor'), FRACTION),
    **dict.fromkeys(('loss_weight', 'class_weight', 'gamma'), WEIGHT),
    **dict.fromkeys(('crop_size', 'scale'), Range(0, 1e5, above=True, also=(-1,))),
    'size': Range(0, 1e5, above=True),
}


def check_values(config: Mapping) -> None:
    """Raise InputError for the first number of ``config`` that its setting cannot have."""
    for path, value in walk(config):
        check_finite(path, value)
        name = key_of(path)
        # An element of a list is checked with the list.
        if name in RANGES and path[-1] == name:
            check_range(path, value, RANGES[name])
        if path[-1] == 'indices' and (value == 0 or value in ([], ())):
            raise InputError(
                f'{dotted(path)}={value!r}: expected a number of images other than 0, or a list of indices'
            )


def check_finite(path: Path, value) -> None:
    """Raise InputError if a number is NaN, or larger than any setting can be."""
    if not isinstance(value, int | float) or abs(value) <= HUGE:
        return
    # torch's name for the largest gradient.
    if path[-1] == 'norm_type' and value == math.inf:
        return
    raise InputError(f'{dotted(path)}={value!r}: expected a number from -{HUGE:g} to {HUGE:g}')


def check_range(path: Path, value, allowed: Range) -> None:
    """Raise InputError unless a value, or each number in its lists, is in a range."""
    if value is None and not allowed.required:
        return
    numbers = list(leaves(value))
    for number in numbers:
        if number not in allowed:
            raise InputError(f'{dotted(path)}={shown(value)}: expected {allowed}')
    if not numbers:
        raise InputError(f'{dotted(path)}={value!r}: expected at least one number, {allowed}')


def leaves(value):
    """The elements of nested lists, or the value itself."""
    if isinstance(value, list | tuple):
        for part in value:
            yield from leaves(part)
    else:
        yield value


def shown(value) -> str:
    """A value for a message."""
    return shorten(repr(value), 80)


def shorten(text: str, limit: int = 200) -> str:
    """``text`` on one line, cut short if it is longer than ``limit``."""
    text = ' '.join(text.split())
    return text if len(text) <= limit else text[: limit - 4] + ' ...'
