"""Recipes by name, ``to_plain()`` and wrapped networks; what docs/python.md shows runs as it stands."""

import re
from collections import OrderedDict
from unittest import mock

import cv2
import numpy as np
import pytest
import small_classifiers
import tiny
import torch
import torchvision
from mmengine.analysis import get_model_complexity_info
from mmengine.registry import DefaultScope
from mmpretrain import ImageClassificationInferencer
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn

import mixskd_mm
from mixskd_mm.api import COMPLETED_BY_DATA, root
from mixskd_mm.errors import InputError
from mixskd_mm.models import methods

DIGITS = 'mixskd_r18_digits'
STAGES = [['layer1'], ['layer2'], ['layer3'], ['layer4']]


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def same_tensors(a, b):
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())


@pytest.fixture(scope='module')
def digits_model():
    """As after a training: norms have statistics, and what starts at zero does not hide mistakes."""
    torch.manual_seed(0)
    model = mixskd_mm.get_model(DIGITS)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point() and tensor.ndim == 1:
                tensor.add_(0.1 * torch.rand_like(tensor))
    return model


@pytest.fixture(scope='module')
def checkpoint(digits_model, tmp_path_factory):
    file = tmp_path_factory.mktemp('checkpoints') / 'epoch_60.pth'
    meta = dict(dataset_meta=dict(classes=[str(digit) for digit in range(10)]))
    torch.save(dict(state_dict=digits_model.state_dict(), meta=meta), file)
    return str(file)


@pytest.fixture(scope='module')
def trunk():
    """torchvision's ResNet-18 without pooling and classifier, which returns a map and no tuple."""
    torch.manual_seed(0)
    resnet = torchvision.models.resnet18(weights=None)
    return nn.Sequential(OrderedDict(list(resnet.named_children())[:-2]))


def batch_for(model, images, labels):
    samples = [DataSample().set_gt_label(label) for label in labels]
    return model.data_preprocessor(dict(inputs=images, data_samples=samples), training=True)


# --- list_models -------------------------------------------------------------------------------------------------------


def test_list_models_has_each_config_once():
    files = [
        path
        for path in (tiny.ROOT / 'configs').rglob('*.py')
        if '_base_' not in path.parts and not path.stem.endswith(COMPLETED_BY_DATA)
    ]
    assert mixskd_mm.list_models() == sorted(path.stem for path in files)
    # mim refuses a name that two files have.
    assert len({path.name for path in files}) == len(files)


def test_list_models_matches_beginnings_as_mmpretrain_does():
    assert mixskd_mm.list_models('mixskd_r18_d') == [DIGITS]
    assert mixskd_mm.list_models('*_r18_digits') == ['baseline_r18_digits', DIGITS, 'mixup_r18_digits']
    assert mixskd_mm.list_models('r18') == []


def test_an_installed_package_reads_what_it_carries(tmp_path):
    file = tmp_path / 'mixskd_mm' / 'api.py'
    configs = tmp_path / 'mixskd_mm' / '.mim' / 'configs'
    configs.mkdir(parents=True)
    (configs / 'mine.py').touch()
    (configs.parent / 'model-index.yml').touch()
    with mock.patch('mixskd_mm.api.__file__', str(file)):
        assert root() == tmp_path / 'mixskd_mm' / '.mim'
        assert mixskd_mm.list_models() == ['mine']


# --- get_model ---------------------------------------------------------------------------------------------------------


def test_get_model_applies_overrides_and_the_number_of_classes():
    model = mixskd_mm.get_model(
        DIGITS, temperature=4.0, head=dict(num_classes=20), data_preprocessor=dict(alpha=0.25), feature_weight=0
    )
    assert not model.training
    assert (model.temperature, model.feature_weight) == (4.0, 0)
    assert model.head.num_classes == model.data_preprocessor.num_classes == 20
    assert model.data_preprocessor.mixture.alpha == 0.25
    assert model.data_preprocessor.mean.flatten().tolist() == [128.0] * 3
    assert model(torch.zeros(2, 3, 16, 16)).shape == (2, 20)


