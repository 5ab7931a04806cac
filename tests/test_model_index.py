"""``model-index.yml`` and the metafiles: what mim and mmpretrain find of the recipes."""

import functools
from unittest import mock

import cv2
import mmpretrain
import numpy as np
import pytest
import tiny
import torch
import yaml
from mmpretrain.apis.model import ModelHub
from modelindex.load_model_index import load

import mixskd_mm
from mixskd_mm import model_index
from mixskd_mm.api import build, recipe_config
from mixskd_mm.configs import read_config

metafiles = tiny.load_tool('metafiles.py')


@pytest.fixture(scope='module', autouse=True)
def read_configs_once():
    read = functools.cache(read_config)
    with (
        mock.patch('mixskd_mm.api.read_config', lambda path: read(path).copy()),
        mock.patch.object(metafiles, 'read_config', read),
    ):
        yield


@pytest.fixture(scope='module')
def index():
    index = load(str(tiny.ROOT / 'model-index.yml'))
    index.build_models_with_collections()
    return index


@pytest.fixture(scope='module')
def models(index):
    return {model.name: model for model in index.models}


def test_every_recipe_is_there_once(index, models):
    assert len(models) == len(index.models)
    assert sorted(models) == mixskd_mm.list_models()
    for name, model in models.items():
        assert (tiny.ROOT / model.config).stem == name
        assert (tiny.ROOT / model.config).is_file()


def test_model_index_imports_every_metafile_and_has_every_collection(models, index):
    written = yaml.safe_load((tiny.ROOT / 'model-index.yml').read_text())
    found = {path.relative_to(tiny.ROOT).as_posix() for path in (tiny.ROOT / 'configs').rglob('metafile.yml')}
    assert set(written['Import']) == found
    collections = {one['Name']: one for one in written['Collections']}
    assert {model.in_collection for model in models.values()} == set(collections)
    assert all((tiny.ROOT / one['README']).is_file() for one in collections.values())


def test_metafiles_are_what_the_tool_writes(models, monkeypatch):
    """All but the arithmetic, of which a sample is counted below."""
    sizes = {}

    def from_file(network, size):
        sizes.setdefault(network, set()).add(size)
        return 0

    monkeypatch.setattr(metafiles, 'flops', from_file)
    for file, text in metafiles.metafiles().items():
        expected, written = yaml.safe_load(text)['Models'], yaml.safe_load(file.read_text())['Models']
        for one in (*expected, *written):
            one['Metadata'].pop('FLOPs', None)
        assert written == expected, file
    # One network is one number, wherever it is trained.
    assert all(len(tried) <= 2 for tried in sizes.values())


def test_no_result_is_claimed_that_was_not_measured(models):
    assert all(result.metrics is None for model in models.values() for result in model.results)


@pytest.mark.parametrize(
    ('name', 'size', 'count'),
    [('mixskd_r18_digits', 16, 701_466), ('baseline_wrn16-2_cifar100', 32, 703_284)],
)
def test_flops_and_parameters_are_the_plain_networks(name, size, count, models):
    plain = mixskd_mm.get_model(name)
    plain = plain.to_plain() if hasattr(plain, 'to_plain') else plain
    counted = metafiles.get_model_complexity_info(plain, (3, size, size), show_table=False, show_arch=False)
    metadata = models[name].metadata.data
    assert metadata['Parameters'] == counted['params'] == count
    # Of each set of libraries, which count other details.
    assert metadata['FLOPs'] == pytest.approx(counted['flops'], rel=0.02)


def test_published_counts(models):
    """torchvision's: 4.09 and 1.81 thousand million, without norms and pooling."""
    r50, r18 = models['mixskd_r50_imagenet'].metadata.data, models['supermix_r18_imagenet-100e'].metadata.data
    assert r50['Parameters'] == 25_557_032 and r18['Parameters'] == 11_689_512
    assert r50['FLOPs'] == pytest.approx(4.09e9, rel=0.02) and r18['FLOPs'] == pytest.approx(1.81e9, rel=0.02)
    cifar = models['mixskd_r18_cifar100'].metadata.data
    assert (cifar['Training Data'], cifar['Epochs'], cifar['Batch Size']) == ('CIFAR-100', 205, 128)
    # Both networks predict together.
    pair = models['dcm_r18_cifar100'].metadata.data
    assert pair['Parameters'] == 2 * cifar['Parameters'] and pair['FLOPs'] == 2 * cifar['FLOPs']


def test_every_name_builds():
    """Each method on each kind of network, on the device meta; backbones read numbers from what linspace gives."""
    built = set()
    with torch.device('meta'), mock.patch('torch.linspace', functools.partial(torch.linspace, device='cpu')):
        for name in mixskd_mm.list_models():
            cfg = recipe_config(name, {})
            kind = cfg.model.type, cfg.model.backbone.type
            if cfg.default_scope != 'mmpretrain' or kind in built:
                continue
            built.add(kind)
            model = build(cfg)
            assert (type(model).__name__, type(model.backbone).__name__) == kind, name
            assert model.head.fc.out_features == cfg.model.head.num_classes, name
    assert len(built) > 20


@pytest.fixture(scope='module')
def hub():
    """What mmpretrain has once it was asked; its own models take seconds to read, and are none of ours."""
    patch = pytest.MonkeyPatch()
    patch.setattr(ModelHub, '_models_dict', {})
    patch.setattr(ModelHub, '_ModelHub__mmpretrain_registered', True)
    yield
    patch.undo()


def test_mmpretrain_lists_the_classifiers(hub, models):
    assert {'mixskd_r50_imagenet', 'mixskd_r18_digits'} <= set(mmpretrain.list_models('*mixskd*'))
    # mmpretrain can build no detector and no segmenter.
    classifiers = {name for name, model in models.items() if 'Parameters' in model.metadata.data}
    assert set(mmpretrain.list_models()) == classifiers < set(models)
    # Asking again registers nothing twice.
    assert mmpretrain.list_models('mixskd_r18_d', task='Image Classification') == ['mixskd_r18_digits']


def test_mmpretrain_builds_and_predicts_by_name(hub, tmp_path):
    model = mixskd_mm.get_model('mixskd_r18_digits')
    torch.save(dict(state_dict=model.state_dict(), meta={}), tmp_path / 'trained.pth')
    theirs = mmpretrain.get_model('mixskd_r18_digits', str(tmp_path / 'trained.pth'))
    assert type(theirs) is type(model)
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(theirs(images), model(images))
    image = np.random.default_rng(0).integers(256, size=(16, 16, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / 'digit.png'), image)
    result = mmpretrain.inference_model(
        'mixskd_r18_digits', str(tmp_path / 'digit.png'), pretrained=str(tmp_path / 'trained.pth')
    )
    # BGR to RGB, then as the recipe normalises.
    inputs = (torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None].float() - 128) / 128
    np.testing.assert_allclose(result['pred_scores'], model(inputs).softmax(1)[0].detach().numpy(), rtol=1e-5)


def test_nothing_is_read_before_mmpretrain_is_asked(monkeypatch):
    """The index would make the import slower."""
    read = []
    monkeypatch.setattr(ModelHub, '_register_mmpretrain_models', classmethod(lambda cls: read.append('theirs')))
    monkeypatch.setattr(model_index, 'register', lambda: read.append('ours'))
    model_index.register_when_asked()
    assert read == []
    ModelHub._register_mmpretrain_models()
    assert read == ['theirs', 'ours']
