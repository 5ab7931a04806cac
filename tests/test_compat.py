import itertools
import re
import subprocess
import sys
from distutils.core import run_setup
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement

from mixskd_mm import compat
from mixskd_mm.compat import (
    FORKS,
    OPTIONAL,
    ORIGINALS,
    check_versions,
    import_library,
    supported,
    unsupported,
)

ROOT = Path(__file__).resolve().parents[1]
STACKS = {'forks': FORKS, 'original': ORIGINALS}


def pins(stack):
    text = (ROOT / 'requirements' / f'{stack}.txt').read_text()
    return dict(re.findall(r'^([\w-]+)==(\S+)$', text, re.MULTILINE))


TESTED = {
    stack: {module: pins(stack)[support.distribution] for module, support in table.items()}
    for stack, table in STACKS.items()
}
MODULES = [(stack, module) for stack, table in STACKS.items() for module in table]


def install(monkeypatch, *distributions):
    """Let only these distributions of the libraries be installed."""

    def version(name):
        if name not in distributions:
            raise metadata.PackageNotFoundError(name)
        return '0'

    monkeypatch.setattr(compat, 'version', version)


@pytest.fixture(scope='module')
def distribution():
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return run_setup('setup.py', stop_after='init')


@pytest.mark.parametrize(
    ('stack', 'changed'),
    [
        ('forks', {}),
        ('forks', {'torch': '2.11.0+cu130', 'torchvision': '0.26.0+cu130'}),
        ('forks', {'torch': '2.13.0', 'torchvision': '0.28.0'}),
        ('forks', {'torch': '2.13.1.dev20260101'}),
        ('forks', {'mmcv': '2.3.10'}),
        ('original', {}),
        ('original', {'torch': '2.5.1+cu121', 'torchvision': '0.20.1+cu121'}),
        ('original', {'mmengine': '0.10.4', 'mmcv': '2.2.0', 'mmpretrain': '1.1.1'}),
    ],
)
def test_supported_sets_pass(stack, changed):
    assert unsupported(TESTED[stack] | changed, STACKS[stack]) is None


def test_the_installed_set_passes():
    check_versions()


@pytest.mark.parametrize(
    ('distributions', 'table'),
    [
        ([], FORKS),
        (['torch', 'torchvision'], FORKS),
        (['torch', 'onedl-mmengine'], FORKS),
        (['torch', 'mmengine', 'mmcv'], ORIGINALS),
        (['torch', 'mmengine-lite'], ORIGINALS),
        (['torch', 'mmcv-lite'], ORIGINALS),
        (['mmpretrain'], ORIGINALS),
        (['mmengine', 'mmcv', 'onedl-mmsegmentation'], ORIGINALS),
        # The files of the one that was installed last are there: the versions tell.
        (['mmengine', 'onedl-mmengine'], FORKS),
    ],
)
def test_the_distributions_tell_which_versions_are_supported(monkeypatch, distributions, table):
    install(monkeypatch, *distributions)
    assert supported() is table


@pytest.mark.parametrize(
    ('stack', 'module', 'version', 'line'),
    [
        (
            'forks',
            'mmengine',
            '0.9.1',
            'mixskd_mm supports mmengine >=0.10.12,<0.11 but found 0.9.1: pip install "onedl-mmengine==0.10.12"',
        ),
        (
            'forks',
            'mmcv',
            None,
            'mixskd_mm supports mmcv >=2.3.6,<2.4 but found none: '
            'pip install --no-build-isolation --no-cache-dir "onedl-mmcv==2.3.6"',
        ),
        (
            'original',
            'mmdet',
            '2.28.2',
            'mixskd_mm supports mmdet >=3.2.0,<3.4 but found 2.28.2: pip install "mmdet==3.3.0"',
        ),
        (
            'original',
            'torch',
            '2.3.1+cu121',
            'mixskd_mm supports torch >=2.4.0,<2.6 beside the original mmengine but found 2.3.1+cu121: '
            'pip install "torch==2.4.1"',
        ),
    ],
)
def test_the_line_names_what_was_found_what_is_supported_and_what_to_install(stack, module, version, line):
    assert unsupported(TESTED[stack] | {module: version}, STACKS[stack]) == line


@pytest.mark.parametrize(
    ('stack', 'module', 'version'),
    [
        ('forks', 'torch', '2.10.1'),
        ('forks', 'torch', '2.14.0a0+git1234'),
        ('forks', 'torch', '11.0'),
        ('forks', 'torchvision', '0.25.0'),
        ('forks', 'mmengine', '0.10.9'),
        ('forks', 'mmcv', '2.4.0'),
        ('forks', 'mmpretrain', 'unknown'),
        ('original', 'torch', '2.6.0'),
        ('original', 'mmengine', '0.9.1'),
        ('original', 'mmcv', '1.7.2'),
        # The versions of the other set.
        *(('forks', module, TESTED['original'][module]) for module in ORIGINALS),
        *(('original', module, TESTED['forks'][module]) for module in FORKS),
        *((stack, module, None) for stack, module in MODULES),
    ],
)
def test_every_wrong_version_is_refused_in_one_line(stack, module, version):
    support = STACKS[stack][module]
    line = unsupported(TESTED[stack] | {module: version}, STACKS[stack])
    assert line.startswith(f'mixskd_mm supports {module} {support.range} ')
    assert f' but found {version or "none"}: pip install ' in line
    assert f'"{support.distribution}=={TESTED[stack][module]}"' in line
    assert '\n' not in line


