"""What a training checkpoint has to be made of, so that a damaged or foreign one is refused by name."""

from __future__ import annotations

from mixskd_mm.errors import InputError

MISSING = object()


def is_count(value) -> bool:
    return type(value) is int and value >= 0


def is_dict(value) -> bool:
    return isinstance(value, dict)


def is_sequence_of(kind: type, value) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, kind) for item in value)


def holds_optimizers(value) -> bool:
    """The state of an optimiser, or of several by name (``OptimWrapperDict``)."""
    if not is_dict(value):
        return False
    if 'param_groups' in value:
        return is_dict(value.get('state')) and is_sequence_of(dict, value['param_groups'])
    return bool(value) and all(holds_optimizers(inner) for inner in value.values())


def holds_schedulers(value) -> bool:
    """The states of schedulers that have an end, or of several optimisers' by name."""
    if is_dict(value):
        return all(holds_schedulers(inner) for inner in value.values())
    return is_sequence_of(dict, value) and all('end' in state for state in value)


CLASSES = {
    'meta': (is_dict, 'a dict'),
    'meta.dataset_meta': (is_dict, 'a dict'),
    'meta.dataset_meta.classes': (lambda value: value is None or is_sequence_of(str, value), 'a list of names'),
}
# To continue a training.
STATE = {
    'meta': (is_dict, 'a dict'),
    'meta.epoch': (is_count, 'a number >= 0'),
    'meta.iter': (is_count, 'a number >= 0'),
    'message_hub': (is_dict, 'a dict'),
    'message_hub.log_scalars': (is_dict, 'a dict'),
    'message_hub.runtime_info': (is_dict, 'a dict'),
    'message_hub.resumed_keys': (is_dict, 'a dict'),
    'optimizer': (holds_optimizers, 'the state of an optimiser'),
}
# May be missing.
OPTIONAL_STATE = {
    'meta.seed': (lambda value: value is None or type(value) is int, 'an integer'),
    'meta.cfg': (lambda value: isinstance(value, str), 'the text of a config'),
    'param_schedulers': (holds_schedulers, 'the states of schedulers'),
    'random_states': (lambda value: is_sequence_of(dict, value), 'a list of dicts'),
}


def check_classes(checkpoint: dict, source: str) -> None:
    """Raise InputError, naming ``source``, unless what a checkpoint says of its classes, if it does, are names."""
    check(checkpoint, source, CLASSES, required=False)


def check_training_state(checkpoint: dict, source: str) -> None:
    """Raise InputError, naming ``source``, unless a checkpoint has what it takes to continue a training."""
    lacking = [part for part in STATE if '.' not in part and part not in checkpoint]
    if lacking:
        raise InputError(
            f'{source} has no {", ".join(lacking)}: expected one that training wrote, to resume; load_from starts anew '
            'with its weights'
        )
    check(checkpoint, source, STATE, required=True)
    check(checkpoint, source, OPTIONAL_STATE, required=False)


def check(checkpoint: dict, source: str, parts: dict, required: bool) -> None:
    """Raise InputError at the first of ``parts`` that is not as it says."""
    for path, (fits, expected) in parts.items():
        value = checkpoint
        for key in path.split('.'):
            value = value.get(key, MISSING) if is_dict(value) else MISSING
        if value is MISSING and not required:
            continue
        if value is MISSING or not fits(value):
            found = 'is missing' if value is MISSING else f'is {str(value)[:60]!r}'
            raise InputError(f'{source}: {path} {found}: expected {expected}')
