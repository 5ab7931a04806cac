"""tools/train.py and tools/test.py as a user starts them."""

import json
import statistics

import cv2
import forked
import mmpretrain
import pytest
import tiny
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from runs import iterations

import mixskd_mm


def test_the_loss_falls(whole):
    losses = tiny.history(whole.state(), 'loss')
    assert len(losses) == 16
    assert statistics.mean(losses[-4:]) < statistics.mean(losses[:4])
    assert losses[:4] != losses[4:8]


def test_the_work_directory_holds_config_log_and_a_checkpoint_of_each_epoch(whole):
    names = {path.name for path in whole.work_dir.iterdir()}
    assert {'tiny.py', 'last_checkpoint', *(f'epoch_{epoch}.pth' for epoch in (1, 2, 3, 4))} <= names
    assert (whole.work_dir / 'last_checkpoint').read_text() == str(whole.checkpoint)
    # Nothing lies where it was started.
    assert list((whole.work_dir.parent / 'elsewhere').iterdir()) == []
    assert whole.state()['meta']['epoch'] == 4 and whole.state()['meta']['iter'] == 16


def test_the_log_has_each_term_lam_and_the_accuracy_of_each_head(whole):
    training = [row for row in tiny.scalars(whole.work_dir) if 'loss' in row]
    assert [row['epoch'] for row in training] == [1, 2, 3, 4]
    terms = ('loss_cls', 'loss_feature', 'loss_dis', 'loss_b_logit', 'loss_cls_h', 'loss_f_logit')
    heads = ('top1_f', 'top1_b1', 'top1_b2', 'top1_b3', 'top1_h')
    for row in training:
        assert row['loss'] == pytest.approx(sum(row[term] for term in terms), rel=1e-5)
        assert all(0 <= row[head] <= 100 for head in heads) and 0 <= row['lam'] <= 1
    # The text says the same.
    assert f'lam: {training[-1]["lam"]:.4f}' in whole.output.stdout + whole.output.stderr


def test_logged_lam_is_the_one_that_was_drawn(whole):
    assert tiny.history(whole.state(), 'lam') == [row['lam'] for row in iterations(whole.probe)]
    assert len(set(tiny.history(whole.state(), 'lam'))) == 16


def test_images_are_augmented_anew_in_each_epoch(whole):
    seen = [image for row in iterations(whole.probe) for image in row['images']]
    assert len(seen) == 160
    # 40 images with 25 crops each: most of the 160 are different.
    assert len(set(seen)) > 130


class TestResume:
    def test_only_the_epochs_that_were_lost_run_again(self, resumed):
        assert [row['iter'] for row in iterations(resumed.probe)] == list(range(8, 16))

    def test_draws_and_images_are_those_of_the_whole_run(self, whole, resumed):
        expected, again = iterations(whole.probe)[8:], iterations(resumed.probe)
        for key in ('lam', 'index', 'images', 'epoch', 'iter'):
            assert [row[key] for row in again] == [row[key] for row in expected], key

    @pytest.mark.parametrize('part', ['state_dict', 'optimizer', 'param_schedulers'])
    def test_the_end_is_that_of_the_whole_run_to_the_bit(self, whole, resumed, part):
        tiny.assert_same_state(whole.state()[part], resumed.state()[part])

    def test_buffers_are_among_what_is_the_same(self, resumed):
        state = resumed.state()
        assert state['state_dict']['backbone.bn1.num_batches_tracked'].item() == 16
        assert any('running_mean' in name for name in state['state_dict'])
        assert any('momentum_buffer' in buffers for buffers in state['optimizer']['state'].values())

    def test_the_log_continues_as_if_nothing_had_happened(self, whole, resumed):
        for key in ('lam', 'lr', 'loss', 'loss_dis', 'grad_norm', 'top1_h'):
            assert tiny.history(resumed.state(), key) == tiny.history(whole.state(), key), key
        last = [row for row in tiny.scalars(whole.work_dir) if 'loss' in row][2:]
        assert [row for row in tiny.scalars(resumed.work_dir) if 'loss' in row][-2:] == last