def test_get_model_draws_the_recipes_initial_weights(capfd):
    """Not PyTorch's: the classifier's have a deviation of 0.01, the last norms of residual branches are 0."""
    model = mixskd_mm.get_model('baseline_r18_digits')
    assert 0.008 < model.head.fc.weight.std() < 0.012
    assert model.head.fc.bias.abs().max() == 0
    # mmengine would print a line per parameter.
    assert 'backbone' not in ''.join(capfd.readouterr())


@pytest.mark.parametrize(
    ('name', 'overrides', 'message'),
    [
        ('mixskd_r18_digit', {}, f"name='mixskd_r18_digit' is no recipe: expected {DIGITS}"),
        (DIGITS, dict(temperature_=4.0), 'model.temperature_=4.0: no such setting: expected model.temperature'),
        (DIGITS, dict(temperature=-1.0), 'temperature=-1.0: expected a finite number > 0'),
        (
            DIGITS,
            dict(backbone=dict(depht=18)),
            'model.backbone.depht=18: no such setting: expected model.backbone.depth',
        ),
        (DIGITS, dict(type='MixSKD'), "model.type='MixSKD'"),
        (DIGITS, dict(head=dict(num_classes=dict(a=1))), 'cannot inherit from base'),
    ],
)
def test_get_model_refuses_what_does_not_exist(name, overrides, message):
    with pytest.raises(InputError) as error:
        mixskd_mm.get_model(name, **overrides)
    assert message in str(error.value)
    assert '\n' not in str(error.value)


def test_get_model_loads_all_of_a_training_checkpoint(digits_model, checkpoint):
    model = mixskd_mm.get_model(DIGITS, checkpoint)
    assert same_tensors(model.state_dict(), digits_model.state_dict())
    assert model._dataset_meta['classes'][7] == '7'


def test_get_model_loads_an_export_and_draws_the_rest(digits_model, tmp_path, caplog):
    file = tmp_path / 'plain.pth'
    torch.save(dict(state_dict=digits_model.to_plain().state_dict()), file)
    with mock.patch('mixskd_mm.checkpoints.load.print_log') as log:
        model = mixskd_mm.get_model(DIGITS, str(file))
    assert 'starts from initial weights' in log.call_args[0][0]
    assert same_tensors(model.to_plain().state_dict(), digits_model.to_plain().state_dict())
    # mmengine's initialisation, not PyTorch's, whose bias is none of zeros.
    assert model.branches[0].head.fc.bias.abs().max() == 0
    assert model.self_teacher.fc.weight.std() > 0


def test_get_model_loads_a_method_into_a_baseline_and_no_other_network(digits_model, checkpoint):
    baseline = mixskd_mm.get_model('baseline_r18_digits', checkpoint)
    assert same_tensors(baseline.state_dict(), digits_model.to_plain().state_dict())
    with pytest.raises(InputError, match='of another shape'):
        mixskd_mm.get_model(DIGITS, checkpoint, head=dict(num_classes=11))
    with pytest.raises(InputError, match='lacks'):
        mixskd_mm.get_model('baseline_wrn16-2_cifar100', checkpoint)


# --- to_plain ----------------------------------------------------------------------------------------------------------


def test_the_plain_network_is_what_tools_count_and_trace(digits_model):
    plain = digits_model.to_plain()
    assert (round(count(plain) / 1e6, 1), round(count(digits_model) / 1e6, 1)) == (0.7, 2.7)
    assert type(plain).__name__ == 'ImageClassifier'
    counts = get_model_complexity_info(plain, (3, 16, 16), show_table=False, show_arch=False)
    assert counts['params'] == count(plain) == count(mixskd_mm.get_model('baseline_r18_digits'))
    images = torch.randn(2, 3, 16, 16)
    traced = torch.jit.trace(plain, images)
    assert sum(parameter.numel() for parameter in traced.parameters()) == count(plain)
    assert torch.equal(traced(images), digits_model(images))


