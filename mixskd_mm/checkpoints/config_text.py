"""The configs that a checkpoint carries as Python text, which host libraries execute."""

from __future__ import annotations

import ast
import math
import sys
from importlib.util import find_spec

from mmengine.utils import get_object_from_string

from mixskd_mm.errors import InputError
from mixskd_mm.registries import registered

# Where mmengine keeps them: as meta.cfg and message_hub.runtime_info.cfg, formerly as meta.config.
PARTS = ('meta', 'message_hub')
NAMES = ('cfg', 'config')
# What a config from a checkpoint may import. Of these too, a dotted type must be a registered class.
LIBRARIES = ('mixskd_mm', 'mmcv', 'mmdet', 'mmengine', 'mmpretrain', 'mmseg', 'torch')


# No Python begins so, nor any name in a registry.
UNTRUSTED = 'not built from a checkpoint: '


def make_configs_harmless(checkpoint: dict, source: str) -> None:
    """Let no config text in a checkpoint do more than assign literals when a host library executes it; in place.

    Args:
        checkpoint (dict): As it was loaded.
        source (str): Where it came from, for messages.

    Raises:
        InputError: naming the text, if it is more than that.
    """
    parts = [(checkpoint.get(part), part) for part in PARTS]
    # A container may be part of itself.
    seen = set()
    while parts:
        holder, path = parts.pop()
        if id(holder) in seen:
            continue
        seen.add(id(holder))
        if isinstance(holder, list | tuple):
            parts += [(value, f'{path}.{i}') for i, value in enumerate(holder)]
        if not isinstance(holder, dict):
            continue
        for name, value in holder.items():
            if name in NAMES and isinstance(value, str):
                try:
                    holder[name] = harmless_text(value)
                except InputError as error:
                    raise InputError(f'checkpoint {source} was refused, since its {path}.{name} {error}') from error
            else:
                parts.append((value, f'{path}.{name}'))


def harmless_text(text: str) -> str:
    """The same assignments, without anything that would run code when they are executed or built.

    What would be imported but is no module of :data:`LIBRARIES`, and not imported yet, is left out of ``custom_imports``.

    Raises:
        InputError: as :func:`literal_config`.
    """
    config = literal_config(text)
    harmless = without_code(config)
    imports = config.get('custom_imports')
    if isinstance(imports, dict) and imports.get('imports'):
        names = [imports['imports']] if isinstance(imports['imports'], str) else imports['imports']
        allowed = [name for name in names if isinstance(name, str) and may_import(name)]
        if len(allowed) < len(names):
            harmless['custom_imports'] = {**imports, 'imports': allowed}
    if harmless != config:
        text = '\n'.join(f'{name} = {value!r}' for name, value in harmless.items()) + '\n'
    # mmengine replaces '{{ $NAME:default }}' and '{{ fileDirname }}' before it executes a text, in strings too.
    replaced = text.replace('{{', '{\\x7b')
    if replaced != text and literal_config(replaced) != harmless:
        raise InputError('has "{{" outside of strings: expected literals')
    return replaced


def may_import(name: str) -> bool:
    """Whether importing a module runs only code of :data:`LIBRARIES`, or none since it was imported before."""
    return name in sys.modules or name.partition('.')[0] in LIBRARIES


def literal_config(text: str) -> dict:
    """The values that ``text`` assigns: literals, and ``dict(...)`` of them.

    mmengine stores the config of a run in this form. Nothing is executed.

    Raises:
        InputError: if ``text`` holds anything else, or names files that it inherits from. Its message continues "the
            config ...".
    """
    try:
        statements = ast.parse(text).body
    # Deeply nested text: MemoryError or RecursionError.
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise InputError(f'cannot be read as Python ({error})') from error
    config = {}
    for statement in statements:
        target = statement.targets[0] if isinstance(statement, ast.Assign) else None
        try:
            if not isinstance(target, ast.Name) or len(statement.targets) > 1 or target.id == '_base_':
                raise ValueError
            config[target.id] = _literal(statement.value)
        except (ValueError, TypeError, RecursionError):
            line = (ast.get_source_segment(text, statement) or '').partition('\n')[0]
            raise InputError(
                f'holds more than settings in line {statement.lineno} ({line[:80]}), which would be executed: expected '
                'names and literals'
            ) from None
    return config


