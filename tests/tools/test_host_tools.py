"""mmpretrain's own tools on a recipe and a checkpoint of a method: docs/host_tools.md says which work."""

import json
import pickle
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import mmpretrain
import pytest
import tiny
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mixskd_mm.engine.recipe_check import RecipeCheckHook
from mixskd_mm.errors import InputError

TOOLS = Path(mmpretrain.__path__[0]) / '.mim/tools'


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Config and checkpoint of one epoch of MixSKD."""
    folder = tmp_path_factory.mktemp('host_tools')
    config = tiny.write_config(folder, extra='train_cfg = dict(max_epochs=1)\n')
    cfg = Config.fromfile(config)
    cfg.work_dir, cfg.experiment_name = str(folder / 'run'), next(tiny.names)
    tiny.train(cfg)
    return SimpleNamespace(config=config, checkpoint=folder / 'run/epoch_1.pth', work_dir=folder / 'run')


@pytest.fixture(autouse=True)
def restore(monkeypatch, tmp_path):
    """Tools write below the current folder, and set the default scope, torch's draws and matplotlib's figures."""
    scopes = dict(DefaultScope._instance_dict)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('LOCAL_RANK', '0')
    plt.switch_backend('agg')
    yield
    plt.close('all')
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(scopes)


@pytest.fixture
def host(monkeypatch):
    """Function: run a tool of mmpretrain in this process."""

    def run(tool, *args):
        path = TOOLS / tool
        monkeypatch.syspath_prepend(str(path.parent))
        monkeypatch.setattr(sys, 'argv', [str(path), *map(str, args)])
        with tiny.running():
            runpy.run_path(str(path), run_name='__main__')

    return run


@pytest.fixture
def ours(monkeypatch):
    """Function: run tools/test.py in this process."""

    def run(*args):
        monkeypatch.setattr(sys, 'argv', ['test.py', *map(str, args)])
        with tiny.running():
            tiny.load_tool('test.py').main()

    return run


def predictions(file):
    return {one['img_path']: one['pred_score'] for one in pickle.loads(Path(file).read_bytes())}


def test_augmented_tests_agree_with_the_hosts(host, ours, trained):
    host('test.py', trained.config, trained.checkpoint, '--tta', '--out', 'host.pkl')
    ours(trained.config, trained.checkpoint, '--tta', '--out', 'ours.pkl', '--out-item', 'pred')
    theirs, mine = predictions('host.pkl'), predictions('ours.pkl')
    assert len(mine) == 50 and mine.keys() == theirs.keys()
    assert all(torch.equal(mine[path], theirs[path]) for path in mine)
    ours(trained.config, trained.checkpoint, '--out', 'plain.pkl', '--out-item', 'pred')
    # The mean of image and mirror image is not the image's.
    assert not all(torch.allclose(mine[path], score) for path, score in predictions('plain.pkl').items())


def test_a_checkpoint_of_another_network_is_refused_with_augmentation_too(ours, trained, tmp_path):
    state = tiny.load(trained.checkpoint)['state_dict']
    torch.save(dict(state_dict={k: v for k, v in state.items() if k != 'head.fc.bias'}), 'less.pth')
    told = r'^checkpoint less\.pth lacks 1 of the .* that MixSKDClassifier expects \(first: head\.fc\.bias\)$'
    with pytest.raises(InputError, match=told):
        ours(trained.config, 'less.pth', '--tta')


def test_pictures_of_all_predictions(ours, trained):
    ours(trained.config, trained.checkpoint, '--show-dir', 'shown', '--out', 'metrics.json')
    assert len(list(Path('shown').glob('*.png'))) == 50
    assert list(json.loads(Path('metrics.json').read_text())) == ['accuracy/top1']


def test_out_item_needs_out(ours, trained):
    with pytest.raises(InputError, match=r'^--out-item pred: expected --out with it$'):
        ours(trained.config, trained.checkpoint, '--out-item', 'pred')


def test_images_without_labels_are_predicted(ours, trained, tmp_path):
    evaluator = "test_evaluator = dict(_delete_=True, type='DumpResults', out_file_path='all.pkl')\n"
    dataset = "dict(data_root=data_root, with_label=False, data_prefix='test/3')"
    data = f'test_dataloader = dict(val_dataloader, dataset={dataset})\n'
    ours(tiny.write_config(tmp_path, extra=data + evaluator), trained.checkpoint)
    with_labels = 'labelled.pkl'
    ours(trained.config, trained.checkpoint, '--out', with_labels, '--out-item', 'pred')
    unlabelled, expected = predictions('all.pkl'), predictions(with_labels)
    assert len(unlabelled) == 5
    for path, score in unlabelled.items():
        torch.testing.assert_close(score, expected[path])


def test_the_schedule_is_drawn(host, trained, capsys):
    options = ('--not-show', '--save-path', 'lr.png', '--cfg-options', 'train_cfg.type=EpochBasedTrainLoop')
    host('visualization/vis_scheduler.py', trained.config, *options)
    assert 'Iterations per epoch: 4' in capsys.readouterr().out
    assert Path('lr.png').stat().st_size > 0


def test_the_recipe_is_not_compared_with_data_that_are_not_there():
    # As vis_scheduler.py runs hooks of custom_hooks.
    RecipeCheckHook().before_train(SimpleNamespace(train_dataloader=[0, 1]))


def test_the_data_set_is_browsed(host, trained):
    host('visualization/browse_dataset.py', trained.config, '-o', 'seen', '--not-show', '-n', '2', '-m', 'original')
    assert len(list(Path('seen').glob('*.png'))) == 2


def test_flops_of_the_plain_network(host, trained, tmp_path, capsys):
    config = tiny.write_config(tmp_path, method='baseline')
    host('analysis_tools/get_flops.py', config, '--shape', '16', '16')
    state = tiny.load(trained.checkpoint)['state_dict']
    predicting = {name: value for name, value in state.items() if name.startswith(('backbone.', 'head.'))}
    plain = sum(value.numel() for name, value in predicting.items() if name.endswith(('weight', 'bias')))
    assert f'Params: {plain / 1e6:.3f}M' in capsys.readouterr().out


def test_the_confusion_matrix(host, trained, capsys):
    host('analysis_tools/confusion_matrix.py', trained.config, trained.checkpoint, '--show-path', 'matrix.png')
    assert Path('matrix.png').stat().st_size > 0
    matrix = torch.tensor(eval(capsys.readouterr().out.partition('tensor(')[2].rpartition(')')[0]))
    assert matrix.sum(1).tolist() == [5] * 10


def test_a_published_checkpoint_is_tested(host, ours, trained, monkeypatch):
    # What torch 2.6 and later need for mmengine's log in a checkpoint.
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    host('model_converters/publish_model.py', trained.checkpoint, 'published.pth')
    monkeypatch.delenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD')
    (published,) = Path().glob('published_*.pth')
    assert 'optimizer' not in tiny.load(published)
    for checkpoint, out in ((published, 'p.json'), (trained.checkpoint, 'q.json')):
        ours(trained.config, checkpoint, '--out', out)
    assert json.loads(Path('p.json').read_text()) == json.loads(Path('q.json').read_text())


def test_logs_are_drawn(host, trained):
    (log,) = trained.work_dir.glob('*/vis_data/scalars.json')
    host('analysis_tools/analyze_logs.py', 'plot_curve', log, '--keys', 'loss', 'loss_dis', '--out', 'loss.png')
    assert Path('loss.png').stat().st_size > 0


def test_the_config_is_printed(host, trained, capsys):
    host('misc/print_config.py', trained.config)
    text = capsys.readouterr().out
    printed = Config.fromstring(text[text.index('auto_scale_lr') :], '.py')
    assert printed.model == Config.fromfile(trained.config).model


def test_class_activation_maps(host, trained):
    pytest.importorskip('pytorch_grad_cam')
    image = min((tiny.digits() / 'test/3').iterdir())
    options = ('--target-layers', 'backbone.layer4', '--save-path', 'cam.png')
    host('visualization/vis_cam.py', image, trained.config, trained.checkpoint, *options)
    assert Path('cam.png').stat().st_size > 0


SWITCHES = {
    'batch_augments': dict(augments=[dict(type='CutMix', alpha=1.0)]),
    'loss': dict(type='LabelSmoothLoss', label_smooth_val=0.1),
}


@pytest.mark.parametrize(
    ('method', 'recipe', 'told'),
    [
        (
            'mixskd',
            'batch_augments',
            'has batch_augments=RandomBatchAugment: expected none, since MixupDataPreprocessor',
        ),
        (
            'mixup',
            'batch_augments',
            'has batch_augments=RandomBatchAugment: expected none, since MixupDataPreprocessor',
        ),
        ('mixskd', 'loss', 'has loss=LabelSmoothLoss: expected none, since MixSKDClassifier has its own terms'),
        ('mixskd', None, 'has batch_augments=None: expected none, since MixupDataPreprocessor does not use them'),
    ],
)
def test_what_a_switch_of_the_recipe_would_not_change_is_refused(method, recipe, told, tmp_path):
    change = {recipe: SWITCHES[recipe]} if recipe else dict(batch_augments=None)
    hook = dict(type='SwitchRecipeHook', schedule=[dict(action_epoch=2, **change)])
    with pytest.raises(InputError, match=f'^SwitchRecipeHook at epoch 2 {told}'):
        tiny.train(tiny.make_config(tmp_path, {'custom_hooks': [hook]}, method=method))


def test_a_baselines_recipe_may_switch(tmp_path):
    hook = dict(type='SwitchRecipeHook', schedule=[dict(action_epoch=1, **SWITCHES)])
    options = {'custom_hooks': [hook], 'train_cfg.max_epochs': 1, 'data_preprocessor.num_classes': 10}
    cfg = tiny.make_config(tmp_path, {**options, 'data_preprocessor.to_onehot': True}, method='baseline')
    assert type(tiny.train(cfg).model.head.loss_module).__name__ == 'LabelSmoothLoss'
