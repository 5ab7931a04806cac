"""mmengine's registries."""

from __future__ import annotations

from collections.abc import Iterator

from mmengine.registry import Registry, root


def registries() -> Iterator[Registry]:
    """The root registries of mmengine."""
    yield from (value for value in vars(root).values() if isinstance(value, Registry))


def family(registry: Registry) -> list[Registry]:
    """A registry and those of the libraries that inherit from it."""
    return [registry, *(one for child in registry.children.values() for one in family(child))]


def registered() -> Iterator[tuple[str, object]]:
    """Name and class (or function) of all that is registered anywhere."""
    for registry in registries():
        for one in family(registry):
            yield from one.module_dict.items()
