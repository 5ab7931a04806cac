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


@pytest.mark.parametrize('home', ['mixskd_mm', f'mixskd_mm-{VERSION}.dist-info'])
def test_wheel_carries_configs_and_tools_for_mim(home, wheel, source):
    """Once where openmim and the package itself look, once where onedl-mim does."""
    carried = {name.removeprefix(f'{home}/.mim/') for name in wheel.namelist() if name.startswith(f'{home}/.mim/')}
    expected = files(source / 'configs', '.py', '.yml') | files(source / 'tools', '.py', '.sh') | {'model-index.yml'}
    assert carried >= expected - {'tools/setup_env.sh'}
    assert not [name for name in carried if '__pycache__' in name or name == 'tools/setup_env.sh']


def test_onedl_mim_finds_each_file_once(wheel):
    """It takes the folder of the first entry of RECORD, sorted as pip installs it, and what is below."""
    root = min(wheel.namelist()).split('/')[0]
    below = [name for name in wheel.namelist() if name.startswith(f'{root}/')]
    assert {f'{root}/.mim/tools/train.py', f'{root}/.mim/model-index.yml'} <= set(below)
    assert len([name for name in below if name.endswith('/mixskd_r18_cifar100.py')]) == 1


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


def test_editable_install_adds_nothing_to_the_repository(source, tmp_path):
    """mim searches all of it, and refuses a name that it finds twice."""
    build('editable', source, tmp_path)
    assert not (source / 'mixskd_mm' / '.mim').exists()
    assert (source / 'model-index.yml').is_file() and (source / 'tools' / 'train.py').is_file()
