"""One picture of a training beside its log."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop

from mixskd_mm.checkpoints.write import write_figure
from mixskd_mm.errors import last_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOT_METRICS = ('epoch', 'iter', 'step', 'time', 'data_time', 'memory', 'loss', 'lr', 'base_lr', 'grad_norm', 'lam')


@HOOKS.register_module()
class RunPictureHook(Hook):
    """Draw loss terms, accuracies and learning rate of a training that has ended, from what it logged.

    The picture is ``<work_dir>/<time>/training.png``, beside the log. A resumed training's has the iterations before it,
    too. A picture that cannot be drawn or written is a warning in the log; the training has ended well all the same.
    """

    # After the logger's last line.
    priority = 'LOWEST'

    @master_only
    def after_train(self, runner) -> None:
        try:
            files = [Path(runner.log_dir, 'vis_data', 'scalars.json')]
            if runner._resume:
                files = sorted(Path(runner.work_dir).glob('*/vis_data/scalars.json'))
            rows = read_scalars(files, runner.iter)
            # Validations are logged by what the loop counts.
            epoch = len(runner.train_dataloader) if isinstance(runner.train_loop, EpochBasedTrainLoop) else 1
            out = Path(runner.log_dir, 'training.png')
            write_figure(str(out), draw_training(rows, epoch, runner.experiment_name))
            runner.logger.info(f'Losses, accuracies and learning rate over time: {out}')
        except Exception as error:
            # Whatever drawing meets, the training itself is done.
            runner.logger.warning(f'no picture of the training: {type(error).__name__}: {last_line(error)}')


def read_scalars(files: Sequence[Path], iterations: int | None = None) -> list[dict]:
    """Lines of ``scalars.json`` files, one run after the other; what a later run repeats counts as it was there.

    Args:
        files (Sequence[Path]): In the order of the runs.
        iterations (int, optional): Leave out training lines after this one. Defaults to None: none.
    """
    rows: dict[tuple[bool, int], dict] = {}
    for file in files:
        for line in file.read_text(encoding='utf-8').splitlines():
            row = json.loads(line)
            training = is_training(row)
            if not (training and iterations is not None and row['step'] > iterations):
                rows[training, row['step']] = row
    return [rows[key] for key in sorted(rows)]


def is_training(row: dict) -> bool:
    """Whether a logged line is of training; the others are of a validation."""
    return 'lr' in row or 'loss' in row


def draw_training(rows: Sequence[dict], iters_per_epoch: int = 1, title: str | None = None) -> Figure:
    """Loss terms, accuracies and learning rate over iterations.

    Args:
        rows (Sequence[dict]): Logged lines, see :func:`read_scalars`. Of training: ``loss``, terms such as ``loss_kd``,
            ``lr``, and training accuracies such as ``top1_backbone`` of each head. Others are of validations, whose
            ``step`` is an epoch.
        iters_per_epoch (int): Iterations between two such steps. Defaults to 1: they are iterations.
        title (str, optional): Above the picture. Defaults to None: none.

    Raises:
        ValueError: if no line is of training.
    """
    # Not at import: it takes a while.
    from matplotlib.figure import Figure

    training = [row for row in rows if is_training(row)]
    validations = [dict(row, step=row['step'] * iters_per_epoch) for row in rows if not is_training(row)]
    if not training:
        raise ValueError('nothing was logged in training')
    figure = Figure(figsize=(15, 4.5), layout='constrained')
    losses, accuracies, rates = figure.subplots(1, 3)
    plot(losses, training, [key for key in keys(training) if key == 'loss' or 'loss_' in key], title='Loss terms')
    positive = all(row[key] > 0 for row in training for key in keys([row]) if key == 'loss' or 'loss_' in key)
    losses.set_yscale('log' if positive else 'linear')
    heads = [key for key in keys(training) if key not in NOT_METRICS and 'loss' not in key]
    plot(accuracies, training, heads, title='Training (lines) and validation (dots)')
    metrics = [key for key in keys(validations) if key not in NOT_METRICS]
    plot(accuracies, validations, metrics, marker='o', linestyle='--')
    plot(rates, training, ['lr'], title='Learning rate')
    for axis in (losses, accuracies, rates):
        axis.set_xlabel('iteration')
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=7)
    if title:
        figure.suptitle(title)
    return figure


def keys(rows: Iterable[dict]) -> list[str]:
    """Names of the numbers in some lines, sorted."""
    return sorted({key for row in rows for key, value in row.items() if isinstance(value, int | float)})


def plot(axis, rows: Sequence[dict], names: Sequence[str], title: str | None = None, **style) -> None:
    """One line a name; rows without it are left out."""
    for name in names:
        points = [(row['step'], row[name]) for row in rows if name in row]
        # Terms that stay 0 are switched off.
        if any(value for _, value in points):
            axis.plot(*zip(*points, strict=True), label=name, **style)
    if title:
        axis.set_title(title)
