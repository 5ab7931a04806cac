"""Which configs make a cell of a table."""

from __future__ import annotations

from pathlib import Path

from .tables import CIFAR_NETS, FINE_GRAINED, SMALL, SUPERMIX_PAIRS, TRANSFER, Row, Table


def config_file(method: str, column: str) -> str:
    """Path below ``configs/``, also if there is no such file. What is fine-tuned has one config whatever pretrained it."""
    if column in CIFAR_NETS:
        return f'cifar100/{method}_{column}_cifar100.py'
    if column in SMALL:
        return f'small/{method}_{column}_cifar100-16px.py'
    if column in SUPERMIX_PAIRS:
        teacher, student = column.split('_')
        method, network = ('baseline', teacher) if method == 'teacher' else (method, student)
        return f'supermix/{method}_{network}_cifar100-600e.py'
    if column in FINE_GRAINED:
        return f'fine_grained/{method}_r18_{column}.py'
    if column == 'coco':
        return 'detection/cascade-rcnn_r50-baseline-pre_fpn_1x_coco.py'
    if column in TRANSFER:
        return f'segmentation/deeplabv3-paper_r50-d8-baseline-pre_8xb2-40k_{column}-512x512.py'
    return f'{method}_{column}_imagenet.py'


def recipe(configs: Path, method: str, column: str) -> tuple[str, str | None]:
    """Files that make a cell: the method's config and, unless the column has a config of its own, the column's baseline.

    Args:
        configs (Path): The repository's ``configs/``.
        method (str): As in a row's ``config``.
        column (str): Network or data set, or a pair of teacher and student.
    """
    own = configs / config_file(method, column)
    if own.is_file():
        return str(own), None
    return str(configs / config_file(method, column_of_methods(column))), str(configs / config_file('baseline', column))


def column_of_methods(column: str) -> str:
    """The column for which methods have configs, among those that ``column`` belongs to."""
    return next(iter(SUPERMIX_PAIRS)) if column in SUPERMIX_PAIRS else 'r18'


def is_trainable(configs: Path, table: Table, row: Row) -> bool:
    """Whether the row's method has a config."""
    column = column_of_methods(next(iter(table.columns)))
    return (configs / config_file(row.config, column)).is_file()


def find_row(table: Table, name: str) -> Row:
    """A row by its name; one that the paper's table does not have is a method's, named as its config."""
    return table.rows.get(name) or Row(name, name)
