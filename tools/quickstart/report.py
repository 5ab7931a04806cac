"""The quickstart's tables and pictures, from what its runs left behind."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import cv2
import matplotlib

matplotlib.use('Agg')
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

METHODS = {'baseline': 'Baseline', 'mixup': 'Mixup', 'mixskd': 'MixSKD'}
TASKS = {'cascade-rcnn': 'Cascade R-CNN, box mAP (%)', 'deeplabv3': 'DeepLabV3, mIoU (%)'}
STARTS = {'scratch': 'random weights', 'mixskd-pre': 'the MixSKD checkpoint'}


def classification_table(accuracies: dict[str, list[float]], seeds: tuple[int, ...]) -> str:
    """Markdown: mean and standard deviation of each method's accuracies over the seeds."""
    lines = ['| method | top-1 (%), mean ± standard deviation | each seed |', '|---|---|---|']
    for method, name in METHODS.items():
        values = accuracies[method]
        each = ', '.join(f'{value:.2f}' for value in values)
        lines.append(f'| {name} | {statistics.mean(values):.2f} ± {statistics.stdev(values):.2f} | {each} |')
    lines += [
        '',
        'Digits of scikit-learn, 200 training and 1,597 test images, a 16-channel ResNet-18, seeds '
        f"{', '.join(map(str, seeds))}; the backbone's own head at the last epoch; same schedule and optimiser for all.",
        'Rounding differs between processors, and with it each of these numbers: the baseline of one seed by up to 2 %.',
    ]
    return '\n'.join(lines)


def transfer_table(scores: dict[tuple[str, str], float | None]) -> str:
    """Markdown: score of each task from each start; None if the detector found nothing to score."""
    lines = [f'| fine-tuned | from {" | from ".join(STARTS.values())} |', '|---' * (len(STARTS) + 1) + '|']
    for task, name in TASKS.items():
        values = [scores[task, start] for start in STARTS]
        lines.append(f'| {name} | ' + ' | '.join('-' if v is None else f'{v:.1f}' for v in values) + ' |')
    lines += ['', 'Digits on photographs, 96 training and 48 test scenes, one seed, same schedule for both starts.']
    return '\n'.join(lines)


def read_scalars(folder: Path) -> list[dict]:
    """What the training run in a work directory logged, in order; testing came later."""
    file = sorted(folder.glob('*/vis_data/scalars.json'))[0]
    return [json.loads(line) for line in file.read_text(encoding='utf-8').splitlines()]


def draw_curves(path: Path, folders: dict[str, list[Path]]) -> None:
    """MixSKD's loss terms and the accuracy of its heads over time, and the test accuracy of each method.

    Args:
        path (Path): Picture to write.
        folders (dict[str, list[Path]]): Work directories of each method, one a seed.
    """
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 4.5))
    training = [row for row in read_scalars(folders['mixskd'][0]) if 'loss' in row]
    epochs = [row['epoch'] for row in training]
    for term in sorted(key for key in training[0] if key.startswith('loss_')):
        left.plot(epochs, [row[term] for row in training], label=term)
    left.set(title='MixSKD: loss terms of Eq. (13)', xlabel='epoch', yscale='log')
    for head in sorted(key for key in training[0] if key.startswith('top1_')):
        middle.plot(epochs, [row[head] for row in training], label=head.removeprefix('top1_'))
    middle.set(title='MixSKD: training top-1 of each head', xlabel='epoch', ylabel='%')
    for method, name in METHODS.items():
        curves = [[row for row in read_scalars(folder) if 'accuracy/top1' in row] for folder in folders[method]]
        mean = [statistics.mean(row['accuracy/top1'] for row in rows) for rows in zip(*curves, strict=True)]
        right.plot([row['step'] for row in curves[0]], mean, marker='o', label=name)
    right.set(title=f'Test top-1, mean of {len(curves)} seeds', xlabel='epoch', ylabel='%')
    for axis in (left, middle, right):
        axis.legend(fontsize=8)
        axis.grid(alpha=0.3)
    figure.tight_layout()
    save(figure, path, dpi=120)


def draw_transfer(path: Path, folders: dict[str, Path]) -> None:
    """The test scenes that mmdet and mmseg drew (annotation left, prediction right), one row a task.

    Args:
        path (Path): Picture to write.
        folders (dict[str, Path]): Folder of the drawn scenes of each task.
    """
    figure, axes = plt.subplots(len(TASKS), 4, figsize=(16, 2.4 * len(TASKS)))
    for row, (task, name) in zip(axes, TASKS.items(), strict=True):
        for axis, file in zip(row, sorted(folders[task].rglob('*.png'))[:4], strict=True):
            axis.imshow(cv2.imread(str(file))[..., ::-1])
            axis.axis('off')
        row[0].set_title(f'{name.split(",")[0]}: annotation, prediction', loc='left', fontsize=10)
    figure.tight_layout()
    save(figure, path, dpi=100)


def save(figure: Figure, path: Path, dpi: int) -> None:
    # Not for --help: it imports the libraries.
    from mixskd_mm.checkpoints.write import write_figure

    write_figure(str(path), figure, dpi)