def accuracy(checkpoint, config, data):
    """Top-1 of the plain classifier in a checkpoint, without a Runner."""
    cfg = Config.fromfile(config)
    model = MODELS.build(dict(cfg.model, type='ImageClassifier')).eval()
    state = tiny.load(checkpoint)['state_dict']
    model.load_state_dict({name: value for name, value in state.items() if name.startswith(('backbone.', 'head.'))})
    right, files = 0, sorted((data / 'test').rglob('*.png'))
    for file in files:
        image = torch.from_numpy(cv2.imread(str(file))[:, :, ::-1].copy()).permute(2, 0, 1).float()
        right += model.head((model.backbone((image[None] - 128) / 128)[-1].mean((2, 3)),)).argmax().item() == int(
            file.parent.name
        )
    return 100 * right / len(files)


@pytest.fixture(scope='module')
def tested(whole, training, tmp_path_factory):
    folder = tmp_path_factory.mktemp('tested')
    arguments = (training[1], whole.checkpoint, '--out', 'results/new/test.json')
    forked.succeed('test.py', *arguments, cwd=folder, env=tiny.environment())
    return folder


def test_the_metrics_file_holds_the_accuracy(tested, whole, training):
    metrics = json.loads((tested / 'results/new/test.json').read_text())
    assert metrics == {'accuracy/top1': pytest.approx(accuracy(whole.checkpoint, training[1], tiny.digits()), abs=1e-4)}


def test_testing_agrees_with_the_validation_in_training(tested, whole):
    (validation,) = [row for row in tiny.scalars(whole.work_dir) if 'accuracy/top1' in row]
    assert json.loads((tested / 'results/new/test.json').read_text())['accuracy/top1'] == validation['accuracy/top1']


def test_testing_writes_below_the_current_folder_by_default(tested):
    assert [path.name for path in (tested / 'work_dirs').iterdir()] == ['tiny']


def test_no_validate_auto_scale_lr_and_the_default_work_directory(training, tmp_path):
    settings = ('train_cfg.val_interval=1', 'train_cfg.max_epochs=1', 'auto_scale_lr.base_batch_size=40')
    arguments = ('--no-validate', '--auto-scale-lr', '--cfg-options', *settings)
    output = forked.succeed('train.py', training[1], *arguments, cwd=tmp_path)
    work_dir = tmp_path / 'work_dirs' / 'tiny'
    checkpoint = tiny.load(work_dir / 'epoch_1.pth')
    assert not any('accuracy/top1' in row for row in tiny.scalars(work_dir))
    # 10 instead of 40 images: a quarter of 0.05.
    assert tiny.history(checkpoint, 'lr')[0] == pytest.approx(0.0125)
    assert checkpoint['optimizer']['param_groups'][0]['initial_lr'] == pytest.approx(0.0125)
    assert (output.stdout + output.stderr).count('The global batch is') == 1
    assert (
        "The global batch is 10 (1 x 10), not the recipe's 40: --auto-scale-lr made the learning rate 0.0125"
        in output.stdout + output.stderr
    )


def test_the_host_librarys_own_train_py_trains_the_same(whole, training, tmp_path):
    (folder,) = mmpretrain.__path__
    tool = f'{folder}/.mim/tools/train.py'
    arguments = (
        '--work-dir',
        tmp_path / 'host',
        '--cfg-options',
        'train_dataloader.num_workers=2',
        'train_cfg.max_epochs=1',
    )
    # Absolute, hence instead of a script of tools/. The schedule is over four epochs, so the first one is the same.
    forked.succeed(tool, training[1], *arguments, cwd=tmp_path)
    expected = tiny.load(whole.work_dir / 'epoch_1.pth')
    tiny.assert_same_state(expected['state_dict'], tiny.load(tmp_path / 'host' / 'epoch_1.pth')['state_dict'])


@pytest.mark.parametrize('name', ['mixskd', 'mixup', 'baseline'])
def test_quickstart_configs_suit_the_host_librarys_loader_defaults(name):
    cfg = Config.fromfile(tiny.ROOT / f'configs/quickstart/{name}_r18_digits.py')
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        # mmpretrain's tools switch persistent workers on unless told otherwise, which fails without workers.
        assert cfg[loader].num_workers == 0 and not cfg[loader].get('persistent_workers', True)


def test_a_checkpoint_says_which_recipe_and_code_made_it(whole):
    meta = whole.state()['meta']
    assert meta['recipe'] == 'tiny.py'
    assert meta['mixskd_mm'].split('+')[0] == mixskd_mm.__version__
