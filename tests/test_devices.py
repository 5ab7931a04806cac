"""Other machines: Apple's GPUs have no float64, Windows has no fcntl."""

import importlib
import sys
from unittest import mock

import pytest
import torch

from mixskd_mm import locks
from mixskd_mm.devices import dtype_on


def test_scalars_are_float32_where_there_is_no_float64():
    assert dtype_on('mps') == torch.float32
    assert dtype_on('cpu') == dtype_on('cuda:1') == torch.float64
    assert [dtype_on('mps', dtype) for dtype in (torch.int64, torch.float16)] == [torch.int64, torch.float16]


@pytest.fixture
def without_fcntl():
    with mock.patch.dict(sys.modules, fcntl=None):
        importlib.reload(locks)
    yield
    importlib.reload(locks)


def test_a_system_without_fcntl_trains_without_locks(tmp_path, without_fcntl):
    assert locks.fcntl is None
    with locks.locked(tmp_path / 'run'), locks.try_lock(tmp_path / 'run' / '.lock') as free:
        assert free