@pytest.mark.parametrize('table', STACKS.values())
def test_the_cause_is_named_before_what_depends_on_it(table):
    assert 'supports torch ' in unsupported({'mmpretrain': '0.1', 'mmcv': '0.1', 'torch': '0.1'}, table)


def test_check_refuses_a_wrong_library(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmcv', SimpleNamespace(__version__='1.7.2'))
    with pytest.raises(ImportError, match=r'^mixskd_mm supports mmcv .* but found 1\.7\.2: pip install .*$'):
        check_versions()


def test_check_refuses_a_missing_library(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmpretrain', None)
    with pytest.raises(ImportError, match=r'supports mmpretrain .* but found none: pip install'):
        check_versions()


def test_check_refuses_a_library_that_cannot_be_imported(monkeypatch, tmp_path):
    (tmp_path / 'mmcv.py').write_text('raise AssertionError("wants another mmengine\\nand says more")')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'mmcv')
    with pytest.raises(ImportError) as caught:
        check_versions()
    line = str(caught.value)
    range = supported()['mmcv'].range
    assert f'supports mmcv {range} but the one found cannot be imported (wants another mmengine): pip' in line
    assert '\n' not in line


@pytest.mark.parametrize(('stack', 'mmcv'), [('forks', 'onedl-mmcv==2.3.6'), ('original', 'mmcv==2.1.0')])
def test_a_detector_beside_an_mmcv_without_operators_is_told_to_install_them(monkeypatch, stack, mmcv):
    for name in [name for name in sys.modules if name.startswith('mmcv.ops')]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'mmcv._ext', None)
    monkeypatch.setitem(sys.modules, 'mmdet', SimpleNamespace(__version__=STACKS[stack]['mmdet'].tested))
    install(monkeypatch, STACKS[stack]['mmengine'].distribution)
    with pytest.raises(ImportError, match=rf'supports mmdet .*mmcv\._ext.*: pip install .* "{mmcv}"$'):
        import_library('mmdet')


@pytest.mark.parametrize('module', OPTIONAL)
def test_an_optional_library_is_checked_when_it_is_needed(monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, SimpleNamespace(__version__='0.1'))
    with pytest.raises(ImportError, match=rf'supports {module} .* but found 0\.1: pip install "'):
        import_library(module)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf'supports {module} .* but found none: pip install "'):
        import_library(module)


@pytest.mark.parametrize('module', OPTIONAL)
def test_check_looks_at_optional_libraries_only_when_imported(monkeypatch, module):
    monkeypatch.delitem(sys.modules, module, raising=False)
    check_versions()
    assert module not in sys.modules
    monkeypatch.setitem(sys.modules, module, SimpleNamespace(__version__='0.1'))
    with pytest.raises(ImportError, match=rf'supports {module} .* but found 0\.1'):
        check_versions()


def test_importing_the_package_is_refused():
    code = 'import sys, types; sys.modules["mmengine"] = types.SimpleNamespace(__version__="0.9.1"); import mixskd_mm'
    run = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 1
    line = f'ImportError: mixskd_mm supports mmengine {supported()["mmengine"].range} but found 0.9.1: pip install '
    assert run.stderr.splitlines()[-1].startswith(line)


def test_setup_py_can_read_the_table_before_anything_is_installed():
    code = 'import runpy, sys; print(*runpy.run_path(sys.argv[1])["FORKS"])'
    run = subprocess.run([sys.executable, '-I', '-S', '-c', code, compat.__file__], capture_output=True, text=True)
    assert run.stdout.split() == list(FORKS), run.stderr


def ranges(lines):
    return {Requirement(line).name: Requirement(line).specifier for line in lines}


def test_an_environment_keeps_the_libraries_that_it_has(distribution):
    assert distribution.install_requires == []
    assert ranges(distribution.extras_require['export']).keys() == {'timm', 'safetensors', 'onnx', 'onnxruntime'}


def test_the_extras_have_the_forks_ranges(distribution):
    def forks(*others):
        modules = ('torch', 'torchvision', 'mmengine', 'mmcv', 'mmpretrain', *others)
        return ranges(FORKS[module].requirement for module in modules)

    extras = distribution.extras_require
    assert ranges(extras['detection']) == forks('mmdet')
    assert ranges(extras['segmentation']) == forks('mmseg')
    assert ranges(extras['all']) == forks('mmdet', 'mmseg') | ranges(extras['export']) | ranges(extras['analysis'])


@pytest.mark.parametrize('stack', STACKS)
def test_every_requirement_is_pinned_within_its_range(distribution, stack):
    libraries = [support.requirement for support in STACKS[stack].values()]
    extras = (distribution.extras_require[name] for name in ('export', 'analysis', 'dev'))
    for line in [*libraries, *itertools.chain(*extras)]:
        requirement = Requirement(line)
        assert requirement.specifier.contains(pins(stack)[requirement.name]), line


def test_the_oldest_versions_are_pinned_to_be_tested():
    oldest = pins('oldest')
    assert all(oldest[support.distribution] == support.at_least for support in ORIGINALS.values())


def test_the_tested_versions_are_the_pinned_ones():
    for stack, module in MODULES:
        assert STACKS[stack][module].tested == TESTED[stack][module]
