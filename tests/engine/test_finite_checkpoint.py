import pytest
import tiny
import torch
from mmengine.hooks import Hook

from mixskd_mm.errors import InputError

LAST_BLOCK = 'backbone.layer4.1.bn2.weight'
BUFFER = 'branches.0.stages.layer2.0.bn1.running_var'


class Poison(Hook):
    """Spoil one number of the model at the end of an epoch: too late for any loss to show it."""

    def __init__(self, name, value, epoch):
        self.name, self.value, self.epoch = name, value, epoch

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.epoch == self.epoch and batch_idx == len(runner.train_dataloader) - 1:
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
