"""Numbers measured on the original code of the methods MixSKD is compared with: ``data/peers/<section>.json``.

A file holds cases, each with a seed, hyper-parameters, the recipe of its inputs, and what the original code returned for
them: values, and of each gradient the L2 norm and the first four entries (null: no gradient at all).
"""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path

import torch
from torch import Tensor

DATA = Path(__file__).parent / 'data' / 'peers'


def case(section: str, name: str) -> dict:
    """One case of ``data/peers/<section>.json``."""
    return json.loads((DATA / f'{section}.json').read_text())[name]


def tensors(case: dict) -> dict[str, Tensor]:
    """Name to input of the case. Floating-point ones are leaves that require a gradient."""
    inputs = {}
    for name, recipe in case['inputs'].items():
        generator, shape = seeded(name, case['seed']), recipe['shape']
        if recipe['kind'] == 'randn':
            inputs[name] = (recipe['scale'] * torch.randn(shape, generator=generator)).requires_grad_()
        elif recipe['kind'] == 'randint':
            inputs[name] = torch.randint(0, recipe['high'], shape, generator=generator)
        else:
            inputs[name] = torch.randperm(shape[0], generator=generator)
    return inputs


def weights(case: dict) -> dict[str, Tensor]:
    """Name to parameter or buffer of the case's network, by the original's names: ``values.keys`` holds their shapes."""
    state = {}
    for name, shape in case['values']['keys'].items():
        noise = torch.randn(shape, generator=seeded(name, case['seed']))
        if name.endswith('num_batches_tracked'):
            state[name] = torch.tensor(0)
        elif name.endswith('running_mean'):
            state[name] = torch.zeros(shape)
        elif name.endswith('running_var'):
            state[name] = torch.ones(shape)
        elif 'up_weight' in name or 'down_weight' in name:
            state[name] = 1 + 0.5 * noise
        elif len(shape) == 4:
            state[name] = noise * math.sqrt(2 / math.prod(shape[1:]))
        elif len(shape) == 2:
            state[name] = noise * math.sqrt(1 / shape[1])
        elif name.endswith('weight'):
            state[name] = 1 + 0.1 * noise
        else:
            state[name] = 0.1 * noise
    return state


def seeded(name: str, seed: int) -> torch.Generator:
    """The generator that draws the tensor ``name`` and nothing else."""
    return torch.Generator().manual_seed((zlib.crc32(name.encode()) + seed) % 2**31)


def assert_value(actual: Tensor | float, expected: float | list, rtol: float = 1e-4) -> None:
    """A loss term or a tensor of targets. 1e-4 is how far the original code itself is from float64."""
    actual = torch.as_tensor(actual).detach().double()
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=torch.float64), rtol=rtol, atol=1e-3 * rtol)


def assert_gradients(loss: Tensor, inputs: dict[str, Tensor], expected: dict, rtol: float = 1e-3) -> None:
    """The gradient of ``loss`` with respect to each input that ``expected`` names."""
    gradients = torch.autograd.grad(loss, [inputs[name] for name in expected], retain_graph=True, allow_unused=True)
    for (name, reference), gradient in zip(expected.items(), gradients, strict=True):
        if reference is None:
            assert gradient is None or not gradient.any(), f'{name} has a gradient'
            continue
        assert gradient is not None, f'{name} has no gradient'
        norm, head = gradient.double().norm(), gradient.flatten()[:4].double()
        reference_norm = torch.tensor(reference['norm'], dtype=torch.float64)
        torch.testing.assert_close(norm, reference_norm, rtol=rtol, atol=0, msg=lambda m: f'{name}: {m}')  # noqa: B023
        reference_head = torch.tensor(reference['head'], dtype=torch.float64)
        atol = 1e-6 * reference['norm']
        torch.testing.assert_close(head, reference_head, rtol=rtol, atol=atol, msg=lambda m: f'{name}: {m}')  # noqa: B023
