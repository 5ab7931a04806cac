"""Where something stands in a config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

Path = tuple[str | int, ...]


def walk(config, path: Path = ()) -> Iterator[tuple[Path, object]]:
    """All paths of a config with their values, containers before what is in them."""
    for key, value in config.items() if isinstance(config, Mapping) else enumerate(config):
        yield (*path, key), value
        if isinstance(value, Mapping | list | tuple):
            yield from walk(value, (*path, key))


def dotted(path: Path) -> str:
    """A path as ``--cfg-options`` takes it: ``model.roi_head.bbox_head.0.num_classes``."""
    return '.'.join(map(str, path))


def key_of(path: Path) -> str:
    """The last key of a path that is not an index into a list."""
    return next((key for key in reversed(path) if isinstance(key, str)), '')


def locate(config: Mapping, part: Mapping) -> Path | None:
    """Path of the dict in ``config`` that ``part`` was made from: of the same type, and most of its values.

    Constructors copy their configs and add to them, so that identity does not tell.
    """
    best, path = -1, None
    # What is tested often is what is validated.
    sections = sorted(config.items(), key=lambda item: str(item[0]).startswith('test_'))
    for candidate, value in walk(dict(sections)):
        if isinstance(value, Mapping) and value.get('type') == part.get('type'):
            equal = sum(name in value and value[name] == part[name] for name in part)
            # Without a type only the same dict is meant.
            if equal > best and ('type' in part or equal == len(part) == len(value) > 0):
                best, path = equal, candidate
    return path
