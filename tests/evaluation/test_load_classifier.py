"""Loading a classifier with its test data, and what is refused."""

import pytest
import tiny
import torch
from mmengine.config import Config
from torch import nn

from mixskd_mm.errors import InputError
from mixskd_mm.evaluation import load_classifier
from mixskd_mm.evaluation.loading import read_label, stack_images


@pytest.fixture(scope='module')
def checkpoints(tmp_path_factory):
    """Checkpoints of one epoch: {method: file}."""
    files = {}
    for method in ('baseline', 'mixskd'):
        work_dir = tmp_path_factory.mktemp(method)
        tiny.train(tiny.make_config(work_dir, {'train_cfg.max_epochs': 1}, method=method))
        files[method] = work_dir / 'epoch_1.pth'
    return files


@pytest.fixture
def changed(checkpoints, tmp_path):
    """Function: a copy of the baseline's checkpoint, its state dict changed by ``change``."""

    def make(change):
        checkpoint = tiny.load(checkpoints['baseline'])
        change(checkpoint['state_dict'])
        torch.save(checkpoint, tmp_path / 'changed.pth')
        return tmp_path / 'changed.pth'

    return make


def load(checkpoint, method='baseline', options=None, **kwargs):
    return load_classifier('tiny', tiny.make_config('unused', options, method=method), str(checkpoint), **kwargs)


@pytest.mark.parametrize('method', ['baseline', 'mixup', 'mixskd'])
@pytest.mark.parametrize('trained_as', ['baseline', 'mixskd'])
def test_plain_and_mixskd_checkpoints_fit_each_others_configs(method, trained_as, checkpoints):
    model = load(checkpoints[trained_as], method).model
    state = model.state_dict()
    saved = tiny.load(checkpoints[trained_as])['state_dict']
    compared = [name for name in saved if name.startswith(('backbone.', 'neck.', 'head.'))]
    assert len(compared) > 100 and all(torch.equal(state[name], saved[name]) for name in compared)
    assert not model.training and not any(parameter.requires_grad for parameter in model.parameters())


def test_the_data_are_the_test_images_through_the_configs_pipeline(checkpoints):
    # Others than the validation images, and a pipeline of their own.
    options = {
        'test_dataloader.dataset.data_prefix': 'train',
        'test_dataloader.dataset.pipeline': [
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=24),
            dict(type='PackInputs'),
        ],
        'test_dataloader.batch_size': 16,
        'test_dataloader.sampler.shuffle': True,
    }
    classifier = load(checkpoints['baseline'], options=options)
    batches = list(classifier.batches())
    assert [images.shape for images, _ in batches] == [(16, 3, 24, 24), (16, 3, 24, 24), (8, 3, 24, 24)]
    assert torch.cat([labels for _, labels in batches]).tolist() == sorted([*range(10)] * 4)
    images = torch.cat([images for images, _ in batches])
    torch.testing.assert_close(classifier.normalise(images), (images.float() - 128) / 128)


@pytest.mark.parametrize('workers', [0, 2])
def test_pairs_are_rows_of_the_same_images(checkpoints, workers):
    classifier = load(checkpoints['baseline'], options={'test_dataloader.num_workers': workers})
    # An odd batch size would tear pairs apart.
    classifier.batch_size = 7
    images = torch.cat([images for images, _ in classifier.batches()])
    batches = list(classifier.pairs(seed=5))
    assert {len(images) for images, _ in batches} == {6, 4}
    rows, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert torch.equal(rows[::2], images) and torch.equal(labels[::2], classifier.labels)
    partners = [int((images == row).flatten(1).all(dim=1).nonzero()[0]) for row in rows[1::2]]
    assert sorted(partners) == list(range(50)) and partners != list(range(50))
    assert torch.equal(labels[1::2], classifier.labels[partners])


def test_a_subset_is_evenly_spaced(checkpoints):
    every = load(checkpoints['baseline'])
    some = load(checkpoints['baseline'], images=20)
    chosen = [0, 2, 5, 7, 10, 12, 15, 17, 20, 22, 25, 27, 30, 32, 35, 37, 40, 42, 45, 47]
    assert len(some) == 20 and torch.equal(some.labels, every.labels[chosen])
    assert torch.equal(next(some.batches())[0], next(every.batches())[0][chosen])
    for images in (0, 51, -1):
        with pytest.raises(
            InputError, match=f'^{images} test images asked for: expected 1 to 50, as many as tiny has$'
        ):
            load(checkpoints['baseline'], images=images)


def remove(state):
    del state['head.fc.bias']


def add(state):
    state['backbone.layer5.0.conv1.weight'] = torch.zeros(1)


def reshape(state):
    state['head.fc.weight'] = torch.zeros(100, 64)


def spoil(state):
    state['head.fc.weight'][3, 2] = float('nan')


REFUSED = {
    remove: r'lacks 1 of the \d+ tensors that ImageClassifier expects \(first: head.fc.bias\)$',
    add: r'has 1 tensors that ImageClassifier does not have \(first: backbone.layer5.0.conv1.weight\)$',
    reshape: r'has 1 of another shape \(first: head.fc.weight, \(100, 64\) instead of \(10, 64\)\)$',
    spoil: r'head.fc.weight holds NaN or an infinity: expected finite weights$',
}


@pytest.mark.parametrize('change', REFUSED)
def test_a_checkpoint_that_does_not_fit(change, changed):
    path = changed(change)
    with pytest.raises(InputError, match=REFUSED[change]) as error:
        load(path)
    assert str(error.value).startswith(f'checkpoint {path}')


def test_what_only_training_needs_does_not_count(changed):
    load(changed(lambda state: state.update({'branches.0.conv.weight': torch.full((1,), float('nan'))})), 'mixskd')


def test_a_missing_checkpoint(tmp_path):
    with pytest.raises(InputError, match=r'nosuch\.pth does not exist'):
        load(tmp_path / 'nosuch.pth')


def test_a_checkpoint_that_would_run_code(tmp_path):
    torch.save(dict(state_dict=dict(model=nn.Linear(1, 1))), tmp_path / 'code.pth')
    with pytest.raises(InputError, match=r'would run code'):
        load(tmp_path / 'code.pth')


def test_a_model_that_is_no_classifier(checkpoints):
    cfg = tiny.make_config('unused', method='baseline')
    cfg.model = Config(dict(cfg=dict(type='ImageToImageRetriever', image_encoder=cfg.model, prototype='none'))).cfg
    with pytest.raises(
        InputError, match=r'has the model ImageToImageRetriever: expected an ImageClassifier with a head$'
    ):
        load_classifier('', cfg, str(checkpoints['baseline']))


def test_no_test_data(checkpoints):
    cfg = tiny.make_config('unused', method='baseline')
    cfg.test_dataloader = None
    with pytest.raises(InputError, match=r'has no test_dataloader'):
        load_classifier('', cfg, str(checkpoints['baseline']))


@pytest.mark.parametrize('label', [None, [1, 2], 10, -1, 1.0])
def test_a_label_that_is_no_class(label):
    with pytest.raises(InputError, match=r'^a\.png has label .*: expected one class index from 0 to 9$'):
        read_label(dict(img_path='a.png', gt_label=label), 10)
    assert read_label(dict(gt_label=9), 10) == 9


def test_images_of_different_sizes():
    with pytest.raises(
        InputError, match=r'shapes \[\(3, 4, 4\), \(3, 4, 5\)\]: expected a pipeline that gives all one'
    ):
        stack_images([dict(inputs=torch.zeros(3, 4, n)) for n in (4, 5)])
