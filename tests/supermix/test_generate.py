"""From a training set and a supervisor to a folder of mixed images."""

import io
import itertools
import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.models import ImageClassifier
from rich.console import Console
from torch import nn

import mixskd_mm  # noqa: F401  (registers everything)
from mixskd_mm.errors import InputError
from mixskd_mm.evaluation import LoadedClassifier
from mixskd_mm.supermix import MaskSettings
from mixskd_mm.supermix.folder import SuperMixFolder
from mixskd_mm.supermix.generate import Generator, Job, generate, make_batch, source_pipeline

# Reddish, greenish and bluish images, in the order of the channels that the network sees.
COLOURS = torch.tensor([[200, 60, 60], [60, 200, 60], [60, 60, 200]])
NORMALISATION = dict(mean=[100.0, 110.0, 120.0], std=[50.0, 60.0, 70.0])


class Colours:
    """A training set; each image in it is noted when it is read."""

    metainfo = dict(classes=['red', 'green', 'blue'])

    def __init__(self, number, flip=False, channel=3):
        noise = torch.randint(-40, 40, (number, channel, 8, 8), generator=torch.Generator().manual_seed(0))
        self.labels = [i % 3 for i in range(number)]
        self.images = (COLOURS[self.labels][:, :channel, None, None] + noise).byte()
        self.flip, self.read = flip, []

    def __getitem__(self, i):
        self.read.append(i)
        flipped = self.flip and np.random.random() < 0.5
        return dict(inputs=self.images[i].flip(2) if flipped else self.images[i])


class ByColour(nn.Module):
    """Logits of an image: its mean brightness in each channel."""

    def __init__(self, gain=4.0):
        super().__init__()
        self.gain = gain

    def forward(self, features):
        return self.gain * features[-1].mean((2, 3))


class Same(nn.Module):
    def forward(self, x):
        return (x,)


def generator(number=30, job=None, channel_order='rgb', gain=4.0, flip=False, to_rgb=False):
    dataset = Colours(number, flip)
    model = ImageClassifier(Same(), head=ByColour(gain), data_preprocessor=dict(NORMALISATION, to_rgb=to_rgb))
    classifier = LoadedClassifier('supervisor', model, dataset, dataset.labels)
    return Generator(classifier, job or make_job(), channel_order)


def make_job(batch_size=9, seed=0, **kwargs):
    return Job(
        MaskSettings(mask_size=4, sparsity_weight=1.0, max_iterations=20), batch_size=batch_size, seed=seed, **kwargs
    )


def make_folder(path, seed=0):
    return SuperMixFolder(str(path), dict(batch_size=9, seed=seed), source={})


def run(path, count, one=None):
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    found = generate(one or generator(), make_folder(path), count, console)
    return found, console.file.getvalue()


def listed(path):
    return [json.loads(line) for line in (path / 'supermix.jsonl').read_text().splitlines()]


def test_each_pass_is_another_order_of_all_images_in_whole_batches():
    one = generator(30)
    batches = [one.source_images(i) for i in range(6)]
    assert all(len(batch) == 9 for batch in batches)
    first, second = (list(itertools.chain(*part)) for part in (batches[:3], batches[3:]))
    assert len(set(first)) == len(set(second)) == 27 and first != second
    assert [generator(30).source_images(i) for i in range(6)] == batches
    assert generator(30, make_job(seed=1)).source_images(0) != batches[0]


def test_augmentation_depends_on_the_seed_and_the_batch_alone():
    one, other = generator(30, flip=True), generator(30, make_job(seed=1), flip=True)
    images = list(range(9))
    first = one.load(0, images)
    np.random.random(5)
    assert torch.equal(one.load(0, images), first)
    for different in (one.load(1, images), other.load(0, images)):
        assert not torch.equal(different, first)


def test_records_say_what_an_image_is_mixed_from():
    one = generator()
    inputs, mixed, records = one.make(1)
    images = one.source_images(1)
    labels = [i % 3 for i in images]
    for place, record in enumerate(records):
        assert record['index'] == 9 + place
        assert record['sources'] == [images[place], images[(place + 1) % 9]]
        assert record['labels'] == record['classes'] == [labels[place], labels[(place + 1) % 9]]
        assert sum(record['weights']) == pytest.approx(1, abs=2e-6)
        logits = 4 * mixed.optimised.images[place].mean((1, 2))
        assert record['supervisor'] == logits.argmax()
        different = len(set(record['labels'])) == 2
        assert record['successful'] == (different and set(logits.topk(2).indices.tolist()) == set(record['labels']))
        assert 1 <= record['steps'] <= 20
    assert sum(record['successful'] for record in records) >= 3
    assert inputs.shape == (9, 3, 8, 8)


def test_classes_can_be_what_the_supervisor_sees():
    one = generator(job=make_job(classes='supervisor'))
    # Wrong labels, which nobody asks for.
    one.supervisor.labels = torch.zeros(30, dtype=torch.long)
    records = one.make(0)[2]
    assert all(record['labels'] == [0, 0] for record in records)
    assert [record['classes'][0] for record in records] == [i % 3 for i in one.source_images(0)]


