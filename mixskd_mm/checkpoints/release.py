"""The authors' released ResNet-50: how its tensors map to ours, and the conversion of its checkpoint."""

from __future__ import annotations

import re

from mmpretrain.registry import MODELS
from torch import Tensor

from mixskd_mm.errors import InputError

from .safe_load import load_local_checkpoint
from .write import as_bytes, check_other_file, write_file

# (their name, ours), first match wins. b_k continues stage k, so its i-th extractor is a copy of stage k + 1 + i.
_RULES = (
    (re.compile(r'backbone\.fc\.(.*)'), lambda m: f'head.fc.{m[1]}'),
    (re.compile(r'backbone\.(.*)'), lambda m: f'backbone.{m[1]}'),
    (
        re.compile(r'auxiliary_classifier\.block_extractor(\d+)\.(\d+)\.(.*)'),
        lambda m: f'branches.{int(m[1]) - 1}.stages.layer{int(m[1]) + 1 + int(m[2])}.{m[3]}',
    ),
    (re.compile(r'auxiliary_classifier\.fc(\d+)\.(.*)'), lambda m: f'branches.{int(m[1]) - 1}.head.fc.{m[2]}'),
    (re.compile(r'final_aux_classifier\.(.*)'), lambda m: f'self_teacher.{m[1]}'),
)


def release_key(key: str) -> str | None:
    """Our name of the released network's tensor ``key``, or None if the release has no such tensor.

    A leading ``module.``, which wrapped models leave behind, is ignored.
    """
    key = key.removeprefix('module.')
    for pattern, rename in _RULES:
        match = pattern.fullmatch(key)
        if match:
            return rename(match)
    return None


def release_config(num_classes: int) -> dict:
    """Config of the released network: a MixSKD ResNet-50 without discriminators, which the release never saved."""
    return dict(
        type='MixSKDClassifier',
        backbone=dict(type='ResNet', depth=50, zero_init_residual=False),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=num_classes, in_channels=2048, topk=(1, 5)),
        clean_weight=1.0,
        dis_weight=0.0,
    )


def convert_release(net: dict[str, Tensor], source: str) -> tuple[dict[str, Tensor], dict]:
    """The released state dict with our names, and the config of the model that it fits exactly.

    Args:
        net (dict[str, Tensor]): ``net`` of the released file.
        source (str): Its name, for messages.

    Raises:
        InputError: naming the tensors that are unknown, missing or of another shape.
    """
    unknown = [key for key in net if release_key(key) is None]
    if unknown:
        raise InputError(
            f'{source} has {len(unknown)} unknown tensors (first: {unknown[0]}): expected a released ResNet-50'
        )
    state = {release_key(key): value for key, value in net.items()}
    classifier = state.get('head.fc.weight')
    if classifier is None:
        raise InputError(f'{source} lacks backbone.fc.weight, the classifier: expected a released ResNet-50')
    config = release_config(num_classes=len(classifier))
    theirs = {release_key(key): key for key in net}
    needed = {name: value.shape for name, value in MODELS.build(config).state_dict().items()}
    missing = [name for name in needed if name not in state]
    extra = [theirs[name] for name in state if name not in needed]
    reshaped = [theirs[name] for name in needed if name in state and state[name].shape != needed[name]]
    for problem, names in (('lacks', missing), ('has unexpected', extra), ('has another shape of', reshaped)):
        if names:
            raise InputError(
                f'{source} {problem} {len(names)} tensors (first: {names[0]}): expected a released ResNet-50'
            )
    return state, config


def import_release(released: str, out: str) -> int:
    """Convert the authors' checkpoint: backbone, classifier, branches and self-teacher.

    Args:
        released (str): Their file, ``{'net': state_dict, 'acc': ..., 'epoch': ..., 'optimizer': ...}``.
        out (str): File to write, a checkpoint of ``MixSKDClassifier``. It appears complete or not at all.

    Returns:
        int: Number of tensors.

    Raises:
        InputError: if the file is not theirs, or ``out`` is the same one.
    """
    checkpoint = load_local_checkpoint(released, map_location='cpu')
    check_other_file(out, released)
    if not isinstance(checkpoint, dict) or 'net' not in checkpoint:
        found = ', '.join(map(str, list(checkpoint)[:4])) if isinstance(checkpoint, dict) else type(checkpoint).__name__
        raise InputError(f"{released} holds {found}: expected the entry net of the authors' released checkpoint")
    net, accuracy = checkpoint['net'], checkpoint.get('acc')
    if not isinstance(net, dict) or not all(isinstance(value, Tensor) for value in net.values()):
        raise InputError(f'{released}: expected its entry net to be a dict of tensors')
    state, config = convert_release(net, released)
    meta = dict(
        cfg=f'model = {config!r}\n',
        recipe="the authors' release",
        epoch=checkpoint.get('epoch'),
        # The best head's on the test set, as their script reports it.
        released_accuracy=None if accuracy is None else float(accuracy),
    )

    def load(path: str) -> None:
        MODELS.build(config).load_state_dict(load_local_checkpoint(path)['state_dict'], strict=True)

    write_file(out, as_bytes({'state_dict': state, 'meta': meta}), load)
    return len(state)
