import pytest
from mmpretrain.registry import MODELS

import mixskd_mm  # noqa: F401  (registers everything)
from mixskd_mm.errors import InputError

STAGED = [
    'WideResNet_CIFAR', 'DenseNet_CIFAR', 'HCGNet_CIFAR', 'ThinResNet_CIFAR', 'BottleneckResNet_CIFAR', 'MobileNet_CIFAR',
]  # fmt: skip
DEPTHS = {
    'WideResNet_CIFAR': (['16', 16.0, None, True, 4, 17, -2], '6n + 4 with an integer n >= 1 (10, 16, 22, ...)'),
    'DenseNet_CIFAR': (['40', 40.0, None, True, 4, 41, 1], '3n + 4 with an integer n >= 1 (7, 10, 13, ...)'),
    'ThinResNet_CIFAR': (
        ['20', 20.0, None, True, 2, 18, 1208],
        '6n + 2 with an integer n from 1 to 200 (8, 14, 20, ...)',
    ),
    'BottleneckResNet_CIFAR': (
        ['164', 164.0, None, True, 2, 100, 1811],
        '9n + 2 with an integer n from 1 to 200 (11, 20, 29, ...)',
    ),
}
COUNTS = [
    ('WideResNet_CIFAR', 'widen_factor'), ('DenseNet_CIFAR', 'growth_rate'), ('HCGNet_CIFAR', 'num_units'),
    ('ThinResNet_CIFAR', 'stem_channels'), ('ThinResNet_CIFAR', 'base_channels'),
    ('BottleneckResNet_CIFAR', 'base_channels'), ('MobileNet_CIFAR', 'base_channels'),
]  # fmt: skip
WRONG = {
    **{f'{name} depth {depth!r}': (dict(type=name, depth=depth), f'{name} depth={depth!r}: expected {expected}')
       for name, (depths, expected) in DEPTHS.items() for depth in depths},
    **{f'{name} {argument} {value!r}': (
        {'type': name, argument: value}, f'{name} {argument}={value!r}: expected an integer >= 1'
    ) for name, argument in COUNTS for value in (0, -1, 2.0, '2', None, True)},
    **{f'{name} out_indices {indices!r}': (
        dict(type=name, out_indices=indices),
        f'{name} out_indices={indices!r}: expected a sequence of different stages from 0 to 2, such as (2,)',
    ) for name in STAGED for indices in ((), (3,), (-1,), (2, 2), (1.0,), (True,), 2, None, '2')},
    **{f'HCGNet_CIFAR growth_rates {rates!r}': (
        dict(type='HCGNet_CIFAR', growth_rates=rates),
        f'HCGNet_CIFAR growth_rates={rates!r}: expected three positive multiples of 4, such as (12, 24, 36)',
    ) for rates in ((12, 24), (12, 24, 36, 48), (12, 24, 37), (0, 4, 8), (-4, 4, 8), (4.0, 8, 12), 12, None, '444')},
}  # fmt: skip


@pytest.mark.parametrize('cfg, message', WRONG.values(), ids=WRONG.keys())
def test_wrong_arguments_end_in_one_line_that_names_value_and_expectation(cfg, message):
    with pytest.raises(InputError) as error:
        MODELS.build(dict(cfg))
    assert str(error.value) == message


@pytest.mark.parametrize('name', STAGED)
def test_out_indices_choose_the_outputs_first_to_last(name):
    """As lists too, which is what a config's JSON has."""
    assert MODELS.build(dict(type=name)).out_indices == (2,)
    assert MODELS.build(dict(type=name, out_indices=[0, 2])).out_indices == (0, 2)
