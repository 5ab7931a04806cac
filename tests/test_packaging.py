import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path
from runpy import run_path

import pytest
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[1]
VERSION = run_path(str(ROOT / 'mixskd_mm' / 'version.py'))['__version__']


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """A copy of what a fresh clone with the present changes would hold."""
    command = ['git', 'ls-files', '--cached', '--others', '--exclude-standard', '-z']
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip('not in a git checkout')
    folder = tmp_path_factory.mktemp('source')
    for name in filter(None, listing.stdout.split('\0')):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def build(kind, source, target):
    """Build a ``wheel``, ``sdist`` or ``editable`` as pip does, without its isolation; return the file."""
    code = f'import sys, setuptools.build_meta as backend; backend.build_{kind}(sys.argv[1])'
    run = subprocess.run([sys.executable, '-c', code, target], cwd=source, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    (built,) = target.iterdir()
    return built


@pytest.fixture(scope='module')
def wheel(source, tmp_path_factory):
    target = tmp_path_factory.mktemp('wheel')
    command = [sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation', '-w', target, source]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    (built,) = target.iterdir()
    with zipfile.ZipFile(built) as archive:
        yield archive


def files(folder, *suffixes):
    return {path.relative_to(folder.parent).as_posix() for path in folder.rglob('*') if path.suffix in suffixes}


def test_wheel_carries_the_package(wheel, source):
    assert files(source / 'mixskd_mm', '.py') <= set(wheel.namelist())


def test_wheel_carries_configs_and_tools_for_mim(wheel, source):
    carried = {name.removeprefix('mixskd_mm/.mim/') for name in wheel.namelist() if '/.mim/' in name}
    expected = files(source / 'configs', '.py') | files(source / 'tools', '.py', '.sh') - {'tools/setup_env.sh'}
    assert carried >= expected
    assert not [name for name in carried if '__pycache__' in name or name == 'tools/setup_env.sh']


def test_wheel_keeps_scripts_executable(wheel):
    scripts = [info for info in wheel.infolist() if info.filename.endswith('.sh')]
    assert scripts
    assert [info.filename for info in scripts if not info.external_attr >> 16 & 0o111] == []


def test_wheel_holds_nothing_else(wheel):
    assert {name.split('/')[0] for name in wheel.namelist()} == {'mixskd_mm', f'mixskd_mm-{VERSION}.dist-info'}


def test_metadata(wheel, source):
    metadata = message_from_bytes(wheel.read(f'mixskd_mm-{VERSION}.dist-info/METADATA'))
    assert metadata['Name'] == 'mixskd_mm'
    assert metadata['Version'] == VERSION
    assert metadata['License'] == 'Apache-2.0'
    assert SpecifierSet(metadata['Requires-Python']) == SpecifierSet('>=3.10,<3.13')
    assert [line for line in metadata.get_all('Requires-Dist') if 'extra ==' not in line] == []
    assert set(metadata.get_all('Provides-Extra')) == {'detection', 'segmentation', 'export', 'analysis', 'all', 'dev'}
    assert metadata.get_payload().strip() == (source / 'README.md').read_text().strip()


def test_sdist_builds_the_same_wheel(source, wheel, tmp_path):
    with tarfile.open(build('sdist', source, tmp_path)) as archive:
        archive.extractall(tmp_path / 'unpacked', filter='data')
    (unpacked,) = (tmp_path / 'unpacked').iterdir()
    (tmp_path / 'wheel').mkdir()
    with zipfile.ZipFile(build('wheel', unpacked, tmp_path / 'wheel')) as rebuilt:
        assert set(rebuilt.namelist()) == set(wheel.namelist())


def test_editable_install_links_configs_and_tools(source, tmp_path):
    build('editable', source, tmp_path)
    mim = source / 'mixskd_mm' / '.mim'
    for name in ('configs', 'tools'):
        assert not (mim / name).readlink().is_absolute()
        assert (mim / name).resolve() == source / name
