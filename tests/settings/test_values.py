import math

import pytest

from mixskd_mm.errors import InputError
from mixskd_mm.settings.values import HUGE, Range, check_values


def message(config):
    with pytest.raises(InputError) as error:
        check_values(config)
    return str(error.value)


@pytest.mark.parametrize(
    ('config', 'expected'),
    [
        (dict(optimizer=dict(lr=-0.1)), 'optimizer.lr=-0.1: expected a number above 0 up to 1000'),
        (dict(optimizer=dict(lr=None)), 'optimizer.lr=None: expected a number above 0 up to 1000'),
        (dict(optimizer=dict(momentum=1.5)), 'optimizer.momentum=1.5: expected a number from 0 to 1'),
        (dict(accumulative_counts=1.5), 'accumulative_counts=1.5: expected a whole number from 1 to 1e+09'),
        (dict(hooks=[dict(interval=0)]), 'hooks.0.interval=0: expected a whole number from 1 to 1e+09 or -1'),
        (dict(batch_size='abc'), "batch_size='abc': expected a whole number from 1 to 1e+09"),
        (dict(std=[1.0, 0.0]), 'std=[1.0, 0.0]: expected a number above 0 up to 1e+09'),
        (dict(std=[]), 'std=[]: expected at least one number, a number above 0 up to 1e+09'),
        (dict(loss=dict(loss_weight=1e30)), 'loss.loss_weight=1e+30: expected a number from -1e+12 to 1e+12'),
        (dict(anything=[0, math.nan]), 'anything.1=nan: expected a number from -1e+12 to 1e+12'),
        (dict(anything=-math.inf), 'anything=-inf: expected a number from -1e+12 to 1e+12'),
        (dict(indices=0), 'indices=0: expected a number of images other than 0, or a list of indices'),
    ],
)
def test_a_number_out_of_range_is_named_with_what_was_expected(config, expected):
    assert message(config) == expected


def test_numbers_with_a_meaning_of_their_own_pass():
    check_values(dict(interval=-1, max_keep_ckpts=-1, num_workers=0, momentum=None, scale=(256, -1), indices=-3))
    check_values(dict(clip_grad=dict(max_norm=5.0, norm_type=math.inf), end=2**31, in_channels=[64, 128], lr=1e-8))


def test_a_range_holds_its_bounds_unless_they_are_excluded():
    assert 0 in Range(0, 1) and 1 in Range(0, 1) and 0 not in Range(0, 1, above=True)
    assert True not in Range(0, 1) and math.nan not in Range(0, HUGE) and math.inf not in Range(0, whole=True)
