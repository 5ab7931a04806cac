"""PS-KD: its loss over several epochs, and the predictions that it stores."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import golden
import pytest
import tiny
import torch
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from small_classifiers import NETWORKS, RESNET, assert_baseline, assert_terms, build, config, image_size, labels_of

from mixskd_mm.errors import InputError
from mixskd_mm.models.losses import cross_entropy


@pytest.fixture
def at_epoch(message_hub):
    """Function: what a Runner says of the epoch, from 0, of how many."""

    def say(epoch, max_epochs=3):
        message_hub.update_info('epoch', epoch)
        message_hub.update_info('max_epochs', max_epochs)

    return say


@pytest.fixture
def make_indexed(make_batch):
    """Function: images and samples that say the indices ``first``, ``first`` + 1, ..."""

    def batch(first=0, **kwargs):
        images, samples = make_batch(4, dtype=torch.float64, **kwargs)
        for i, sample in enumerate(samples, start=first):
            sample.set_metainfo(dict(sample_idx=i))
        return images, samples

    return batch


def logits(model, images):
    """z of a network, by its parts."""
    return model.head.fc(model.backbone(images)[-1].mean((2, 3)))


@pytest.mark.parametrize('backbone', NETWORKS.values(), ids=NETWORKS)
def test_three_epochs_equal_an_independent_computation(backbone, at_epoch, make_indexed):
    """Two batches of four images; each epoch augments them in another way."""
    model = build('PSKDClassifier', backbone, num_samples=8, alpha=0.6)
    before = {}
    for epoch, alpha in enumerate([0.2, 0.4, 0.6]):
        at_epoch(epoch)
        stored = {}
        for first in (0, 4):
            images, samples = make_indexed(first, seed=first, size=image_size(backbone))
            images = images + 0.1 * epoch
            z = logits(model, images)
            labels = labels_of(samples).tolist()
            targets = torch.zeros(4, 10, dtype=torch.float64)
            for row, label in enumerate(labels):
                if epoch > 0:
                    targets[row] = alpha * before[first + row]
                    targets[row, label] += 1 - alpha
                else:
                    targets[row, label] = 1
            expected = -(targets * (z - z.exp().sum(1, keepdim=True).log())).sum() / 4
            assert_terms(model, model.loss(images, samples), dict(loss_cls=expected))
            stored.update({first + row: p.detach() for row, p in enumerate(z.softmax(1))})
        before = stored
        torch.testing.assert_close(model.predictions, torch.stack([stored[i] for i in range(8)]))


def test_the_original_code(at_epoch):
    """Its first three epochs, with the recipe's logits in the place of the network's."""
    case = golden.case('ps_kd', 'small')
    x, hyper = golden.tensors(case), case['hyper']
    model = build('PSKDClassifier', RESNET, hyper['C'], num_samples=hyper['n_train'], alpha=hyper['alpha_T'])
    images = torch.zeros(hyper['batch_size'], 3, 16, 16, dtype=torch.float64)
    for step in case['values']['steps']:
        at_epoch(step['epoch'], hyper['epochs'])
        name = f'z_epoch{step["epoch"]}_batch{step["batch"]}'
        model.classify = lambda feature, z=x[name]: z
        start = step['batch'] * hyper['batch_size']
        indices = range(start, start + hyper['batch_size'])
        samples = [DataSample(metainfo=dict(sample_idx=i)).set_gt_label(x['y_all'][i]) for i in indices]
        loss = model.loss(images, samples)['loss_cls']
        golden.assert_value(loss, step['loss'])
        golden.assert_gradients(loss, x, {name: step['grad']})
        if step['epoch'] > 0:
            golden.assert_value(model.logs['alpha'], step['alpha_t'])
    after = case['values']['stored_predictions_after']
    golden.assert_value(model.predictions.norm(), after['norm'])
    golden.assert_value(model.predictions.flatten()[: len(after['head'])], after['head'])


def test_the_first_epoch_is_cross_entropy_whatever_was_stored(at_epoch, make_indexed):
    """A checkpoint to start from may bring the predictions of another training."""
    model = build('PSKDClassifier', num_samples=4)
    model.predictions.fill_(0.1)
    at_epoch(0)
    images, samples = make_indexed()
    expected = cross_entropy(logits(copy.deepcopy(model), images), labels_of(samples))
    torch.testing.assert_close(model.loss(images, samples)['loss_cls'], expected)


def test_an_image_that_was_not_seen_before_has_its_label_as_target(at_epoch, make_indexed):
    model = build('PSKDClassifier', num_samples=4)
    at_epoch(2)
    images, samples = make_indexed()
    expected = cross_entropy(logits(copy.deepcopy(model), images), labels_of(samples))
    torch.testing.assert_close(model.loss(images, samples)['loss_cls'], expected)
    assert model.loss(images, samples)['loss_cls'] != expected


def test_half_precision_stores_the_same_predictions_in_half_the_memory(at_epoch, make_indexed):
    images, samples = make_indexed()
    one, half = (
        MODELS.build(config('PSKDClassifier', num_samples=4, storage=storage)) for storage in ('float32', 'float16')
    )
    half.load_state_dict(one.state_dict())
    at_epoch(1)
    for model in (one, half):
        model.loss(images.float(), samples)
    assert half.predictions.dtype == torch.float16
    torch.testing.assert_close(half.predictions, one.predictions.half())
    losses = [model.loss(images.float(), samples)['loss_cls'] for model in (one, half)]
    assert losses[1].dtype == torch.float32
    torch.testing.assert_close(*losses, rtol=1e-4, atol=0)


def test_without_alpha_the_baseline_is_left(make_indexed):
    model = build('PSKDClassifier', alpha=0)
    model.check_loader(None)
    assert_baseline(model, make_indexed())


@pytest.mark.compiles
def test_an_epoch_compiles_nothing(at_epoch, make_indexed):
    torch._dynamo.reset()
    model = build('PSKDClassifier', dict(type='WideResNet_CIFAR', depth=10, widen_factor=1), num_samples=4)
    eager = copy.deepcopy(model)
    loss = torch.compile(model.loss, backend='aot_eager')
    for epoch in range(4):
        at_epoch(epoch, 4)
        batch = make_indexed(size=8, seed=epoch)
        with torch._dynamo.config.patch(error_on_recompile=epoch > 0):
            value = loss(*batch)['loss_cls']
        torch.testing.assert_close(value, eager.loss(*batch)['loss_cls'], rtol=1e-4, atol=0)
        torch.testing.assert_close(model.predictions, eager.predictions, rtol=1e-4, atol=1e-6)
    torch._dynamo.reset()


@pytest.fixture(scope='module')
def ranks():
    """What each of two processes has stored, and what it predicted itself."""
    script = Path(__file__).parent / 'ps_kd_ranks.py'
    env = tiny.environment(WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT=tiny.free_port())
    env['PYTHONPATH'] = os.pathsep.join((str(tiny.ROOT / 'tests'), env['PYTHONPATH']))
    processes = [
        subprocess.Popen(
            [sys.executable, script],
            env=dict(env, RANK=str(rank)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    rows = []
    for process in processes:
        stdout, stderr = process.communicate(timeout=300)
        assert process.returncode == 0, stderr[-3000:]
        rows.append(json.loads(stdout.splitlines()[-1]))
    return rows


def test_all_processes_store_the_predictions_of_all(ranks):
    assert ranks[0]['stored'] == ranks[1]['stored']
    stored = torch.tensor(ranks[0]['stored'])
    # Image 9 was in no batch.
    torch.testing.assert_close(stored.sum(1), torch.tensor([1.0] * 9 + [0.0]))
    for image in range(9):
        # Image 0 was in a batch of each rank: the first one's counts.
        own = ranks[image > 4]['own'][str(image)]
        torch.testing.assert_close(stored[image], torch.tensor(own))
    assert ranks[0]['own']['0'] != ranks[1]['own']['0']


@pytest.fixture
def make_cfg(tmp_path):
    def make(name, **options):
        cfg = tiny.make_config(tmp_path / name, method='baseline')
        cfg.model.update(type='PSKDClassifier', num_samples=40)
        cfg.merge_from_dict(options)
        return cfg

    return make


def test_training_stores_a_prediction_of_each_image_and_resumes_with_them(make_cfg, tmp_path):
    runner = tiny.train(make_cfg('whole'))
    predictions = runner.model.predictions
    torch.testing.assert_close(predictions.sum(1), torch.ones(40))
    first, last = (tiny.load(tmp_path / 'whole' / f'epoch_{n}.pth') for n in (1, 2))
    assert torch.equal(last['state_dict']['predictions'], predictions)
    assert not torch.equal(first['state_dict']['predictions'], predictions)
    # alpha_1 takes no effect; alpha_2 = 0.8.
    assert tiny.history(last, 'alpha') == pytest.approx([0] * 4 + [0.8] * 4)
    tiny.train(make_cfg('rest', resume=True, load_from=str(tmp_path / 'whole' / 'epoch_1.pth')))
    resumed = tiny.load(tmp_path / 'rest' / 'epoch_2.pth')
    tiny.assert_same_state(dict(last['state_dict']), dict(resumed['state_dict']))
    assert tiny.history(last, 'loss') == tiny.history(resumed, 'loss')


def test_what_cannot_be_trained_on_is_refused_before_training(make_cfg, at_epoch, message_hub):
    init_default_scope('mmpretrain')
    cfg = make_cfg('none').train_dataloader

    def check(num_samples=40, iterations=12, **options):
        loader = Runner.build_dataloader(dict(cfg, **options), seed=0)
        at_epoch(0)
        message_hub.update_info('max_iters', iterations)
        build('PSKDClassifier', num_samples=num_samples).check_loader(loader)

    def line(**options):
        with pytest.raises(InputError) as error:
            check(**options)
        return str(error.value)

    # 40 images in batches of 10, 3 epochs.
    check()
    check(num_samples=50)
    assert line(num_samples=39) == (
        'PSKDClassifier num_samples=39: expected 40 or more, the images of train_dataloader.dataset'
    )
    assert line(iterations=100) == (
        'train_cfg counts 100 iterations and no epochs: PSKDClassifier expects by_epoch=True, since its targets come from '
        'the epoch before'
    )
    repeated = dict(type='RepeatDataset', dataset=cfg.dataset, times=2)
    assert line(num_samples=80, dataset=repeated).startswith('RepeatDataset gives sample_idx=39 for image 79 of 80')
    assert line(batch_sampler=dict(type='PairBatchSampler')).startswith('train_dataloader gives batches of pairs')


def test_wrong_input_is_refused_in_one_line(make_batch, at_epoch):
    for settings, message in (
        (dict(), 'PSKDClassifier num_samples=None: expected the number of training images'),
        (dict(num_samples=4, alpha=1.5), 'PSKDClassifier alpha=1.5: expected a number in [0, 1]'),
        (dict(num_samples=4, storage='int8'), "PSKDClassifier storage='int8': expected 'float32' or 'float16'"),
    ):
        with pytest.raises(InputError) as error:
            build('PSKDClassifier', **settings)
        assert str(error.value) == message
    at_epoch(0)
    with pytest.raises(InputError, match=r'^a training image has no sample_idx: PSKDClassifier expects its index'):
        build('PSKDClassifier', num_samples=4).loss(*make_batch(4, dtype=torch.float64))
