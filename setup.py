import shutil
from pathlib import Path
from runpy import run_path

from setuptools import find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
FORKS = run_path(str(ROOT / 'mixskd_mm' / 'compat.py'))['FORKS']
PRETRAINING = ('torch', 'torchvision', 'mmengine', 'mmcv', 'mmpretrain')
MIM_ENTRIES = ('configs', 'tools', 'model-index.yml')
NOT_FOR_MIM = shutil.ignore_patterns('__pycache__', 'setup_env.sh')

# Needed for some formats of tools/checkpoints/export_backbone.py only; local-dir: came with timm 1.0.16.
EXPORT = ['timm>=1.0.16', 'safetensors>=0.4', 'onnx>=1.17', 'onnxruntime>=1.20']
# Needed for calibration errors and common corruptions in tools/analysis/ only.
ANALYSIS = ['torchmetrics>=1.0', 'imagecorruptions-imaug>=1.1.5']


class BuildWithMim(build_py):
    """Copy what mim and ``mixskd_mm.get_model`` look for to ``mixskd_mm/.mim``; an editable install has the repository."""

    def run(self):
        super().run()
        if not self.editable_mode:
            copy_for_mim(Path(self.build_lib, 'mixskd_mm', '.mim'))

    def get_outputs(self, include_bytecode=True):
        mim = Path(self.build_lib, 'mixskd_mm', '.mim')
        return super().get_outputs(include_bytecode) + [str(path) for path in mim.rglob('*') if path.is_file()]


class WheelForMim(bdist_wheel):
    """Copy the same to the wheel's ``dist-info``.

    onedl-mim 0.5.1 looks for ``.mim`` in the folder of the first entry of RECORD, which pip sorts, and
    ``mixskd_mm-0.1.0.dist-info`` comes before ``mixskd_mm/``. openmim looks in the package.
    """

    def write_wheelfile(self, wheelfile_base, *args, **kwargs):
        super().write_wheelfile(wheelfile_base, *args, **kwargs)
        copy_for_mim(Path(wheelfile_base, '.mim'))


def copy_for_mim(target):
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in MIM_ENTRIES:
        entry = ROOT / name
        if entry.is_dir():
            shutil.copytree(entry, target / name, ignore=NOT_FOR_MIM)
        elif entry.exists():
            shutil.copy2(entry, target / name)


def forks(*modules):
    return [FORKS[module].requirement for module in (*PRETRAINING, *modules)]


setup(
    name='mixskd_mm',
    version=run_path(str(ROOT / 'mixskd_mm' / 'version.py'))['__version__'],
    description='MixSKD, self-knowledge distillation from Mixup, for OpenMMLab',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    author='The mixskd_mm authors',
    license='Apache-2.0',
    license_files=['LICENSE'],
    keywords='knowledge distillation, mixup, image recognition, mmpretrain, openmmlab',
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Science/Research',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    packages=find_packages(include=['mixskd_mm', 'mixskd_mm.*']),
    python_requires='>=3.10,<3.13',
    # Two sets of distributions serve, and a requirement cannot say "either": the import checks what is there.
    install_requires=[],
    extras_require={
        'detection': forks('mmdet'),
        'segmentation': forks('mmseg'),
        'export': EXPORT,
        'analysis': ANALYSIS,
        'all': [*forks('mmdet', 'mmseg'), *EXPORT, *ANALYSIS],
        'dev': ['pytest', 'pytest-xdist', 'scikit-learn', 'ruff', 'rumdl', 'codespell', 'pre-commit'],
    },
    cmdclass={'build_py': BuildWithMim, 'bdist_wheel': WheelForMim},
    zip_safe=False,
)
