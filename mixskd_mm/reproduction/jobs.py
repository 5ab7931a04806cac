"""One cell of a table: a config, a seed and a budget, trained and tested through the ordinary tools."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.config import Config

from mixskd_mm.configs import merge_options, read_config
from mixskd_mm.errors import InputError
from mixskd_mm.tool_runs import last_checkpoint

from .budget import Budget
from .cells import config_file, find_row, is_trainable, recipe
from .tables import R50, SUPERMIX_PAIRS, TABLES, TRANSFER, Row


@dataclass(frozen=True)
class Job:
    """Train and test one network.

    Args:
        table (str): Name of the table in ``TABLES``.
        row (str): Name of its row.
        column (str): Name of its column.
        seed (int): Seed of the run.
        budget (Budget): How much of the recipe.
        data_root (str): Takes the place of the ``data`` folder in the config's paths.
        options (Mapping): More overrides, as ``--cfg-options`` gives them.
    """

    table: str
    row: str
    column: str
    seed: int
    budget: Budget = field(default_factory=Budget)
    data_root: str = 'data'
    options: Mapping[str, object] = field(default_factory=dict, hash=False)

    @property
    def entry(self) -> Row:
        """What the table says of the row."""
        return find_row(TABLES[self.table], self.row)

    @property
    def title(self) -> str:
        return f'{self.entry.name}, {TABLES[self.table].columns[self.column]}, seed {self.seed}'

    @property
    def gpus(self) -> int:
        """GPUs of the recipe."""
        return 8 if self.column in (*R50, *TRANSFER) else 1

    @property
    def folder(self) -> Path:
        """Work directory below that of all runs. Tables that train the same thing share it."""
        name = Path(config_file(self.entry.config, self.column)).stem
        if self.column in TRANSFER:
            name = f'{name}-{self.entry.config}'
        elif self.column in SUPERMIX_PAIRS and self.pretraining:
            name = f'{name}-from-{self.column.split("_")[0]}'
        if self.entry.overrides or self.entry.epochs != 1:
            name = f'{name}-{self.table}-{self.row}'
        budget = '' if self.budget == Budget() else f'-{self.budget.epochs:g}-epochs-1of{self.budget.subset}'
        return Path(name + budget, f'seed{self.seed}')

    @property
    def config_file(self) -> Path:
        """Its config, below the folder of all runs; not in the work directory, where the Runner writes its own copy.

        Checkpoints name it as their recipe.
        """
        return self.folder.with_name(f'{self.folder.parent.name}_{self.folder.name}.py')

    @property
    def pretraining(self) -> Job | None:
        """What has to be trained before: a backbone on ImageNet, or a teacher. None if nothing."""
        if self.column in SUPERMIX_PAIRS and self.row not in ('baseline', 'teacher'):
            return Job('supermix', 'teacher', self.column, 0, self.budget, self.data_root, self.options)
        if self.column not in TRANSFER:
            return None
        return Job('table3', self.row, 'r50', self.seed, self.budget, self.data_root, self.options)

    def config(self, configs: Path, runs: Path) -> Config:
        """The whole config of the run.

        Args:
            configs (Path): The repository's ``configs/``.
            runs (Path): Where the work directories of all runs are.
        """
        cfg = copy.deepcopy(read_once(*recipe(configs, self.entry.config, self.column)))
        cfg.merge_from_dict(dict(self.entry.overrides))
        Budget(self.entry.epochs).apply(cfg)
        self.budget.apply(cfg)
        cfg.randomness.seed = self.seed
        for key in ('train_dataloader', 'val_dataloader', 'test_dataloader', 'val_evaluator', 'test_evaluator'):
            move_data(cfg[key], self.data_root)
        if self.pretraining is not None:
            folder = runs / self.pretraining.folder
            if not (folder / 'result.json').is_file():
                table, rows = self.pretraining.table, ' --rows teacher' if self.column in SUPERMIX_PAIRS else ''
                raise InputError(f'{self.title}: {folder} is not done: run `tools/reproduce.py {table}{rows}` before')
            if self.column in SUPERMIX_PAIRS:
                self.take_teacher(cfg, configs / config_file('teacher', self.column), last_checkpoint(folder))
            else:
                cfg.model.backbone.init_cfg.checkpoint = last_checkpoint(folder)
        merge_options(cfg, self.options)
        return cfg

    def take_teacher(self, cfg: Config, config: Path, checkpoint: str) -> None:
        """Let the student learn from the trained teacher and from the images that were mixed for it.

        Raises:
            InputError: with the command that mixes them, if there are none.
        """
        mixed = Path(self.data_root, f'supermix_{self.column.split("_")[0]}')
        if not (mixed / 'supermix.jsonl').is_file():
            raise InputError(
                f'{self.title}: {mixed} has no mixed images: run `tools/supermix.py {config} {checkpoint} {mixed} --count '
                '500000` before'
            )
        cfg.model.update(teacher=str(config), teacher_checkpoint=checkpoint)
        cfg.train_dataloader.dataset.datasets[1].data_root = str(mixed)


# Runs of a table share few configs, and reading one takes a while.
read_once = functools.cache(read_config)


def move_data(settings: dict | list, root: str) -> None:
    """Put ``root`` where the paths in a part of a config begin with ``data/``, in place."""
    parts = settings.items() if isinstance(settings, dict) else enumerate(settings)
    for key, value in list(parts):
        if isinstance(value, dict | list):
            move_data(value, root)
        elif isinstance(value, str) and value.startswith('data/'):
            settings[key] = str(Path(root, value.removeprefix('data/')))


def list_jobs(
    configs: Path,
    table: str,
    rows: list[str] | None = None,
    columns: list[str] | None = None,
    seeds: int = 3,
    **settings,
) -> list[Job]:
    """All jobs of (a part of) a table, one seed after another.

    Args:
        configs (Path): The repository's ``configs/``.
        table (str): Name of the table.
        rows (list[str], optional): Its rows to train, or other methods that have a config. Defaults to None: all of its
            rows that have one.
        columns (list[str], optional): Its columns to train. Defaults to None: those that the paper has.
        seeds (int): The seeds are 0, 1, ..., seeds - 1. Defaults to 3.
        settings: Further arguments of :class:`Job`.

    Raises:
        InputError: naming an unknown table, row or column, or a row without a config.
    """
    if table not in TABLES:
        raise InputError(f'table {table!r}: expected one of {", ".join(TABLES)}')
    if seeds < 1:
        raise InputError(f'--seeds {seeds}: expected at least 1')
    names = dict.fromkeys([*TABLES[table].rows, *(rows or [])])
    trainable = [name for name in names if is_trainable(configs, TABLES[table], find_row(TABLES[table], name))]
    check_names('--rows', rows or [], trainable)
    check_names('--nets', columns or [], list(TABLES[table].columns))
    jobs = [
        Job(table, row, column, seed, **settings)
        for seed in range(seeds)
        for column in dict.fromkeys(columns or TABLES[table].default_columns)
        for row in dict.fromkeys(rows or trainable)
        if exists(find_row(TABLES[table], row), column)
    ]
    if not jobs:
        raise InputError(f'--rows {" ".join(rows)} --nets {" ".join(columns)}: only r18 and r50 have a fourth stage')
    return jobs


def check_names(option: str, names: list[str], known: list[str]) -> None:
    """Raise InputError if one of ``names`` is not ``known``."""
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(f'{option} {" ".join(unknown)}: expected some of {" ".join(known)}')


def exists(row: Row, column: str) -> bool:
    """Whether the row makes sense there: only ResNets have a fourth stage."""
    stages = row.overrides.get('model.teacher_stages', [1])
    return max(stages) <= (4 if column in ('r18', *R50) else 3)


def metrics_of(job: Job, metrics: Mapping[str, float]) -> dict[str, float]:
    """What the table shows of what was measured, in percent, by what it is called in the paper's row."""
    numbers = TABLES[job.table].numbers
    if numbers:
        return {name: metrics[key] for name, key in numbers.items()}
    if job.column == 'coco':
        # A detector that finds nothing has no mAP.
        return {job.column: 100 * metrics.get('coco/bbox_mAP', 0.0)}
    key = {'coco-stuff164k': 'mIoU_all'}.get(job.column, 'mIoU') if job.column in TRANSFER else 'accuracy/top1'
    return {job.column: metrics[key]}
