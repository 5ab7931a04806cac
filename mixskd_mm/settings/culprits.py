"""Say in one line which setting an exception out of a library is about."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping

from mixskd_mm.errors import InputError, last_line
from mixskd_mm.registries import registered

from .arguments import accepted
from .building import config_of
from .keys import nearest
from .paths import Path, dotted, locate, walk
from .values import shorten, shown

# Where a part of a config reads from.
PLACES = ('ann_file', 'data_root', 'data_prefix', 'checkpoint')


def describe_argument(error: BaseException, config: Mapping) -> str | None:
    """One line about an argument that a part of ``config`` cannot be built with; None if ``error`` is about none.

    The exceptions are those with which Python and the registries refuse a call, and this package's own.
    """
    part = getattr(error, 'config', None)
    if part is None and isinstance(error, ImportError):
        # Of a package that is imported when it is used first.
        part = next(parts_on_traceback(error), None)
    path = locate(config, part) if part is not None else None
    if path is None:
        return None
    message = str(error)
    if 'type' not in part:
        return f'{dotted((*path, "type"))} is missing: expected the name of a registered class'
    kind = name_of(part['type'])
    if isinstance(error, InputError):
        argument = getattr(error, 'argument', None)
        return (
            f'{dotted((*path, argument))}{message.removeprefix(argument)}'
            if argument
            else f'{message} (in {dotted(path)})'
        )
    if isinstance(error, KeyError) and 'registry. Please check' in message:
        return unknown_type(path, kind)
    if isinstance(error, ImportError):
        return f'{dotted((*path, "type"))}={kind!r} lacks a package that it needs: {last_line(error)}'
    unexpected = re.search(r"unexpected keyword argument '(\w+)'", message)
    if unexpected and unexpected[1] in part:
        key = unexpected[1]
        real = nearest(key, accepted(part['type']))
        expected = f'expected {dotted((*path, real))}' if real else f'expected an argument of {kind}'
        return f'{dotted((*path, key))}={shown(part[key])}: no such setting: {expected}'
    missing = re.search(r"missing \d+ required \S+ arguments?: '(\w+)'", message)
    if missing and missing[1] not in part:
        return f'{dotted((*path, missing[1]))} is missing: expected a value, since {kind} needs it'
    return None


def describe_failure(error: BaseException, config: Mapping) -> str | None:
    """One line that names the settings that ``error`` is about, or None if it seems to be about none of ``config``.

    The part of the config is the one that was being built, or the innermost on the traceback that a registry has built.
    Of its settings are named those whose key or value stands in the error's message, else those that are empty, that say
    where to read, or all of its own.
    """
    part = getattr(error, 'config', None) or next(parts_on_traceback(error), None)
    path = locate(config, part) if part is not None else None
    reason = f'{type(error).__name__}: {shorten(str(error))}'
    if (file := file_on_traceback(error)) is not None:
        reason += f', reading {file}'
    if path is None:
        quoted = [(inner, value) for inner, value in mentioned(config, str(error)) if len(inner) <= 3]
        named = [f'{dotted(inner)}={shown(value)}' for inner, value in quoted[:3]]
        return f'{", ".join(named)}: expected another value ({reason})' if named else None
    empty = [(inner, value) for inner, value in walk(part) if value is None or value in ([], (), {})]
    own = [(inner, value) for inner, value in walk(part) if is_own(inner)]
    places = [(inner, value) for inner, value in own if inner[0] in PLACES]
    found = mentioned(part, str(error)) or empty or places or own
    named = [f'{dotted((*path, *inner))}={shown(value)}' for inner, value in found]
    return f'{", ".join(named[:6]) or dotted(path)}: expected what {name_of(part["type"])} can take ({reason})'


def is_own(path: Path) -> bool:
    """Whether a path is a setting of the part itself, not of what it contains."""
    return len(path) == 1 and path[0] != 'type'


def settings_with(config: Mapping, value) -> str:
    """The settings that are ``value``, for the beginning of a message that quotes it; '' if none is."""
    return ''.join(f'{dotted(path)}: ' for path, one in walk(config) if one == value)


def name_of(kind) -> str:
    """The name of a class in a config, which may be the class itself."""
    return kind if isinstance(kind, str) else kind.__name__


def unknown_type(path: Path, kind: str) -> str:
    """What to say of a name that no registry has."""
    names = {name for name, _ in registered()}
    real = nearest(kind.rpartition('.')[2], names)
    return f'{dotted((*path, "type"))}={kind!r}: expected the name of a registered class' + (
        f', such as {real}' if real else ''
    )


def parts_on_traceback(error: BaseException) -> Iterator[Mapping]:
    """Configs of the objects whose methods raised ``error``, innermost first."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for frame in reversed(frames):
        config = config_of(frame.f_locals.get('self'))
        if config is not None:
            yield config


