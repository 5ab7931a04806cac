"""A network small enough to test on one core, and batches for it.

Tests run on the CPU, so that they give the same everywhere; those marked ``gpu`` run alone: ``pytest -m gpu``.
"""

import functools
import gc
import os
import tempfile
from unittest import mock

import mmengine.config.utils
import pytest
import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

import mixskd_mm  # noqa: F401  (registers everything)
from mixskd_mm.differences import COMPILES


def pytest_configure(config):
    # A shared cache also gives code for other vector instructions, which computes wrong numbers or crashes.
    compiled = tempfile.TemporaryDirectory(prefix='mixskd_inductor_')
    config.add_cleanup(compiled.cleanup)
    os.environ['TORCHINDUCTOR_CACHE_DIR'] = compiled.name
    if config.option.markexpr != 'gpu':
        # Before CUDA is asked for; subprocesses too.
        os.environ['CUDA_VISIBLE_DEVICES'] = ''


def pytest_collection_modifyitems(items):
    reasons = {}
    if not torch.cuda.is_available():
        reasons['gpu'] = 'needs a CUDA device: pytest -m gpu'
    if not COMPILES:
        reasons['compiles'] = f'torch {torch.__version__} does not compile the steps of the methods'
    for item in items:
        for marker, reason in reasons.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_collection_finish():
    # mmengine collects garbage for each data set that it builds, which takes half a second with all that was imported.
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def leaves_torch_as_it_was():
    """What a test switches for the whole process, as a tool's main may, the next test in this process would inherit."""

    def switches():
        return dict(
            grad=torch.is_grad_enabled(),
            dtype=torch.get_default_dtype(),
            deterministic=torch.are_deterministic_algorithms_enabled(),
        )

    before = switches()
    yield
    after = switches()
    torch.set_grad_enabled(before['grad'])
    torch.set_default_dtype(before['dtype'])
    torch.use_deterministic_algorithms(before['deterministic'])
    assert after == before


@pytest.fixture(scope='session', autouse=True)
def read_metafiles_once():
    """mmengine reads all metafiles of mmpretrain for each file of its that a config inherits from."""
    with mock.patch('mmengine.config.utils.load', functools.cache(mmengine.config.utils.load)):
        yield


@pytest.fixture
def mixskd_cfg():
    """Function: config of a MixSKDClassifier with K = 4 stages of 8, 16, 32 and 64 channels, and 10 classes.

    ``backbone`` and ``head`` are updated, any other argument is the classifier's own. Residual branches are not initialised
    with zero: that would hide gradients.
    """

    def config(backbone=None, head=None, **kwargs):
        tiny = dict(type='ResNet_CIFAR', depth=18, stem_channels=8, base_channels=8, zero_init_residual=False)
        linear = dict(type='LinearClsHead', num_classes=10, in_channels=64)
        return dict(
            type='MixSKDClassifier',
            backbone={**tiny, **(backbone or {})},
            neck=dict(type='GlobalAveragePooling'),
            head={**linear, **(head or {})},
            **kwargs,
        )

    return config


@pytest.fixture
def build_mixskd(mixskd_cfg):
    """Function: build the classifier of ``mixskd_cfg`` in training mode, with initial weights that ``seed`` determines.

    Affine parameters of norms and all biases are random too, lest a mistake hides behind ones and zeros.
    """

    def build(seed=0, **kwargs):
        torch.manual_seed(seed)
        model = MODELS.build(mixskd_cfg(**kwargs))
        model.init_weights()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 1:
                    parameter.add_(0.1 * torch.randn_like(parameter))
        return model.train()

    return build


@pytest.fixture
def make_batch():
    """Function: normalised images ``(n, 3, size, size)`` and data samples with one label each, determined by ``seed``."""

    def batch(n=4, size=16, num_classes=10, seed=0, dtype=torch.float32):
        generator = torch.Generator().manual_seed(seed)
        images = torch.randn(n, 3, size, size, generator=generator, dtype=dtype)
        labels = torch.randint(num_classes, (n,), generator=generator)
        return images, [DataSample().set_gt_label(label) for label in labels]

    return batch
