import shutil

import pytest
import tiny

from mixskd_mm.checkpoints import write
from mixskd_mm.errors import InputError


def checkpoints(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix == '.pth')


@pytest.fixture
def seen(tmp_path, monkeypatch):
    """What is in the folder whenever a file is about to be written; the third checkpoint's disk is full."""
    seen = []
    original = write.write_file

    def write_file(out, data):
        seen.append(checkpoints(tmp_path))
        if out.endswith(('epoch_3.pth', 'top1_epoch_2.pth')):
            raise InputError(f'cannot write {out}: full')
        original(out, data)

    monkeypatch.setattr(write, 'write_file', write_file)
    return seen


def test_the_old_checkpoint_goes_after_the_new_one_is_there(tmp_path, seen):
    options = {'default_hooks.checkpoint.max_keep_ckpts': 1, 'train_cfg.max_epochs': 3}
    with pytest.raises(InputError, match='full'):
        tiny.train(tiny.make_config(tmp_path, options))
    assert seen == [[], ['epoch_1.pth'], ['epoch_2.pth']]
    assert checkpoints(tmp_path) == ['epoch_2.pth']
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'epoch_2.pth')


def train_with_accuracies(folder, accuracies, options, resume=None):
    """Two epochs, validated after each; the lowest of these accuracies counts as the best."""
    options = {
        'default_hooks.checkpoint.save_best': 'accuracy/top1',
        'default_hooks.checkpoint.rule': 'less',
        **options,
    }
    options |= {'train_cfg.val_interval': 1, 'train_cfg.max_epochs': 2, 'load_from': resume, 'resume': bool(resume)}
    cfg = tiny.make_config(folder, options)
    cfg.default_hooks.checkpoint.greater_keys = []
    accuracies = iter(accuracies)
    cfg.val_evaluator = dict(type='Accuracy', topk=(1,))
    runner = tiny.Runner.from_cfg(cfg)
    runner.val_loop.evaluator.evaluate = lambda size: {'accuracy/top1': next(accuracies)}
    with tiny.running():
        runner.train()


def test_a_copied_run_leaves_the_best_one_of_the_original(tmp_path):
    train_with_accuracies(tmp_path / 'a', [50.0, 60.0], {})
    original = ['best_accuracy_top1_epoch_1.pth', 'epoch_1.pth', 'epoch_2.pth']
    assert checkpoints(tmp_path / 'a') == original
    shutil.copytree(tmp_path / 'a', tmp_path / 'b')
    train_with_accuracies(tmp_path / 'b', [50.0, 40.0], {}, resume=str(tmp_path / 'b/epoch_1.pth'))
    assert checkpoints(tmp_path / 'a') == original
    assert checkpoints(tmp_path / 'b') == ['best_accuracy_top1_epoch_2.pth', 'epoch_1.pth', 'epoch_2.pth']


def test_so_does_the_best_one(tmp_path, seen):
    with pytest.raises(InputError, match='full'):
        train_with_accuracies(tmp_path, [50.0, 40.0], {'default_hooks.checkpoint.interval': -1})
    # The last epoch's is written whatever the interval.
    assert checkpoints(tmp_path) == ['best_accuracy_top1_epoch_1.pth', 'epoch_2.pth']
