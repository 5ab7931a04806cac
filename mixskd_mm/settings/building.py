"""While a tool runs: remember which config each object was built from, and check the arguments before it is built."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping

from mmcv.transforms import BaseTransform
from mmengine.registry import Registry
from torch.nn.modules.module import register_module_parameter_registration_hook

from mixskd_mm.errors import InputError

from .arguments import check_arguments

# What registries built, by id: its config.
_configs: dict[int, Mapping] = {}


def config_of(built) -> Mapping | None:
    """The config that an object was built from, or None if no registry built it."""
    config = _configs.get(id(built))
    # The id of a lost object may be that of a new one.
    return config if config is not None and type(built).__name__ in str(config.get('type')) else None


@contextlib.contextmanager
def naming_settings() -> Iterator[None]:
    """Around a tool: what registries build is remembered with its config, for :func:`describe_failure`.

    Exceptions keep their type and get an attribute ``config``, that of the innermost object that was being built. An
    argument of a wrong type, and parameters that do not fit into the memory, are refused before the object is made; a
    transform that fails names its file and its config, in processes of a loader too.
    """
    build, transform = Registry.build, BaseTransform.__call__
    limit, allocated = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES'), 0

    def build_and_remember(self, cfg, *args, **kwargs):
        try:
            check_arguments(cfg, self)
            built = build(self, cfg, *args, **kwargs)
        except Exception as error:
            if not hasattr(error, 'config') and isinstance(cfg, Mapping):
                error.config = dict(cfg)
            raise
        if isinstance(cfg, Mapping):
            _configs[id(built)] = dict(cfg)
        return built

    def transform_or_name(self, results):
        try:
            return transform(self, results)
        except Exception as error:
            from .culprits import describe_transform, file_of

            # It names the file already.
            if file_of(self, results) in str(error):
                raise
            raise InputError(describe_transform(error, self, results)) from error

    def count(module, name, parameter) -> None:
        nonlocal allocated
        if parameter is not None and parameter.device.type != 'meta':
            allocated += parameter.numel() * parameter.element_size()
            if allocated > limit:
                raise InputError(
                    f'{type(module).__name__}.{name} has shape {tuple(parameter.shape)}: expected parameters that fit '
                    f'into the memory of {limit >> 30} GiB'
                )

    handle = register_module_parameter_registration_hook(count)
    try:
        Registry.build, BaseTransform.__call__ = build_and_remember, transform_or_name
        yield
    finally:
        Registry.build, BaseTransform.__call__ = build, transform
        handle.remove()
        _configs.clear()