def test_the_plain_network_is_a_copy(digits_model):
    plain = digits_model.to_plain()
    own = {parameter.data_ptr() for parameter in digits_model.parameters()}
    assert not own & {parameter.data_ptr() for parameter in plain.parameters()}
    assert not plain.training and digits_model.to_plain().training is digits_model.training


def test_inferencers_take_the_plain_network(digits_model, checkpoint):
    """With the recipe's pipeline, the checkpoint's names of classes, and the model's predictions."""
    model = mixskd_mm.get_model(DIGITS, checkpoint)
    image = np.random.default_rng(0).integers(256, size=(16, 16, 3), dtype=np.uint8)
    results = [ImageClassificationInferencer(one)(image)[0] for one in (model, model.to_plain())]
    assert np.array_equal(results[0]['pred_scores'], results[1]['pred_scores'])
    assert results[1]['pred_class'] == str(results[1]['pred_label'])


# --- wrap --------------------------------------------------------------------------------------------------------------


def test_wrap_trains_the_very_backbone(trunk):
    model = mixskd_mm.wrap(trunk, num_classes=10, stages=STAGES, data_preprocessor=dict(alpha=0.4))
    assert model.backbone is trunk and model.training
    images = torch.randn(4, 3, 64, 64)
    torch.testing.assert_close(model.eval()(images), model.head.fc(trunk(images).mean(dim=(2, 3))))
    plain = model.to_plain()
    assert torch.equal(plain(images), model(images))
    # ResNet-18 with 10 classes.
    assert count(plain) == 11_181_642
    batch = batch_for(model.train(), torch.randint(256, (4, 3, 64, 64)), torch.arange(4))
    losses = model.loss(**batch)
    loss, _ = model.parse_losses(losses)
    loss.backward()
    assert losses.keys() == {f'loss_{t}' for t in ('cls', 'feature', 'dis', 'b_logit', 'cls_h', 'f_logit')}
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())
    model.zero_grad()


@pytest.mark.parametrize('method', ['CSKDClassifier', 'TfKDClassifier'])
def test_methods_without_stages_train_a_backbone_that_returns_one_map(method, trunk):
    """The map of all images, not that of the last one."""
    model = mixskd_mm.wrap(trunk, method, num_classes=10)
    images = torch.randn(4, 3, 64, 64)
    labels = torch.tensor([3, 3, 1, 1])
    samples = [DataSample().set_gt_label(label) for label in labels]
    logits = model.head.fc(trunk(images).mean(dim=(2, 3)))
    torch.testing.assert_close(model.classify(model.feature_map(images)), logits)
    assert sum(model.loss(images, samples).values()) > 0


def plain_classifier():
    torch.manual_seed(3)
    config = small_classifiers.config('ImageClassifier')
    preprocessor = dict(type='ClsDataPreprocessor', mean=[10.0, 20.0, 30.0], std=[2.0, 3.0, 4.0], to_rgb=True)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(dict(config, data_preprocessor=preprocessor))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


METHODS = sorted(name for name in methods.__all__ if name.endswith('Classifier'))
# What they need besides.
ARGUMENTS = {'PSKDClassifier': dict(num_samples=8), 'SuperMixClassifier': dict(mixed_labels='data')}


