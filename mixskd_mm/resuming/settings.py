"""Which settings differ between a run and the checkpoint that it resumes from, and what resuming makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mixskd_mm.checkpoints.config_text import UNTRUSTED

# The parts of a config that decide what is trained. Of the rest, resuming takes what is given.
TRAINED = (
    'model',
    'data_preprocessor',
    'train_dataloader',
    'optim_wrapper',
    'param_scheduler',
    'train_cfg',
    'custom_hooks',
)
# These change how fast, or how often something is looked at.
HARMLESS = (
    'train_dataloader.num_workers',
    'train_dataloader.persistent_workers',
    'train_dataloader.pin_memory',
    'train_dataloader.prefetch_factor',
    'train_dataloader.timeout',
    'train_cfg.val_',
    'train_cfg.dynamic_intervals',
    # Whether it fits the schedule is checked; going on for longer is what resuming is for.
    'train_cfg.max_',
)
# What a checkpoint's state overrides, or what decides how far its schedule has come; and the section that has to be reset.
KEPT = {
    'optim_wrapper.optimizer': 'optim_wrapper',
    'optim_wrapper.paramwise_cfg': 'optim_wrapper',
    'optim_wrapper.loss_scale': 'optim_wrapper',
    'auto_scale_lr': 'optim_wrapper',
    'param_scheduler': 'param_scheduler',
    'train_dataloader.batch_size': 'param_scheduler',
    'optim_wrapper.accumulative_counts': 'param_scheduler',
    'number of processes': 'param_scheduler',
    'randomness.seed': None,
}
RESETTABLE = ('optim_wrapper', 'param_scheduler')
MISSING = 'nothing'


def flatten(value, path: str = '') -> Iterator[tuple[str, object]]:
    """(path, value) of each leaf of a nested config; an empty dict or list is a leaf."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    items = list(items)
    if not items:
        value = value.removeprefix(UNTRUSTED) if isinstance(value, str) else value
        yield path, [] if isinstance(value, tuple) else value
    for key, item in items:
        yield from flatten(item, f'{path}.{key}' if path else str(key))


def trained_part(config: dict) -> dict:
    """What of a config is compared. An ``auto_scale_lr`` that is not enabled does nothing."""
    part = {name: config[name] for name in TRAINED if config.get(name) is not None}
    if (config.get('auto_scale_lr') or {}).get('enable'):
        part['auto_scale_lr'] = dict(enable=True)
    part['randomness'] = dict(seed=(config.get('randomness') or {}).get('seed'))
    return part


def differences(saved: dict, wanted: dict) -> list[tuple[str, object, object]]:
    """(path, value in ``saved``, value in ``wanted``) wherever two configs train otherwise."""
    before, now = (dict(flatten(trained_part(config))) for config in (saved, wanted))
    paths = [*now, *(path for path in before if path not in now)]
    pairs = [
        (path, before.get(path, MISSING), now.get(path, MISSING)) for path in paths if not path.startswith(HARMLESS)
    ]
    # By their text: NaN equals NaN.
    return [(path, old, new) for path, old, new in pairs if repr(old) != repr(new)]


def section_to_reset(path: str) -> str | None:
    """The section of :data:`KEPT` that a setting belongs to; None if resuming applies a changed setting."""
    return next((kept for kept in KEPT if path == kept or path.startswith(f'{kept}.')), None)


def describe(changes: Iterable[tuple[str, object, object]], most: int = 5) -> str:
    """``a=1 (now 2), b=3 (now nothing)``, and how many more."""
    changes = list(changes)
    text = ', '.join(f'{path}={old} (now {new})' for path, old, new in changes[:most])
    return text + (f' and {len(changes) - most} more' if len(changes) > most else '')