@pytest.mark.parametrize('channel_order', ['rgb', 'bgr'])
@pytest.mark.parametrize('to_rgb', [False, True])
def test_pictures_are_the_images_before_they_were_normalised(channel_order, to_rgb):
    one = generator(channel_order=channel_order, to_rgb=to_rgb)
    images = one.load(0, [0, 1, 2])
    pictures = one.to_pictures(one.supervisor.normalise(images))
    expected = images.permute(0, 2, 3, 1).numpy()
    assert np.array_equal(pictures, expected if channel_order == 'bgr' else expected[..., ::-1])


def test_a_folder_has_the_images_that_succeeded(tmp_path):
    found, shown = run(tmp_path, 25)
    assert '25/25' in shown and 'images/s' in shown
    images = listed(tmp_path)
    assert len(images) == 25 and all(image['successful'] for image in images)
    assert len({image['image'] for image in images}) == 25
    one = generator()
    for number in (0, 1):
        _, mixed, records = one.make(number)
        expected = {
            record['index']: picture for record, picture in zip(records, one.to_pictures(mixed.optimised.images))
        }
        for image in images:
            if image['index'] // 9 == number:
                assert np.array_equal(cv2.imread(str(tmp_path / image['image'])), expected[image['index']])
    batches = [json.loads(file.read_text()) for file in sorted((tmp_path / 'batches').iterdir())]
    kept, tried = sum(len(batch['images']) for batch in batches), 9 * len(batches)
    assert found['images'] == 25 and found['made'] == kept and found['success'] == pytest.approx(100 * kept / tried)
    assert found['steps'] == pytest.approx(np.mean([i['steps'] for batch in batches for i in batch['images']]))
    height, width, _ = cv2.imread(str(tmp_path / 'sample.png')).shape
    assert height > 600 and width > 300


def test_a_folder_can_have_all_images(tmp_path):
    found, _ = run(tmp_path, 18, generator(job=make_job(keep_unsuccessful=True)))
    images = listed(tmp_path)
    assert [image['index'] for image in images] == list(range(18))
    assert 0 < sum(image['successful'] for image in images) < 18
    assert found['success'] == pytest.approx(100 * sum(image['successful'] for image in images) / 18)


def test_an_interrupted_run_continues_to_the_same_images(tmp_path):
    run(tmp_path / 'whole', 25)
    folder = make_folder(tmp_path / 'parts')
    with folder.next_batch(25) as number:
        make_batch(generator(), folder, number)
    found, _ = run(tmp_path / 'parts', 25)
    assert listed(tmp_path / 'parts') == listed(tmp_path / 'whole')
    for image in listed(tmp_path / 'whole'):
        assert (tmp_path / 'whole' / image['image']).read_bytes() == (tmp_path / 'parts' / image['image']).read_bytes()
    again = generator()
    assert run(tmp_path / 'parts', 25, again)[0]['made'] == 0 and not again.supervisor.dataset.read
    assert found['made'] > 0


def test_a_supervisor_that_sees_nothing_ends_in_one_line(tmp_path):
    one = generator(job=make_job(classes='label'))
    one.supervisor.labels = torch.zeros(30, dtype=torch.long)
    with pytest.raises(InputError, match=r'^none of 90 mixed images succeeded: expected a supervisor'):
        run(tmp_path, 25, one)


def test_wrong_jobs_and_data_end_in_one_line():
    for kwargs, message in (
        (dict(classes='both'), "SuperMix classes='both': expected 'label' or 'supervisor'"),
        (
            dict(batch_size=1),
            'SuperMix batch_size=1: expected an integer >= 2, the images that are mixed into one',
        ),
        (dict(seed=-1), 'SuperMix seed=-1: expected an integer >= 0'),
    ):
        with pytest.raises(InputError) as error:
            make_job(**kwargs)
        assert str(error.value) == message
    with pytest.raises(InputError, match=r'^the training set has 8 images: expected at least batch_size=9$'):
        generator(8)
    one = generator(9)
    one.supervisor.dataset.images = one.supervisor.dataset.images[:, :1]
    with pytest.raises(
        InputError, match=r'^training images have the shapes \[\(1, 8, 8\)\]: expected one, \(3, H, W\)$'
    ):
        one.make(0)


def test_sources_are_read_as_in_tests_but_for_random_crops_and_flips():
    load, pack = dict(type='LoadImageFromFile'), dict(type='PackInputs')
    resize, flip = dict(type='ResizeEdge', scale=256, edge='short'), dict(type='RandomFlip', prob=0.5)
    training = [load, dict(type='RandomResizedCrop', scale=224), flip, pack]
    testing = [load, resize, dict(type='CenterCrop', crop_size=224), pack]
    cfg = Config(
        dict(
            train_dataloader=dict(dataset=dict(dataset=dict(pipeline=training))),
            test_dataloader=dict(dataset=dict(pipeline=testing)),
        )
    )
    expected = [load, resize, dict(type='RandomCrop', crop_size=224), flip, pack]
    assert source_pipeline(cfg) == expected
    assert cfg.test_dataloader.dataset.pipeline[2].type == 'CenterCrop'
    cfg.train_dataloader.dataset.dataset.pipeline = [load, pack]
    assert source_pipeline(cfg) == [load, resize, dict(type='RandomCrop', crop_size=224), pack]