@pytest.mark.parametrize('method', METHODS)
def test_wrap_keeps_a_classifier_for_every_method(method):
    network = plain_classifier()
    if method in ('DCMClassifier', 'KDClassifier'):
        with pytest.raises(InputError):
            mixskd_mm.wrap(network, method)
        return
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    model = mixskd_mm.wrap(network, method, **ARGUMENTS.get(method, {}))
    # What a Runner calls.
    model.init_weights()
    plain = model.eval().to_plain()
    assert same_tensors(plain.state_dict(), before)
    images = torch.randn(3, 3, 16, 16)
    assert torch.equal(plain(images), network(images)) and torch.equal(model(images), network(images))
    raw = dict(inputs=torch.randint(256, (3, 3, 16, 16)))
    normalised = [one.data_preprocessor(dict(raw))['inputs'] for one in (network, model, plain)]
    assert torch.equal(normalised[0], normalised[1]) and torch.equal(normalised[0], normalised[2])


def test_wrapped_branches_start_as_the_method_has_them():
    """Neither with the network's weights nor with PyTorch's."""
    model = mixskd_mm.wrap(plain_classifier())
    branch, backbone = model.branches[0].stages.layer2[0].conv1.weight, model.backbone.layer2[0].conv1.weight
    assert not torch.equal(branch, backbone)
    # He's: the deviation is sqrt(2 / fan out).
    assert 0.9 < branch.std() / (2 / (branch.shape[0] * 9)) ** 0.5 < 1.1
    assert model.branches[0].head.fc.bias.abs().max() == 0


@pytest.mark.parametrize(
    ('network', 'arguments', 'message'),
    [
        ('plain', dict(method='ResNet'), "method='ResNet': expected the name of a classifier of mixskd_mm"),
        ('plain', dict(method='Mixskd'), "method='Mixskd': expected"),
        ('plain', dict(num_classes=3), 'num_classes=3 beside an ImageClassifier'),
        (
            'plain',
            dict(temperature_=3.0),
            "unexpected keyword argument 'temperature_': expected arguments of MixSKDClassifier",
        ),
        ('trunk', {}, 'num_classes is missing'),
        ('trunk', dict(num_classes=10), 'expected stages='),
        ('resnet', dict(num_classes=10, stages=STAGES), 'gives (1, 1000): expected a map (N, C, H, W)'),
        ('mixup', {}, 'expected data_preprocessor=dict(alpha=...)'),
        ('mixskd', {}, 'network is a MixSKDClassifier: expected its to_plain()'),
    ],
)
def test_wrap_refuses(network, arguments, message, request, digits_model):
    made = {
        'plain': plain_classifier,
        'trunk': lambda: request.getfixturevalue('trunk'),
        'resnet': torchvision.models.resnet18,
        'mixup': lambda: mixskd_mm.get_model('mixup_r18_digits'),
        'mixskd': lambda: digits_model,
    }[network]()
    if network == 'trunk' and hasattr(made, 'stage_cut'):
        # Another test has declared its stages.
        del made.stage_cut
    with pytest.raises(InputError) as error:
        mixskd_mm.wrap(made, **arguments)
    assert message in str(error.value)


# --- docs/python.md ----------------------------------------------------------------------------------------------------


def test_the_documentation_runs(digits_model, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    trained = tmp_path / 'work_dirs/quickstart/mixskd_seed0/epoch_60.pth'
    trained.parent.mkdir(parents=True)
    torch.save(dict(state_dict=digits_model.state_dict(), meta={}), trained)
    image = np.random.default_rng(0).integers(256, size=(16, 16, 3), dtype=np.uint8)
    cv2.imwrite('digit.png', image)
    text = (tiny.ROOT / 'docs' / 'python.md').read_text(encoding='utf-8')
    names = {}
    blocks = re.findall(r'```python\n(.*?)```', text, flags=re.DOTALL)
    assert len(blocks) >= 10
    before = None
    for block in blocks:
        exec(compile(block, 'docs/python.md', 'exec'), names)
        if 'optimizer.step()' in block:
            before = names['loss'].item()
    assert before > 0 and names['loss'].ndim == 0
    assert count(names['plain']) == names['counts']['params']
    assert names['result']['pred_label'] in range(10)
    assert same_tensors(names['plain'].state_dict(), digits_model.to_plain().state_dict())
