"""What ``tools/test.py`` adds to a config: test-time augmentation, pictures, a file of predictions.

The libraries ask for them by different settings, so each has its own here.
"""

from __future__ import annotations

import os
from copy import deepcopy

from mmengine.config import Config, ConfigDict

from mixskd_mm.datasets.folders import plain_datasets
from mixskd_mm.errors import InputError

# What a config without a tta_model gets, as from the library's own test.py; mmseg's has none.
TTA_MODELS = {
    'mmpretrain': dict(type='mmpretrain.AverageClsScoreTTA'),
    'mmdet': dict(type='DetTTAModel', tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100)),
}
# What mmdet needs to know of a flipped image, to flip its boxes back.
FLIP_KEYS = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction')


def library(cfg: Config) -> str:
    """Whose settings ``cfg`` has: ``mmpretrain``, ``mmdet`` or ``mmseg``."""
    scope = cfg.get('default_scope')
    return scope if scope in ('mmdet', 'mmseg') else 'mmpretrain'


def augment_tests(cfg: Config) -> None:
    """Merge the predictions of several augmentations of each test image.

    They are the config's ``tta_pipeline`` and ``tta_model``. Without them, a classifier's scores of the image and of its
    mirror image are averaged, and a detector's boxes of both go through one non-maximum suppression.

    Raises:
        InputError: if a segmenter's config does not have both, or the pipeline does not end by packing the inputs.
    """
    name = library(cfg)
    for key in ('tta_model', 'tta_pipeline'):
        if name == 'mmseg' and not cfg.get(key):
            raise InputError(f'--tta: config {cfg.filename} has no {key}: expected it for a segmenter')
    model = cfg.get('tta_model') or TTA_MODELS[name]
    cfg.model = ConfigDict(**model, module=cfg.model)
    for dataset in plain_datasets(cfg.test_dataloader.dataset):
        dataset.pipeline = cfg.get('tta_pipeline') or mirrored(dataset.pipeline, name)


def mirrored(pipeline: list[dict], name: str) -> list[dict]:
    """A test ``pipeline`` of the library ``name`` that gives each image and its mirror image."""
    *steps, pack = deepcopy(pipeline)
    if not str(pack['type']).rpartition('.')[2].startswith('Pack'):
        raise InputError(
            f'--tta: the pipeline of test_dataloader ends with {pack["type"]}: expected what packs the inputs'
        )
    if name == 'mmdet':
        pack['meta_keys'] = FLIP_KEYS
    flips = [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)]
    return [*steps, dict(type='TestTimeAug', transforms=[flips, [pack]])]


def draw_predictions(cfg: Config, folder: str) -> None:
    """Draw what is predicted on each test image into ``folder``, as the config's library does.

    Raises:
        InputError: if the config has no ``default_hooks.visualization``, or augments the tests of a classifier, which
            mmpretrain does not draw.
    """
    hook = (cfg.get('default_hooks') or {}).get('visualization')
    if not hook:
        raise InputError(f'--show-dir: default_hooks.visualization={hook!r}: expected the hook that draws')
    # mmdet takes it to be inside the work directory otherwise.
    folder = os.path.abspath(folder)
    if library(cfg) == 'mmdet':
        hook.update(draw=True, test_out_dir=folder)
    elif library(cfg) == 'mmseg':
        hook.draw = True
        cfg.visualizer.save_dir = folder
    elif 'module' in cfg.model:
        raise InputError(
            '--show-dir with --tta: expected one of them for a classifier; mmpretrain draws no augmented images'
        )
    else:
        # It draws every 5000th image otherwise.
        hook.update(enable=True, out_dir=folder, interval=1)


def dump_predictions(cfg: Config, out: str) -> None:
    """Write the predictions on the test images to ``out``, as the config's library does.

    That is a pickle file of one dict per image, or for a segmenter a folder with a PNG of class indices per image.

    Raises:
        InputError: if a file does not end with ``.pkl`` or ``.pickle``.
    """
    evaluators = cfg.test_evaluator if isinstance(cfg.test_evaluator, list | tuple) else [cfg.test_evaluator]
    if library(cfg) == 'mmseg':
        evaluators[0].output_dir = out
        return
    if not out.endswith(('.pkl', '.pickle')):
        raise InputError(f'--out {out} --out-item pred: expected a file that ends with .pkl')
    kind = 'DumpDetResults' if library(cfg) == 'mmdet' else 'DumpResults'
    cfg.test_evaluator = [*evaluators, dict(type=kind, out_file_path=out)]
