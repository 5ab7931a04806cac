"""Which versions of the libraries this package works with.

Two sets of distributions install the same import packages: the maintained forks (``onedl-*``) and the original
OpenMMLab. The tables here are behind the extras of ``setup.py`` and the check at import. ``setup.py`` runs this file on
its own, before any library is installed, so nothing outside the standard library is imported at its top.
"""

import re
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple


class Support(NamedTuple):
    """The supported versions of one library: ``at_least <= version < below``, of which ``tested`` is one."""

    distribution: str
    at_least: str
    below: str
    tested: str
    pip_options: tuple[str, ...] = ()

    @property
    def range(self) -> str:
        """The range as pip writes it, such as ``>=0.10.12,<0.11``."""
        return f'>={self.at_least},<{self.below}'

    @property
    def requirement(self) -> str:
        """The distribution with its range, as ``extras_require`` wants it."""
        return f'{self.distribution}{self.range}'

    @property
    def install_command(self) -> str:
        """The command that installs the tested version."""
        return ' '.join(['pip install', *self.pip_options, f'"{self.distribution}=={self.tested}"'])


# With build isolation pip compiles no operators, and from its cache it takes those compiled for another torch.
COMPILED = ('--no-build-isolation', '--no-cache-dir')

# In the order in which they import each other, so that the check names the cause and not what trips over it.
FORKS = {
    'torch': Support('torch', '2.11.0', '2.14', '2.11.0'),
    'torchvision': Support('torchvision', '0.26.0', '0.29', '0.26.0'),
    'mmengine': Support('onedl-mmengine', '0.10.12', '0.11', '0.10.12'),
    'mmcv': Support('onedl-mmcv', '2.3.6', '2.4', '2.3.6', COMPILED),
    'mmpretrain': Support('onedl-mmpretrain', '1.3.6', '1.4', '1.3.6'),
    'mmdet': Support('onedl-mmdetection', '3.5.1', '3.6', '3.5.1'),
    'mmseg': Support('onedl-mmsegmentation', '1.4.2', '1.5', '1.4.2'),
}
# mmdet before 3.2 and mmsegmentation before 1.2 refuse mmcv 2.1; a file is missing in mmsegmentation 1.2.0.
ORIGINALS = {
    # torch has an allow-list for loading checkpoints without running code from them since 2.4.
    'torch': Support('torch', '2.4.0', '2.6', '2.4.1'),
    'torchvision': Support('torchvision', '0.19.0', '0.21', '0.19.1'),
    'mmengine': Support('mmengine', '0.10.0', '0.10.8', '0.10.7'),
    'mmcv': Support('mmcv', '2.1.0', '2.3', '2.1.0', COMPILED),
    'mmpretrain': Support('mmpretrain', '1.1.0', '1.3', '1.2.0'),
    'mmdet': Support('mmdet', '3.2.0', '3.4', '3.3.0'),
    'mmseg': Support('mmsegmentation', '1.2.1', '1.3', '1.2.2'),
}
OPENMMLAB = ('mmengine', 'mmcv', 'mmpretrain', 'mmdet', 'mmseg')
OPTIONAL = ('mmdet', 'mmseg')


def supported() -> dict[str, Support]:
    """The table for this environment: that of the first library installed, and FORKS if none is or both are."""
    for module in OPENMMLAB:
        if _has(FORKS[module].distribution):
            return FORKS
        # mmengine-lite and mmcv-lite have less in them, which is enough for pretraining.
        if _has(ORIGINALS[module].distribution) or _has(f'{module}-lite'):
            return ORIGINALS
    return FORKS


def unsupported(found: dict[str, str | None], table: dict[str, Support]) -> str | None:
    """Say in one line what is wrong with a set of versions.

    Args:
        found: version of each library by import name, None where it is missing.
        table: what is supported by import name, such as FORKS.

    Returns:
        The found version, the supported range and what to install, for the first library that does not fit; None if
        all fit.
    """
    for module, support in table.items():
        if module in found and not _within(found[module], support):
            return (
                f'mixskd_mm supports {_described(module, table)} but found {found[module] or "none"}: '
                f'{support.install_command}'
            )
    return None


def check_versions() -> None:
    """Import the libraries that pretraining needs and check their versions.

    mmdet and mmseg are checked if they are imported already: pretraining works beside any version of them.

    Raises:
        ImportError: one line, for the first library that is missing, cannot be imported or is outside its range.
    """
    table = supported()
    for module in table:
        if module not in OPTIONAL:
            found = _import_version(module, table)
        elif (found := getattr(sys.modules.get(module), '__version__', None)) is None:
            continue
        # One at a time: a wrong library must be named before the next one fails to import because of it.
        if problem := unsupported({module: found}, table):
            raise ImportError(problem)


def import_library(module: str) -> None:
    """Import mmdet or mmseg, now that it is needed, and check its version.

    Raises:
        ImportError: one line, if it is missing, cannot be imported or is outside its range.
    """
    table = supported()
    if problem := unsupported({module: _import_version(module, table)}, table):
        raise ImportError(problem)


def _has(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True


def _described(module: str, table: dict[str, Support]) -> str:
    """The library and its range, and beside which libraries where that is not the newest."""
    beside = ' beside the original mmengine' if table is ORIGINALS and module not in OPENMMLAB else ''
    return f'{module} {table[module].range}{beside}'


def _import_version(module: str, table: dict[str, Support]) -> str | None:
    to_install = module
    try:
        library = import_module(module)
        if module == 'mmdet':
            # Missed otherwise only by the parts of a detector that need them.
            import_module('mmcv.ops')
        return str(library.__version__)
    except ModuleNotFoundError as error:
        if error.name == module:
            return None
        # mmcv-lite, or an mmcv that was compiled without torch in sight.
        if str(error.name).startswith('mmcv.'):
            to_install = 'mmcv'
        failure = error
    except Exception as error:
        failure = error
    reason = (str(failure).strip() or type(failure).__name__).splitlines()[0]
    raise ImportError(
        f'mixskd_mm supports {_described(module, table)} but the one found cannot be imported '
        f'({reason}): {table[to_install].install_command}'
    ) from failure


def _within(version: str | None, support: Support) -> bool:
    return version is not None and (_release(support.at_least) <= _release(version) < _release(support.below))


def _release(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, without trailing zeros: 2.11.0+cu130 gives (2, 11)."""
    numbers = re.match(r'\d+(\.\d+)*', version)
    if numbers is None:
        return ()
    return tuple(int(n) for n in re.sub(r'(\.0+)+$', '', numbers[0]).split('.'))
