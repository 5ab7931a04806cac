"""What the classes and functions in the registries take."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache

from mmengine.registry import DefaultScope, Registry

from mixskd_mm.errors import InputError
from mixskd_mm.registries import family, registries

from .values import shown


def classes(name) -> list:
    """What registries know by a name, in the default scope."""
    if callable(name):
        return [name]
    found = []
    scope = DefaultScope.get_current_instance()
    prefix, _, short = str(name).rpartition('.')
    for registry in registries():
        wanted = prefix or (scope.scope_name if scope else None)
        for one in family(registry):
            if one is registry or wanted is None or one.scope == wanted:
                kind = one.module_dict.get(short)
                if kind is not None and kind not in found:
                    found.append(kind)
    return found


@cache
def parameters(kind) -> dict[str, inspect.Parameter]:
    """The arguments of a class with those that it hands on to its bases by ``**kwargs``; of a function, its own."""
    found: dict[str, inspect.Parameter] = {}
    calls = [base.__init__ for base in kind.__mro__ if '__init__' in vars(base)] if inspect.isclass(kind) else [kind]
    for call in calls:
        try:
            own = inspect.signature(call).parameters.values()
        except (TypeError, ValueError):
            break
        for one in own:
            if one.name != 'self' and one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY):
                found.setdefault(one.name, one)
        if not any(one.kind is one.VAR_KEYWORD for one in own):
            break
    return found


def accepted(name) -> set[str]:
    """Names of the arguments of all that is registered as ``name``."""
    return {argument for kind in classes(name) for argument in parameters(kind)}


def check_arguments(cfg, registry: Registry) -> None:
    """Raise InputError if an argument in ``cfg`` has a type that its default or annotation excludes.

    Only what no library means otherwise: text for a number or a switch, a number for text.
    """
    if not isinstance(cfg, Mapping) or not isinstance(cfg.get('type'), str):
        return
    with registry.switch_scope_and_registry(cfg.get('_scope_')) as scoped:
        kind = scoped.get(cfg['type'])
    for name, parameter in parameters(kind).items() if kind is not None else ():
        if name in cfg and (expected := wrong_type(cfg[name], parameter)):
            error = InputError(f'{name}={shown(cfg[name])}: expected {expected}, as {cfg["type"]} takes')
            error.config, error.argument = dict(cfg), name
            raise error


# Words of annotations and what a config has for them.
KINDS = {
    'dict': ('dict', 'Dict', 'Config', 'Mapping'),
    'list': ('list', 'List', 'tuple', 'Tuple', 'Sequence', 'Iterable', 'Multi', 'List'),
    'text': ('str',),
    'number': ('int', 'float', 'Number'),
    'switch': ('bool',),
}
NAMES = {
    'dict': 'a dict of settings',
    'list': 'a list',
    'text': 'text',
    'number': 'a number',
    'switch': 'True or False',
}
# What is taken for something else often enough: one for many, many for one, 0 and 1 for a switch.
TAKEN = {'switch': {'dict', 'list'}, 'number': {'list', 'switch'}, 'text': {'list', 'dict', 'switch'}}
TAKEN |= {'dict': {'list', 'switch'}, 'list': {'number', 'switch'}}


def kind_of(value) -> str | None:
    """Which of :data:`KINDS` a value is, or None."""
    if isinstance(value, bool):
        return 'switch'
    if isinstance(value, int | float):
        return 'number'
    if isinstance(value, str):
        return 'text'
    if isinstance(value, Mapping):
        return 'dict'
    return 'list' if isinstance(value, list | tuple) else None


def wrong_type(value, parameter: inspect.Parameter) -> str | None:
    """What an argument should be, if its default and annotation exclude the type of ``value``, else None."""
    annotation = parameter.annotation
    text = '' if annotation is parameter.empty else getattr(annotation, '__name__', '') + str(annotation)
    expected = {kind for kind, words in KINDS.items() if any(word in text for word in words)}
    default = kind_of(parameter.default)
    expected |= {default} if default else set()
    given = kind_of(value)
    if not expected or given is None or 'Any' in text or 'Callable' in text:
        return None
    if given == 'number' and 'switch' in expected and value in (0, 1):
        return None
    # Without an annotation, text may be another way to say a number, such as 'same' for a padding.
    if given == 'text' and annotation is parameter.empty and default != 'switch':
        return None
    # Text may be one of several ways, of which another is a number; a list of parts may be one of them.
    if (default == 'text' and given == 'number') or (given == 'dict' and parameter.name.endswith('_cfg')):
        return None
    if given in expected or any(given in TAKEN[kind] for kind in expected):
        return None
    return ' or '.join(NAMES[kind] for kind in NAMES if kind in expected)
