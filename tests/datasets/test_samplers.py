"""Two views, pairs and groups: who is in a batch, in which order, on which rank, in which epoch."""

from __future__ import annotations

import functools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tiny
from mmengine.dataset import sampler
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmengine.runner.runner import _SlicedDataset
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATA_SAMPLERS, DATASETS

from mixskd_mm.datasets.samplers import image_labels
from mixskd_mm.errors import InputError

# Of the authors' samplers; class sizes are 4, 3, 2, 1, 1 and 4, 3, 2, 2.
GOLDEN = json.loads((Path(__file__).parents[1] / 'data/same_class_batches.json').read_text())
LABELS = GOLDEN['cs_kd']['labels']
EPOCHS = 5


@DATASETS.register_module()
class Labelled(BaseDataset):
    """Images that do not exist, with these labels."""

    def __init__(self, labels):
        self.labels = labels
        super().__init__(ann_file='', pipeline=[dict(type='LoadImageFromFile')])

    def load_data_list(self):
        return [dict(img_path=f'missing{i}.png', gt_label=label) for i, label in enumerate(self.labels)]


@functools.cache
def labelled(*labels):
    return Labelled(labels)


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmpretrain')


@pytest.fixture
def build(monkeypatch):
    """Function: a batch sampler of one rank, as mmengine's Runner builds it."""

    def build(kind, labels=LABELS, seed=0, rank=0, world_size=1, shuffle=True, **kwargs):
        monkeypatch.setattr(sampler, 'get_dist_info', lambda: (rank, world_size))
        dataset = labelled(*labels) if isinstance(labels, list) else labels
        anchors = dict(type='DefaultSampler', dataset=dataset, seed=seed, shuffle=shuffle)
        return DATA_SAMPLERS.build(dict(type=kind, sampler=DATA_SAMPLERS.build(anchors), **kwargs))

    return build


def epoch_of(batch_sampler, epoch):
    batch_sampler.sampler.set_epoch(epoch)
    batches = list(batch_sampler)
    assert len(batches) == len(batch_sampler)
    assert all(type(i) is int for batch in batches for i in batch)
    return batches


def split(batch, per_anchor=1):
    """A batch as [(anchor, its partners)]."""
    num_anchors, rest = divmod(len(batch), 1 + per_anchor)
    assert not rest
    return [
        (batch[i], batch[num_anchors + i * per_anchor : num_anchors + (i + 1) * per_anchor]) for i in range(num_anchors)
    ]


def assert_rule(batches, labels, num_anchors, per_anchor):
    """Anchors are a permutation, partners of the anchor's class; for groups, others and different ones if there are any."""
    parts = [split(batch, per_anchor) for batch in batches]
    assert [len(part) for part in parts[:-1]] == [num_anchors] * (len(parts) - 1) and 0 < len(parts[-1]) <= num_anchors
    groups = [group for part in parts for group in part]
    assert sorted(anchor for anchor, _ in groups) == list(range(len(labels)))
    for anchor, partners in groups:
        assert {labels[partner] for partner in partners} == {labels[anchor]}
        if per_anchor > 1 and labels.count(labels[anchor]) > 1:
            assert anchor not in partners
        if per_anchor > 1 and labels.count(labels[anchor]) > per_anchor:
            assert len(set(partners)) == per_anchor


def golden_sampler(build, method):
    golden = GOLDEN[method]
    if method == 'cs_kd':
        return build('PairBatchSampler', golden['labels'], batch_size=golden['batch_anchors']), 1
    per_anchor = golden['num_partners']
    batch_size = golden['batch_anchors'] * (1 + per_anchor)
    return build('GroupBatchSampler', golden['labels'], batch_size=batch_size, num_partners=per_anchor), per_anchor


@pytest.mark.parametrize('method', ['cs_kd', 'bake'])
def test_batches_follow_the_rule_of_the_authors_code(method, build):
    golden = GOLDEN[method]
    batch_sampler, per_anchor = golden_sampler(build, method)
    epochs = [epoch_of(batch_sampler, epoch) for epoch in range(EPOCHS)]
    for batches in [golden['first_epoch'], *epochs]:
        assert_rule(batches, golden['labels'], golden['batch_anchors'], per_anchor)
        assert len(batches) == golden['length']
        assert [len(batch) for batch in batches] == golden['batch_sizes']


@pytest.mark.parametrize('method', ['cs_kd', 'bake'])
def test_anchors_are_their_own_partners_as_often_as_in_the_authors_code(method, build):
    batch_sampler, per_anchor = golden_sampler(build, method)
    own = [
        partner == anchor
        for epoch in range(600)
        for batch in epoch_of(batch_sampler, epoch)
        for anchor, partners in split(batch, per_anchor)
        for partner in partners
    ]
    # Five standard deviations of the difference.
    tolerance = 5 * (0.25 * (1 / len(own) + 1 / 33000)) ** 0.5 if method == 'cs_kd' else 0
    assert abs(np.mean(own) - GOLDEN[method]['partner_is_anchor_fraction']) <= tolerance