def _literal(node: ast.expr):
    """Value of a literal expression. Raises ValueError if it is none."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict' and len(node.args) < 2:
        # mmengine writes dict({'.norm': 0}) for keys that are no names.
        value = dict(*map(_literal, node.args))
        for keyword in node.keywords:
            value |= _literal(keyword.value) if keyword.arg is None else {keyword.arg: _literal(keyword.value)}
        return value
    if isinstance(node, ast.Dict):
        value = {}
        for key, item in zip(node.keys, node.values, strict=True):
            value |= _literal(item) if key is None else {_literal(key): _literal(item)}
        return value
    if isinstance(node, ast.List):
        return [_literal(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_literal(item) for item in node.elts)
    if isinstance(node, ast.Name) and node.id in ('inf', 'nan'):
        return getattr(math, node.id)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Name):
        return -_literal(node.operand)
    return ast.literal_eval(node)


def without_code(value):
    """A copy of a config of literals in which what would run code when it is built begins with :data:`UNTRUSTED`.

    mmengine takes a ``type`` with dots for any object of any module (``os.system``); some classes evaluate strings; and
    Hugging Face's run code that they download if they are told to trust it. A class of somebody's own that is named by its
    module is therefore built from the config file only, not from a checkpoint.
    """
    if isinstance(value, list | tuple):
        return type(value)(without_code(item) for item in value)
    if not isinstance(value, dict):
        return value
    harmless = {}
    for name, item in value.items():
        if isinstance(item, str) and runs_code(name, item):
            item = UNTRUSTED + item.removeprefix(UNTRUSTED)
        harmless[name] = False if name == 'trust_remote_code' else without_code(item)
    return harmless


def runs_code(name: str, value: str) -> bool:
    """Whether building a config with this setting could run something else than registered classes."""
    if name in ('default_scope', '_scope_'):
        return not is_harmless_scope(value)
    # Other arguments may become types too: RandomResize(resize_type=...).
    dotted = '.' in value and (name == 'type' or callable(find_object(value)))
    return (dotted and not is_registered(value)) or is_call(value)


def is_registered(name: str) -> bool:
    """Whether a dotted name is ``scope.Name`` or the full name of a class in one of mmengine's registries."""
    target = find_object(name)
    if target is None:
        # mmengine takes the first part for a scope, and imports it.
        scope, _, rest = name.partition('.')
        return '.' not in rest and is_harmless_scope(scope)
    return any(target is kind for _, kind in registered())


def is_harmless_scope(name: str) -> bool:
    """Whether mmengine, which imports scopes, would run no other code by it than :func:`may_import` allows."""
    return may_import(name) or (name.isidentifier() and find_spec(name) is None)


def find_object(name: str):
    """What a dotted name stands for, or None. Nothing is imported but :data:`LIBRARIES`."""
    root, *rest = name.split('.')
    if root in LIBRARIES:
        return get_object_from_string(name)
    found = sys.modules.get(root)
    for part in rest:
        found = getattr(found, part, None)
    return found


def is_call(text: str) -> bool:
    """Whether ``text``, or what follows a dot in it, is an expression that calls something.

    ``data/set(1)`` is taken for the name of a folder.
    """
    for expression in (text.strip(), f'x.{text.strip()}'):
        try:
            nodes = ast.walk(ast.parse(expression, mode='eval'))
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            continue
        if any(isinstance(node, ast.Call) and not _names_only(node) for node in nodes):
            return True
    return False


def _names_only(call: ast.Call) -> bool:
    """Whether a call reads ``name(word)`` or ``name(1)``, which can pass nothing to what it calls."""
    arguments = [
        isinstance(a, ast.Name) or (isinstance(a, ast.Constant) and isinstance(a.value, int)) for a in call.args
    ]
    return isinstance(call.func, ast.Name) and bool(arguments) and all(arguments) and not call.keywords
