"""The recipes, against what the paper says (MixSKD, section 4.1 and appendix B.1; Tables 1 to 3)."""

from __future__ import annotations

import functools
import math

import facts
import pytest
import torch
from facts import read
from mmengine.dataset import Compose
from mmpretrain.models.backbones.resnet import BasicBlock, Bottleneck
from recipes import CELLS, CONFIGS, FILES, METHODS, column_facts, common_facts, expected_facts
from torch import nn

from mixskd_mm.models.losses import discriminator_loss


@pytest.fixture(scope='module')
def build():
    """:func:`facts.build`, each only once."""
    return functools.cache(facts.build)


@pytest.mark.parametrize('name', CELLS)
def test_facts(name):
    found, expected = facts.facts(*facts.build(name, initialise=False), CELLS[name].gpus), expected_facts(name)
    assert {key: found[key] for key in expected} == expected


def test_what_is_expected_names_recipes_that_exist():
    assert set(METHODS) <= {cell.method for cell in CELLS.values()}
    assert set(FILES) <= set(CELLS)
    # Nothing that all recipes have is left out for one.
    names = [{*common_facts(), *column_facts(column)} for column in ('r18', 'cub', 'r50')]
    assert names[0] == names[1] == names[2]


def last_norms(module):
    """The norm that ends the residual of each block."""
    for block in module.modules():
        if isinstance(block, BasicBlock):
            yield block.norm2
        elif isinstance(block, Bottleneck):
            yield block.norm3


@pytest.mark.parametrize(
    ('name', 'blocks', 'is_mixskd'),
    [
        ('baseline_r50_imagenet.py', (3, 4, 6, 3), False),
        ('mixskd_r50_imagenet.py', (3, 4, 6, 3), True),
        ('cifar100/mixskd_r18_cifar100.py', (2, 2, 2, 2), True),
        ('fine_grained/mixskd_r18_cub.py', (2, 2, 2, 2), True),
    ],
)
def test_residual_branches_do_not_start_at_zero(build, name, blocks, is_mixskd):
    _, model = build(name)
    norms = list(last_norms(model))
    branches = sum(blocks[1:]) + sum(blocks[2:]) + sum(blocks[3:]) if is_mixskd else 0
    assert len(norms) == sum(blocks) + branches
    assert all((norm.weight == 1).all() for norm in norms)


class TestRelease:
    """What the authors' ImageNet script does otherwise than the paper."""

    @pytest.fixture
    def built(self, build):
        return build('mixskd_r50_imagenet_release.py')

    def test_sixteen_images_a_gpu(self, built):
        assert built[0].train_dataloader.batch_size == 16

    def test_discriminators_have_two_logits_and_never_learn(self, built):
        _, model = built
        assert [d.mlp[-1].out_features for d in model.discriminators] == [2, 2, 2, 2]
        assert not any(parameter.requires_grad for parameter in model.discriminators.parameters())
        assert all(parameter.requires_grad for parameter in model.self_teacher.parameters())

    def test_discriminator_loss_is_the_released_one(self, built):
        """Mean binary cross-entropy over 2N x 2 entries: [1, 0] for interpolated features, [0, 1] for mixed ones."""
        _, model = built
        features = torch.randn(6, 2048, generator=torch.Generator().manual_seed(0))
        logits = 3 * model.discriminators[0](features)
        interpolated, mixed = logits[:3], logits[3:]
        targets = torch.tensor([[1.0, 0.0]] * 3 + [[0.0, 1.0]] * 3)
        expected = nn.BCELoss()(torch.sigmoid(logits), targets)
        torch.testing.assert_close(model.dis_weight * discriminator_loss(interpolated, mixed), expected)

    def test_classifiers_start_as_pytorch_initialises_them(self, built):
        _, model = built
        for head in (model.head, *(branch.head for branch in model.branches)):
            # U(-1/sqrt(2048), 1/sqrt(2048)), biases too; mmpretrain's is N(0, 0.01) and zero biases.
            limit = 2048**-0.5
            for values in (head.fc.weight, head.fc.bias):
                assert values.abs().max().item() == pytest.approx(limit, rel=0.01)
                assert values.std().item() == pytest.approx(limit / 3**0.5, rel=0.1)

    def test_the_paper_recipe_starts_classifiers_as_mmpretrain_does(self, build):
        _, model = build('mixskd_r50_imagenet.py')
        for head in (model.head, *(branch.head for branch in model.branches)):
            assert head.fc.weight.std().item() == pytest.approx(0.01, rel=0.05)
            assert (head.fc.bias == 0).all()


DIGITS = sorted(path.relative_to(CONFIGS).as_posix() for path in CONFIGS.glob('quickstart/*digits.py'))


@pytest.mark.parametrize('name', DIGITS)
def test_quickstart_models_build(build, name):
    cfg, model = build(name)
    assert model.head.num_classes == 10
    assert ('MixSKD' in type(model).__name__) == ('mixskd' in name)
    assert isinstance(Compose(cfg.train_dataloader.dataset.pipeline), Compose)


def test_quickstart_methods_share_their_schedule():
    cfgs = [read(name) for name in DIGITS]
    for key in ('optim_wrapper', 'param_scheduler', 'train_cfg', 'train_dataloader', 'test_dataloader', 'randomness'):
        assert cfgs[0][key] == cfgs[1][key] == cfgs[2][key], key
    assert len(cfgs) == 3


def test_quickstart_warm_up_fits_its_epochs():
    cfg = read(DIGITS[0])
    assert cfg.iters_per_epoch == math.ceil(200 / cfg.train_dataloader.batch_size)
    rates = facts.learning_rates(cfg, cfg.iters_per_epoch)
    lr = cfg.optim_wrapper.optimizer.lr
    assert rates[: 5 * cfg.iters_per_epoch] == pytest.approx(facts.warm_up(lr, 5 * cfg.iters_per_epoch), rel=1e-6)
    assert rates[-1] < 0.01 * lr


@pytest.mark.parametrize('name', DIGITS)
def test_quickstart_runs_can_resume_and_their_logs_wait_for_the_device_once_per_interval(name):
    found = facts.run_facts(read(name))
    assert found == {key: common_facts()[key] for key in found}
