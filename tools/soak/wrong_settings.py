"""Changed settings: one wrong value, or one key that nothing reads, in the config of the training."""

from __future__ import annotations

import ast
import contextlib
import random
from pathlib import Path

from recipe import Reference
from sandbox import Outcome, Result

# Each is wrong whatever the data.
CHANGES = (
    ('modle.temperature', '4.0'),
    ('model.temperatur', '4.0'),
    ('optimwrapper.optimizer.lr', '0.1'),
    ('train_dataloder.batch_size', '4'),
    ('train_cfg.max_epoch', '2'),
    ('resume', 'nosuch.pth'),
    ('load_from', 'nosuch.pth'),
    ('optim_wrapper.optimizer.lr', '-0.1'),
    ('optim_wrapper.optimizer.lr', 'abc'),
    ('optim_wrapper.optimizer.lr', '1e30'),
    ('optim_wrapper.optimizer.momentum', '1.5'),
    ('optim_wrapper.optimizer.weight_decay', '-1'),
    ('optim_wrapper.optimizer.type', 'SDG'),
    ('optim_wrapper.clip_grad.max_norm', '-1'),
    ('optim_wrapper.accumulative_counts', '0'),
    ('param_scheduler.0.T_max', '0'),
    ('param_scheduler.0.T_max', '-3'),
    ('param_scheduler.0.eta_min', '-1'),
    ('param_scheduler.0.eta_min', '5'),
    ('param_scheduler.0.type', 'CosineAnealingLR'),
    ('train_cfg.max_epochs', '0'),
    ('train_cfg.max_epochs', '-1'),
    ('train_cfg.max_epochs', '1.5'),
    ('train_cfg.val_interval', '0'),
    ('train_dataloader.batch_size', '0'),
    ('train_dataloader.num_workers', '-1'),
    ('train_dataloader.persistent_workers', 'True'),
    ('train_dataloader.sampler', 'None'),
    ('train_dataloader.dataset.indices', '0'),
    ('train_dataloader.dataset.data_prefix', 'nosuch'),
    ('train_dataloader.dataset.pipeline.1.crop_size', '-4'),
    ('val_dataloader.dataset.pipeline', '[]'),
    ('val_evaluator', '[]'),
    ('val_evaluator.topk', '9'),
    ('custom_hooks', 'abc'),
    ('default_hooks.checkpoint.interval', '0'),
    ('default_hooks.checkpoint.interval', '-2'),
    ('default_hooks.logger.interval', '0'),
    ('data_preprocessor.std', '[0,0,0]'),
    ('data_preprocessor.alpha', '-1'),
    ('data_preprocessor.num_classes', '3'),
    ('model.backbone.depth', '51'),
    ('model.backbone.base_channels', '-8'),
    ('model.head.num_classes', '3'),
    ('model.head.loss.loss_weight', '1e30'),
    ('model.head.loss.loss_weight', '-1'),
    ('model.temperature', '0'),
    ('model.temperature', '4,0'),
    ('model.dis_weight', '1e30'),
    ('auto_scale_lr.base_batch_size', '0'),
    ('randomness.seed', 'abc'),
    ('env_cfg.mp_cfg.mp_start_method', 'frok'),
    ('default_scope', 'mmpretrian'),
)


def trial(rng: random.Random, folder: Path, references: dict[str, Reference]) -> tuple[str, Outcome]:
    """One changed setting: which, and what it led to."""
    key, value = rng.choice(CHANGES)
    result = references['classification'].train(folder / 'run', options=[f'{key}={value}'])
    return f'{key}={value}', judge(result, key, value)


def judge(result: Result, key: str, value: str) -> Outcome:
    """What came of a run with a wrong ``value`` of ``key``."""
    line = result.refusal()
    if result.hung:
        return Outcome('hung', False)
    if line is not None:
        if names(line, key, value):
            return Outcome('refused in one line', True, line)
        if has_traceback_file(line):
            return Outcome('ended in one line, its traceback in a file', True, line)
        return Outcome('refused in one line that does not name it', False, line)
    if result.status:
        return Outcome('ended with a traceback', False, result.last_line)
    said = [row for row in result.output.splitlines() if 'WARNING' in row and key.rsplit('.', 1)[-1] in row]
    return Outcome('used with a warning' if said else 'accepted silently', bool(said), ''.join(said[:1]))


def names(line: str, key: str, value: str) -> bool:
    """Whether a message says which setting is wrong: its key or the end of it, or what it belongs to and the value."""
    parent, _, last = key.rpartition('.')
    with contextlib.suppress(ValueError, SyntaxError):
        value = str(ast.literal_eval(value))
    owner = last in line or last == 'type' or (parent and parent in line)
    return key in line or f'{last}=' in line or f"'{last}'" in line or bool(value in line and owner)


def has_traceback_file(line: str) -> bool:
    """Whether a message names a file that holds a traceback."""
    files = (Path(word.strip('.,;:()')) for word in line.split() if '/' in word)
    return any(file.is_file() and 'Traceback' in file.read_text(errors='replace') for file in files)
