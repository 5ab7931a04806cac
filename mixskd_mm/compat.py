"""Which versions of the libraries this package works with.

The one table behind the requirements of ``setup.py`` and the check at import. ``setup.py`` runs this file on its own,
before any library is installed, so nothing outside the standard library is imported at its top.
"""

import re
import sys
from importlib import import_module
from typing import NamedTuple


class Support(NamedTuple):
    """The supported versions of one library: ``at_least <= version < below``."""

    distribution: str
    at_least: str
    below: str
    pip_options: tuple[str, ...] = ()

    @property
    def range(self) -> str:
        """The range as pip writes it, such as ``>=0.10.12,<0.11``."""
        return f'>={self.at_least},<{self.below}'

    @property
    def requirement(self) -> str:
        """The distribution with its range, as ``install_requires`` wants it."""
        return f'{self.distribution}{self.range}'

    @property
    def install_command(self) -> str:
        """The command that installs the oldest supported version, which is the tested one."""
        return ' '.join(['pip install', *self.pip_options, f'"{self.distribution}=={self.at_least}"'])


# In the order in which they import each other, so that the check names the cause and not what trips over it.
SUPPORTED = {
    'torch': Support('torch', '2.11.0', '2.14'),
    'torchvision': Support('torchvision', '0.26.0', '0.29'),
    # The original mmengine, up to 0.10.7, cannot reload its own checkpoints under torch >= 2.6.
    'mmengine': Support('onedl-mmengine', '0.10.12', '0.11'),
    # With build isolation pip compiles no operators, and from its cache it takes those compiled for another torch.
    'mmcv': Support('onedl-mmcv', '2.3.6', '2.4', ('--no-build-isolation', '--no-cache-dir')),
    'mmpretrain': Support('onedl-mmpretrain', '1.3.6', '1.4'),
    'mmdet': Support('onedl-mmdetection', '3.5.1', '3.6'),
    'mmseg': Support('onedl-mmsegmentation', '1.4.2', '1.5'),
}
OPTIONAL = ('mmdet', 'mmseg')


def unsupported(found: dict[str, str | None]) -> str | None:
    """Say in one line what is wrong with a set of versions.

    Args:
        found: version of each library by import name, None where it is missing.

    Returns:
        The found version, the supported range and what to install, for the first library that does not fit; None if
        all fit.
    """
    for module, support in SUPPORTED.items():
        if module in found and not _within(found[module], support):
            return (
                f'mixskd_mm supports {module} {support.range} but found {found[module] or "none"}: '
                f'{support.install_command}'
            )
    return None


def check_versions() -> None:
    """Import the libraries that pretraining needs and check their versions.

    mmdet and mmseg are checked if they are imported already: pretraining works beside any version of them.

    Raises:
        ImportError: one line, for the first library that is missing, cannot be imported or is outside its range.
    """
    for module in SUPPORTED:
        if module not in OPTIONAL:
            version = _import_version(module)
        elif (version := getattr(sys.modules.get(module), '__version__', None)) is None:
            continue
        # One at a time: a wrong library must be named before the next one fails to import because of it.
        if problem := unsupported({module: version}):
            raise ImportError(problem)


def keep_version_checks_out_of_graphs() -> None:
    """Let ``torch.compile`` pass by the version checks that mmengine makes inside a step in mixed precision.

    The compiler cannot trace the parser of packaging 26 and ends with an error of its own.
    """
    from mmengine.runner import amp
    from torch.compiler import disable

    amp.digit_version = disable(amp.digit_version)


def _import_version(module: str) -> str | None:
    try:
        return str(import_module(module).__version__)
    except ModuleNotFoundError as error:
        if error.name == module:
            return None
        failure = error
    except Exception as error:
        failure = error
    support = SUPPORTED[module]
    reason = (str(failure).strip() or type(failure).__name__).splitlines()[0]
    raise ImportError(
        f'mixskd_mm supports {module} {support.range} but the one found cannot be imported '
        f'({reason}): {support.install_command}'
    ) from failure


def _within(version: str | None, support: Support) -> bool:
    return version is not None and (_release(support.at_least) <= _release(version) < _release(support.below))


def _release(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, without trailing zeros: 2.11.0+cu130 gives (2, 11)."""
    numbers = re.match(r'\d+(\.\d+)*', version)
    if numbers is None:
        return ()
    return tuple(int(n) for n in re.sub(r'(\.0+)+$', '', numbers[0]).split('.'))
