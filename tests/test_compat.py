import re
import subprocess
import sys
from distutils.core import run_setup
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement

from mixskd_mm import compat
from mixskd_mm.compat import OPTIONAL, SUPPORTED, check_versions, unsupported

ROOT = Path(__file__).resolve().parents[1]
PINS = dict(re.findall(r'^([\w-]+)==(\S+)$', (ROOT / 'requirements' / 'tested.txt').read_text(), re.MULTILINE))
TESTED = {module: PINS[support.distribution] for module, support in SUPPORTED.items()}


@pytest.fixture(scope='module')
def distribution():
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return run_setup('setup.py', stop_after='init')


@pytest.mark.parametrize(
    'changed',
    [
        {},
        {'torch': '2.11.0+cu130', 'torchvision': '0.26.0+cu130'},
        {'torch': '2.13.0', 'torchvision': '0.28.0'},
        {'torch': '2.13.1.dev20260101'},
        {'mmcv': '2.3.10'},
    ],
)
def test_supported_sets_pass(changed):
    assert unsupported(TESTED | changed) is None


def test_the_installed_set_passes():
    check_versions()


@pytest.mark.parametrize(
    ('module', 'version', 'line'),
    [
        (
            'mmengine',
            '0.9.1',
            'mixskd_mm supports mmengine >=0.10.12,<0.11 but found 0.9.1: pip install "onedl-mmengine==0.10.12"',
        ),
        (
            'mmcv',
            None,
            'mixskd_mm supports mmcv >=2.3.6,<2.4 but found none: '
            'pip install --no-build-isolation --no-cache-dir "onedl-mmcv==2.3.6"',
        ),
    ],
)
def test_the_line_names_what_was_found_what_is_supported_and_what_to_install(module, version, line):
    assert unsupported(TESTED | {module: version}) == line


@pytest.mark.parametrize(
    ('module', 'version'),
    [
        ('torch', '2.10.1'),
        ('torch', '2.14.0a0+git1234'),
        ('torch', '11.0'),
        ('torchvision', '0.25.0'),
        ('mmengine', '0.10.7'),
        ('mmengine', '0.10.9'),
        ('mmcv', '2.1.0'),
        ('mmcv', '2.4.0'),
        ('mmpretrain', '1.2.0'),
        ('mmdet', '3.3.0'),
        ('mmseg', '1.2.2'),
        ('mmpretrain', 'unknown'),
        *((module, None) for module in SUPPORTED),
    ],
)
def test_every_wrong_version_is_refused_in_one_line(module, version):
    line = unsupported(TESTED | {module: version})
    support = SUPPORTED[module]
    assert f'{module} {support.range} but found {version or "none"}: pip install ' in line
    assert f'"{support.distribution}=={TESTED[module]}"' in line
    assert '\n' not in line


def test_the_cause_is_named_before_what_depends_on_it():
    assert 'supports torch ' in unsupported({'mmpretrain': '0.1', 'mmcv': '0.1', 'torch': '0.1'})


def test_check_refuses_a_wrong_library(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmcv', SimpleNamespace(__version__='2.1.0'))
    with pytest.raises(ImportError, match=r'^mixskd_mm supports mmcv .* but found 2\.1\.0: pip install .*$'):
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
    assert 'supports mmcv >=2.3.6,<2.4 but the one found cannot be imported (wants another mmengine): pip' in line
    assert '\n' not in line


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
    assert run.stderr.splitlines()[-1].startswith('ImportError: mixskd_mm supports mmengine >=0.10.12,<0.11 but found')


def test_setup_py_can_read_the_table_before_anything_is_installed():
    code = 'import runpy, sys; print(len(runpy.run_path(sys.argv[1])["SUPPORTED"]))'
    run = subprocess.run([sys.executable, '-I', '-S', '-c', code, compat.__file__], capture_output=True, text=True)
    assert run.stdout.strip() == str(len(SUPPORTED)), run.stderr


def test_setup_py_has_the_same_ranges(distribution):
    def ranges(lines):
        return {Requirement(line).name: Requirement(line).specifier for line in lines}

    def supported(*modules):
        return ranges(SUPPORTED[module].requirement for module in modules)

    extras = distribution.extras_require
    needed = ranges(distribution.install_requires)
    del needed['numpy']
    assert needed == supported('torch', 'torchvision', 'mmengine', 'mmcv', 'mmpretrain')
    assert ranges(extras['detection']) == supported('mmdet')
    assert ranges(extras['segmentation']) == supported('mmseg')
    assert ranges(extras['export']).keys() == {'timm', 'safetensors'}
    assert ranges(extras['all']) == supported('mmdet', 'mmseg') | ranges(extras['export'])


def test_every_requirement_is_pinned_within_its_range(distribution):
    extras = distribution.extras_require
    for line in [*distribution.install_requires, *extras['all'], *extras['dev']]:
        requirement = Requirement(line)
        assert requirement.specifier.contains(PINS[requirement.name]), line
