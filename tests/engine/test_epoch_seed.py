import itertools
import logging
import random
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
from mmcv.transforms import BaseTransform
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from mmpretrain.registry import TRANSFORMS
from torch.utils.data import DataLoader, Dataset

from mixskd_mm.engine import EpochSeedHook, epoch_seed
from mixskd_mm.engine.epoch_seed import BatchSeeds, seed_with


def draws():
    return random.random(), np.random.rand(), torch.rand(()).item()


def draws_at_start_of(seed, rank, epoch, monkeypatch):
    monkeypatch.setattr(epoch_seed, 'get_rank', lambda: rank)
    EpochSeedHook().before_train_epoch(SimpleNamespace(seed=seed, epoch=epoch, train_loop=None))
    return draws()


def test_draws_depend_on_seed_rank_and_epoch_alone(monkeypatch):
    runs = list(itertools.product((0, 1), (0, 1, 2), (0, 1, 2)))
    first = {run: draws_at_start_of(*run, monkeypatch) for run in runs}
    again = {run: draws_at_start_of(*run, monkeypatch) for run in reversed(runs)}
    assert first == again
    # No two alike, whatever library draws.
    for one in zip(*first.values()):
        assert len(set(one)) == len(runs)


@TRANSFORMS.register_module()
class NoteDraws(BaseTransform):
    """Keep what random, NumPy and PyTorch draw for an image in its meta information."""

    def transform(self, results):
        return dict(results, draws=draws())


class Images(Hook):
    """All images that a run trains on: {(epoch, path): (draws, pixels)}."""

    def __init__(self):
        self.seen = {}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        for image, sample in zip(data_batch['inputs'], data_batch['data_samples'], strict=True):
            self.seen[runner.epoch, sample.img_path] = sample.draws, image.clone()


def images_of_run(work_dir, num_workers=2, **options):
    cfg = tiny.make_config(work_dir, {'train_dataloader.num_workers': num_workers, **options})
    cfg.train_dataloader.worker_init_fn = dict(type='keep_loader_seed')
    pipeline = cfg.train_dataloader.dataset.pipeline
    pipeline.insert(1, dict(type='NoteDraws'))
    pipeline[-1].meta_keys = ('img_path', 'draws')
    images = Images()
    tiny.train(cfg, images)
    return images.seen


@pytest.fixture(scope='module')
def seen(tmp_path_factory):
    return images_of_run(tmp_path_factory.mktemp('workers'))


def test_workers_draw_anew_for_each_image_and_epoch(seen):
    assert len(seen) == 80
    for drawn in zip(*(noted for noted, _ in seen.values())):
        assert len(set(drawn)) == 80


def test_workers_augment_an_image_differently_in_each_epoch(seen):
    paths = {path for _, path in seen}
    different = sum(not torch.equal(seen[0, path][1], seen[1, path][1]) for path in paths)
    # 25 crops: about one image of 25 gets the same one twice.
    assert different >= 30


def test_a_run_that_is_repeated_augments_alike(seen, tmp_path):
    again = images_of_run(tmp_path)
    assert list(again) == list(seen)
    for key, (noted, pixels) in seen.items():
        assert again[key][0] == noted
        assert torch.equal(again[key][1], pixels)


def test_a_resumed_run_augments_as_if_it_had_not_stopped(seen, tmp_path):
    images_of_run(tmp_path, **{'train_cfg.max_epochs': 1})
    resumed = images_of_run(tmp_path, **{'resume': True})
    assert list(resumed) == [key for key in seen if key[0] == 1]
    assert all(resumed[key][0] == seen[key][0] and torch.equal(resumed[key][1], seen[key][1]) for key in resumed)


def test_another_seed_augments_differently(seen, tmp_path):
    other = images_of_run(tmp_path, **{'randomness.seed': 1, 'train_cfg.max_epochs': 1})
    assert all(noted != seen[key][0] for key, (noted, _) in other.items())


def test_each_iteration_of_a_training_that_counts_them_is_seeded_with_its_number():
    def drawn(loop, begin, seed=3):
        loader = SimpleNamespace(sampler=None, num_workers=0, worker_init_fn=None, dataset=Draws())
        runner = SimpleNamespace(seed=seed, epoch=0, iter=5, train_loop=loop.__new__(loop), train_dataloader=loader)
        runner.logger = logging.getLogger(__name__)
        hook = EpochSeedHook()
        torch.manual_seed(0)
        hook.before_train_epoch(runner)
        if not begin:
            torch.manual_seed(0)
            hook.after_train_iter(runner, 0)
        return torch.rand(3).tolist(), np.random.rand(), random.random()

    # What comes after iteration 5 is what a run that is resumed at 5 begins with.
    first = drawn(IterBasedTrainLoop, begin=False)
    runner = SimpleNamespace(seed=3, iter=6)
    seed_with(runner.seed, runner.iter)
    assert (torch.rand(3).tolist(), np.random.rand(), random.random()) == first
    different = [drawn(IterBasedTrainLoop, begin=True), drawn(IterBasedTrainLoop, begin=False, seed=4)]
    assert all(one[0] != first[0] and one[1:] != first[1:] for one in different)
    # Epochs are seeded once.
    torch.manual_seed(0)
    unseeded = torch.rand(3).tolist()
    assert drawn(EpochBasedTrainLoop, begin=False)[0] == unseeded


class Draws(Dataset):
    def __len__(self):
        return 12

    def __getitem__(self, index):
        return index, random.random(), np.random.rand(), torch.rand(()).item()


@pytest.mark.parametrize('workers', [1, 2, 3])
def test_what_a_batch_draws_depends_on_its_number_alone(workers):
    def batches(first, count):
        seeds = BatchSeeds(3, 0, first)
        loader = DataLoader(
            Draws(), batch_size=2, sampler=range(2 * first, 12), num_workers=workers, worker_init_fn=seeds
        )
        return [tuple(torch.stack(batch).flatten().tolist()) for batch in itertools.islice(loader, count)]

    expected = []
    for number in range(6):
        seed_with(3, number, rank=0)
        rows = torch.tensor([Draws()[2 * number + i] for i in range(2)], dtype=torch.float64)
        expected.append(pytest.approx(rows.T.flatten().tolist()))
    assert batches(0, 6) == expected
    assert batches(4, 2) == expected[4:]
