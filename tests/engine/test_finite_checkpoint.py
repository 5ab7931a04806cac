import pytest
import tiny
import torch
from mmengine.hooks import Hook

from mixskd_mm.errors import InputError

LAST_BLOCK = 'backbone.layer4.1.bn2.weight'
BUFFER = 'branches.0.stages.layer2.0.bn1.running_var'


class Poison(Hook):
    """Spoil one number of the model after an iteration, by default an epoch's last: too late for a loss to show it."""

    def __init__(self, name, value, epoch, batch_idx=3):
        self.name, self.value, self.when = name, value, (epoch, batch_idx)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if (runner.epoch, batch_idx) == self.when:
            runner.model.state_dict()[self.name].data.view(-1)[0] = self.value


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.suffix != '.py'}


@pytest.mark.parametrize(('name', 'value'), [(LAST_BLOCK, float('nan')), (BUFFER, float('inf'))])
def test_checkpoints_on_disk_survive_weights_that_are_not_finite(tmp_path, name, value):
    tiny.train(tiny.make_config(tmp_path, {'train_cfg.max_epochs': 1}))
    before = contents(tmp_path)
    assert set(before) == {'epoch_1.pth', 'last_checkpoint'}

    # The same folder again: epoch_1.pth is what this run would write.
    with pytest.raises(InputError) as error:
        tiny.train(tiny.make_config(tmp_path), Poison(name, value, epoch=0))
    assert str(error.value).startswith(f'1 tensors of the model are NaN or infinite in iteration 4 ({name}')
    assert contents(tmp_path) == before
    assert all(torch.isfinite(v).all() for v in tiny.load(tmp_path / 'epoch_1.pth')['state_dict'].values())


def test_the_checkpoint_of_the_epoch_before_stays_the_one_to_resume(tmp_path):
    with pytest.raises(InputError, match=r'in iteration 8 \(backbone'):
        tiny.train(tiny.make_config(tmp_path), Poison(LAST_BLOCK, float('nan'), epoch=1))
    assert set(contents(tmp_path)) == {'epoch_1.pth', 'last_checkpoint'}
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'epoch_1.pth')


@pytest.mark.parametrize(('by_epoch', 'interval', 'kept'), [(True, 1, 'epoch_1.pth'), (False, 4, 'iter_4.pth')])
def test_an_old_checkpoint_is_not_removed_for_one_that_is_not_written(tmp_path, by_epoch, interval, kept):
    # CheckpointHook removes the oldest before it writes the newest.
    hook = {'by_epoch': by_epoch, 'interval': interval, 'max_keep_ckpts': 1}
    options = {f'default_hooks.checkpoint.{key}': value for key, value in hook.items()}
    # The running variance does not count in training.
    with pytest.raises(InputError, match='expected finite weights'):
        tiny.train(tiny.make_config(tmp_path, options), Poison(BUFFER, float('inf'), epoch=1, batch_idx=0))
    assert set(contents(tmp_path)) == {kept, 'last_checkpoint'}