def file_on_traceback(error: BaseException) -> str | None:
    """The file that what was being built from a config was reading when it raised ``error``, such as annotations."""
    for frame in reversed([frame for frame, _ in traceback.walk_tb(error.__traceback__)]):
        if frame.f_code.co_name == 'build_and_remember':
            break
        values = [*frame.f_locals.values(), *getattr(frame.f_locals.get('self'), '__dict__', {}).values()]
        for value in values:
            if isinstance(value, str) and os.path.isfile(value):
                return value
    return None


def mentioned(part: Mapping, message: str) -> list[tuple[Path, object]]:
    """The settings below ``part`` that a message speaks of, by their value or else by their key."""
    words = set(re.findall(r'-?\d+\.?\d*(?:e[+-]?\d+)?|\w+', message))
    plain = [(path, value) for path, value in walk(part) if path[-1] != 'type']
    by_value = [(path, value) for path, value in plain if is_distinct(value) and str(value) in words]
    by_key = [
        (path, value) for path, value in plain if isinstance(path[-1], str) and len(path[-1]) > 3 and path[-1] in words
    ]
    both = [one for one in by_value if one in by_key]
    return both + [one for one in [*by_key, *by_value] if one not in both]


def is_distinct(value) -> bool:
    """Whether a value in a message hardly stands there by chance."""
    if isinstance(value, bool) or value is None:
        return False
    return abs(value) > 9 if isinstance(value, int | float) else isinstance(value, str) and len(value) > 2


def describe_transform(error: Exception, transform, results: Mapping) -> str:
    """One line about a transform that failed: its file, its settings and the reason."""
    message = last_line(error)
    file = file_of(transform, results)
    if isinstance(error, InputError):
        return message
    reason = f'{type(error).__name__}: {shorten(message)}' if message else type(error).__name__
    kind = type(transform).__name__
    if kind.startswith('Load'):
        return f'failed to load {file}: expected a file that {kind} can read ({reason})'
    config = config_of(transform) or {}
    settings = ', '.join(f'{key}={shown(value)}' for key, value in config.items() if key != 'type')
    return f'{kind}({settings}) on {file}: expected settings that fit the image ({reason})'


def file_of(transform, results) -> str:
    """The file that a transform reads or whose content it changes."""
    names = ('seg_map_path', 'img_path') if 'Annotations' in type(transform).__name__ else ('img_path', 'seg_map_path')
    found = (results.get(name) for name in names) if isinstance(results, Mapping) else ()
    return str(next(filter(None, found), 'a sample'))


def write_traceback(error: BaseException, work_dir: str | None) -> str:
    """Write the traceback of ``error`` to a new file in ``work_dir``, else here, else for temporary files; its name."""
    text = ''.join(traceback.format_exception(error))
    name = f'traceback_{time.strftime("%Y%m%d_%H%M%S")}_{os.getpid()}.log'
    for folder in filter(None, (work_dir, os.curdir, tempfile.gettempdir())):
        path = os.path.join(folder, name)
        try:
            os.makedirs(folder, exist_ok=True)
            with open(path, 'w', encoding='utf-8') as file:
                file.write(' '.join(sys.argv) + '\n\n' + text)
        except OSError:
            continue
        return os.path.normpath(path)
    # Nowhere to write.
    sys.stderr.write(text)
    return 'the lines above'