@pytest.mark.parametrize(
    ('kind', 'options', 'anchor', 'expected'),
    [
        ('PairBatchSampler', dict(batch_size=4), 0, {0, 3, 6, 8}),
        ('GroupBatchSampler', dict(batch_size=12, num_partners=2), 0, {3, 6, 8}),
        # A class of three, so with replacement.
        ('GroupBatchSampler', dict(batch_size=12, num_partners=3), 4, {1, 9}),
        # The only one of its class.
        ('PairBatchSampler', dict(batch_size=4), 7, {7}),
        ('GroupBatchSampler', dict(batch_size=12, num_partners=3), 7, {7}),
    ],
)
def test_partners_are_drawn_uniformly(kind, options, anchor, expected, build):
    batch_sampler, epochs = build(kind, **options), 600
    per_anchor = options.get('num_partners', 1)
    counts = Counter()
    for epoch in range(epochs):
        for batch in epoch_of(batch_sampler, epoch):
            counts.update(dict(split(batch, per_anchor)).get(anchor, []))
    assert set(counts) == expected and sum(counts.values()) == epochs * per_anchor
    share = 1 / len(expected)
    # Five standard deviations of independent draws; without replacement they are smaller.
    tolerance = 5 * (epochs * per_anchor * share * (1 - share)) ** 0.5
    assert all(abs(count - epochs * per_anchor * share) <= tolerance for count in counts.values())


