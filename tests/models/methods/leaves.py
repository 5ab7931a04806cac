"""Every method's recipe on tiny baselines: what the tests of the contract run over.

A method is found by its leaf config, so a new one is tested without an edit here.
"""

from __future__ import annotations

import functools
import inspect
import json
import tempfile
from pathlib import Path

import tiny
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner, set_random_seed
from mmpretrain.registry import MODELS

from mixskd_mm.configs import read_config
from mixskd_mm.models import SelfDistillationClassifier

# In the place of the baseline's ResNet with 8 channels.
NETWORKS = {
    'resnet': '',
    'wrn': "dict(_delete_=True, type='WideResNet_CIFAR', depth=10, widen_factor=1), head=dict(in_channels=64)",
    'densenet': "dict(_delete_=True, type='DenseNet_CIFAR', depth=10, growth_rate=4), head=dict(in_channels=40)",
}

_folder = tempfile.TemporaryDirectory(prefix='mixskd_leaves_')


def leaf_files() -> dict[str, Path]:
    """Leaf configs of the package's methods, by name."""
    configs = tiny.ROOT / 'configs'
    files = [*configs.glob('cifar100/*_r18_cifar100.py')]
    files += [configs / name / f'{name}_r18_cifar100.py' for name in ('dcm', 'supermix')]
    methods = {}
    for file in sorted(filter(Path.is_file, files)):
        kind = MODELS.get(read_config(str(file)).model.type)
        if kind and issubclass(kind, SelfDistillationClassifier):
            methods[file.name.removesuffix('_r18_cifar100.py')] = file
    return methods


LEAVES = leaf_files()


@functools.cache
def baseline_file(network: str) -> Path:
    """Config of a tiny baseline on 40 digits."""
    file = Path(_folder.name) / f'baseline_{network}.py'
    text = tiny.config_text(method='baseline')
    if NETWORKS[network]:
        text = text.replace('dict(stem_channels=8, base_channels=8), head=dict(in_channels=64)', NETWORKS[network])
    file.write_text(text)
    return file


@functools.cache
def teacher(network: str) -> Path:
    """A checkpoint of the tiny baseline."""
    cfg = read_config(str(baseline_file(network)))
    torch.manual_seed(9)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg.model)
        model.init_weights()
    file = Path(_folder.name) / f'teacher_{network}.pth'
    torch.save(dict(state_dict=model.state_dict(), meta={}), file)
    return file


@functools.cache
def mixed_images() -> Path:
    """A folder as tools/supermix.py leaves it, of digits that are not mixed."""
    folder = Path(_folder.name) / 'mixed'
    folder.mkdir()
    settings = dict(num_classes=10, class_names=None, channel_order='bgr')
    (folder / 'settings.json').write_text(json.dumps(dict(settings=settings)))
    files = sorted((tiny.digits() / 'train').rglob('*.png'))
    images = (dict(image=str(file), supervisor=int(file.parent.name)) for file in files)
    (folder / 'supermix.jsonl').write_text(''.join(f'{json.dumps(image)}\n' for image in images))
    return folder


def leaf_config(name: str, network: str = 'resnet', **options) -> Config:
    """The recipe ``name`` on a tiny baseline, for 40 images."""
    cfg = read_config(str(LEAVES[name]), str(baseline_file(network)))
    if 'num_samples' in cfg.model:
        cfg.model.num_samples = 40
    if 'teacher_checkpoint' in cfg.model:
        cfg.model.teacher_checkpoint = str(teacher(network))
    if name == 'supermix':
        cfg.train_dataloader.dataset.datasets[1].data_root = str(mixed_images())
    if name == 'bake':
        # An image and 3 partners of it, thrice.
        cfg.train_dataloader.batch_size = 12
    cfg.merge_from_dict(options)
    cfg.experiment_name = next(tiny.names)
    return cfg


def build(cfg: Config, seed: int = 0) -> SelfDistillationClassifier:
    """The model, trainable, with initial weights that ``seed`` determines; all vectors random, lest zeros hide gradients."""
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
        model.init_weights()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1 and parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.train()


def batches(cfg: Config, number: int = 1) -> list[dict]:
    """The first batches of the recipe's own training data: pairs, groups, views or images; each time the same."""
    set_random_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    rows = []
    for batch in loader:
        rows.append(batch)
        if len(rows) == number:
            break
    return rows


def prepared(model: SelfDistillationClassifier, batch: dict, seed: int = 0) -> dict:
    """Arguments of ``model.loss``: normalised images, in the model's dtype, samples, and the mixture if it mixes."""
    torch.manual_seed(seed)
    data = model.data_preprocessor(dict(batch), True)
    data['inputs'] = data['inputs'].to(next(model.parameters()).dtype)
    return data


def distillation_weights(cfg: Config) -> dict[str, float]:
    """0 for each argument of the method that weights its distillation, by name; the network's own cross-entropy stays."""
    kind = MODELS.get(cfg.model.type)
    parents = [parent.__init__ for parent in kind.__mro__ if '__init__' in vars(parent)]
    names = {name for init in parents for name in inspect.signature(init).parameters}
    own = {'ce_weight', 'cls_weight', 'clean_weight'}
    weights = {name: 0.0 for name in names if name.endswith('_weight') and name not in own}
    # Tf-KD and PS-KD have a share.
    return {**weights, **{name: 0.0 for name in ('alpha', 'last_alpha') if name in names}}
