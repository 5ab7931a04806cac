"""Checks of the arguments that the CIFAR networks have in common."""

from __future__ import annotations

from collections.abc import Sequence

from mixskd_mm.errors import InputError


def check_positive_int(name: str, value: int) -> int:
    """Return ``value`` if it is an integer >= 1. Raises InputError otherwise."""
    if type(value) is not int or value < 1:
        raise InputError(f'{name}={value!r}: expected an integer >= 1')
    return value


def check_depth(name: str, depth: int, slope: int, offset: int) -> int:
    """n of ``depth = slope * n + offset``. Raises InputError unless it is an integer >= 1."""
    if type(depth) is not int or depth <= offset or (depth - offset) % slope:
        examples = ', '.join(str(slope * n + offset) for n in range(1, 4))
        raise InputError(f'{name}={depth!r}: expected {slope}n + {offset} with an integer n >= 1 ({examples}, ...)')
    return (depth - offset) // slope


def check_out_indices(name: str, out_indices: Sequence[int], num_stages: int) -> tuple[int, ...]:
    """Return ``out_indices`` as a tuple if they are different stages, 0-based. Raises InputError otherwise."""
    indices = tuple(out_indices) if isinstance(out_indices, list | tuple) else ()
    in_range = all(type(index) is int and 0 <= index < num_stages for index in indices)
    if not in_range or not indices or len(set(indices)) < len(indices):
        raise InputError(
            f'{name}={out_indices!r}: expected a sequence of different stages from 0 to {num_stages - 1}, such as '
            f'({num_stages - 1},)'
        )
    return indices