def test_two_views_are_the_same_images_in_the_same_order(build):
    batches = epoch_of(build('TwoViewBatchSampler', batch_size=4), 0)
    assert [len(batch) for batch in batches] == [8, 8, 6]
    assert all(batch[: len(batch) // 2] == batch[len(batch) // 2 :] for batch in batches)
    assert sorted(i for batch in batches for i in batch) == sorted(2 * list(range(11)))


KINDS = {
    'TwoViewBatchSampler': dict(batch_size=4),
    'PairBatchSampler': dict(batch_size=4),
    'GroupBatchSampler': dict(batch_size=12, num_partners=2),
}


@pytest.mark.parametrize('kind', KINDS)
def test_a_smaller_last_batch_can_be_left_out(kind, build):
    per_anchor = KINDS[kind].get('num_partners', 1)
    whole, dropped = build(kind, **KINDS[kind]), build(kind, drop_last=True, **KINDS[kind])
    assert (len(whole), len(dropped)) == (3, 2)
    assert epoch_of(dropped, 0) == epoch_of(whole, 0)[:2]
    assert len(epoch_of(whole, 0)[2]) == 3 * (1 + per_anchor)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('world_size', [2, 3])
def test_ranks_share_the_anchors_and_keep_the_partners(kind, world_size, build):
    per_anchor = KINDS[kind].get('num_partners', 1)
    ranks = [build(kind, rank=rank, world_size=world_size, **KINDS[kind]) for rank in range(world_size)]
    epochs = [epoch_of(one, 1) for one in ranks]
    assert len({tuple(map(len, batches)) for batches in epochs}) == 1
    groups = [group for batches in epochs for batch in batches for group in split(batch, per_anchor)]
    assert {anchor for anchor, _ in groups} == set(range(11))
    # As many as DefaultSampler repeats, to give each rank the same number.
    assert len(groups) == 11 + -11 % world_size
    assert all(LABELS[partner] == LABELS[anchor] for anchor, partners in groups for partner in partners)


@pytest.mark.parametrize('kind', ['PairBatchSampler', 'GroupBatchSampler'])
def test_partners_depend_on_seed_rank_and_epoch_alone(kind, build):
    # One class, and anchors in order: nothing differs but the partners.
    labels = [0] * 24

    def batches(seed=0, epoch=0, **kwargs):
        return epoch_of(build(kind, labels, seed=seed, shuffle=False, **KINDS[kind], **kwargs), epoch)

    runs = [
        [batch[4:] for batch in batches(seed=seed, epoch=epoch, rank=rank, world_size=2)]
        for seed in (0, 1)
        for epoch in (0, 1)
        for rank in (0, 1)
    ]
    assert all(one != other for i, one in enumerate(runs) for other in runs[:i])
    batch_sampler = build(kind, labels, shuffle=False, **KINDS[kind])
    epochs = [epoch_of(batch_sampler, epoch) for epoch in (0, 1, 2)]
    assert [epoch_of(batch_sampler, epoch) for epoch in (2, 0)] == [epochs[2], epochs[0]]
    assert epochs[1] == batches(epoch=1)


def test_loops_that_count_iterations_get_pairs_too(build):
    anchors = DATA_SAMPLERS.build(dict(type='InfiniteSampler', dataset=labelled(*LABELS), seed=0))
    batches = iter(DATA_SAMPLERS.build(dict(type='PairBatchSampler', sampler=anchors, batch_size=4)))
    for _ in range(10):
        batch = next(batches)
        assert len(batch) == 8 and all(LABELS[anchor] == LABELS[partner] for anchor, (partner,) in split(batch))


INNER = dict(type='Labelled', labels=[0, 1, 1, 1, 2])
FOLD = dict(type='KFoldDataset', dataset=INNER, fold=1, num_splits=5)


@pytest.mark.parametrize(
    ('dataset', 'labels'),
    [
        (INNER, [0, 1, 1, 1, 2]),
        (dict(type='ConcatDataset', datasets=[INNER, dict(type='Labelled', labels=[2, 0])]), [0, 1, 1, 1, 2, 2, 0]),
        (dict(type='RepeatDataset', dataset=INNER, times=2), [0, 1, 1, 1, 2] * 2),
        # Images of classes below half of all are repeated: sqrt(0.5 / 0.2) times, rounded up.
        (dict(type='ClassBalancedDataset', dataset=INNER, oversample_thr=0.5), [0, 0, 1, 1, 1, 2, 2]),
        (FOLD, [0, 1, 1, 2]),
        (dict(type='RepeatDataset', dataset=FOLD, times=2), [0, 1, 1, 2] * 2),
        (dict(type='IndexedDataset', dataset=FOLD), [0, 1, 1, 2]),
    ],
    ids=['plain', 'concat', 'repeat', 'balanced', 'fold', 'nested', 'indexed'],
)
def test_labels_are_read_through_wrappers_without_loading_images(dataset, labels, build):
    dataset = DATASETS.build(dataset)
    assert image_labels(dataset) == labels
    assert_rule(epoch_of(build('PairBatchSampler', dataset, batch_size=2), 0), labels, 2, 1)


def test_an_epoch_cut_short_has_partners_of_its_part_only(build):
    """``train_dataloader.num_batch_per_epoch``."""
    part = _SlicedDataset(DATASETS.build(INNER), 3)
    assert_rule(epoch_of(build('PairBatchSampler', part, batch_size=2), 0), [0, 1, 1], 2, 1)


@pytest.mark.parametrize(
    ('kind', 'options', 'message'),
    [
        (
            'GroupBatchSampler',
            dict(batch_size=30),
            'train_dataloader.batch_size=30: expected a multiple of 4, since GroupBatchSampler counts anchors and their '
            'num_partners=3 partners',
        ),
        (
            'GroupBatchSampler',
            dict(batch_size=4, num_partners=0),
            'GroupBatchSampler num_partners=0: expected an integer >= 1',
        ),
        (
            'GroupBatchSampler',
            dict(batch_size=4, num_partners=True),
            'GroupBatchSampler num_partners=True: expected an integer >= 1',
        ),
        (
            'PairBatchSampler',
            dict(batch_size=2, labels=[0, (1, 2)]),
            'Labelled has the label (1, 2) for image 1: expected one class index per image',
        ),
        (
            'GroupBatchSampler',
            dict(batch_size=4, labels=[None, 1]),
            'Labelled has the label None for image 0: expected one class index per image',
        ),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(kind, options, message, build):
    with pytest.raises(InputError) as error:
        build(kind, **options)
    assert str(error.value) == message


class Batches(Hook):
    """The paths of the images of each batch of a run, by epoch."""

    def __init__(self):
        self.seen = {}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        assert len(data_batch['inputs']) == len(data_batch['data_samples'])
        paths = [sample.img_path for sample in data_batch['data_samples']]
        self.seen.setdefault(runner.epoch, []).append((paths, data_batch['inputs'].clone()))


def run(work_dir, **options):
    """A training of 40 digits in groups of three, two anchors per batch."""
    options = {
        'train_dataloader.batch_size': 6,
        'train_dataloader.batch_sampler': dict(type='GroupBatchSampler', num_partners=2),
        'auto_scale_lr.base_batch_size': 6,
        'train_cfg.val_interval': 2,
        **options,
    }
    batches = Batches()
    tiny.train(tiny.make_config(work_dir, options, method='baseline'), batches)
    return batches.seen


def test_a_training_takes_them_and_resumes_with_the_same_batches(tmp_path):
    whole = run(tmp_path / 'whole')
    run(tmp_path / 'cut', **{'train_cfg.max_epochs': 1})
    resumed = run(tmp_path / 'cut', resume=True)
    assert list(whole) == [0, 1] and list(resumed) == [1] and whole[0][0][0] != whole[1][0][0]
    for (paths, images), (other_paths, other_images) in zip(whole[1], resumed[1], strict=True):
        assert paths == other_paths and bool((images == other_images).all())
    for batches in whole.values():
        assert len(batches) == 20 and {len(paths) for paths, _ in batches} == {6}
        for batch, _ in batches:
            for anchor, partners in split(batch, 2):
                assert len({anchor, *partners}) == 3
                assert {Path(path).parent.name for path in partners} == {Path(anchor).parent.name}
        anchors = [path for batch, _ in batches for path in batch[:2]]
        assert len(set(anchors)) == 40
    # The recipe's batch: RecipeCheckHook has nothing to say.
    assert 'The global batch' not in tiny.log_text(tmp_path / 'whole')
