"""Our numbers beside the paper's, as Markdown and as a picture."""

from __future__ import annotations

import statistics
import textwrap
from pathlib import Path

import matplotlib

matplotlib.use('Agg')
from matplotlib import pyplot as plt

from mixskd_mm.checkpoints.write import write_figure, write_text
from mixskd_mm.page import write_page

from .budget import Budget
from .cells import find_row, is_trainable
from .jobs import Job, metrics_of
from .tables import TABLES, Table

FGSM_NOTE = (
    'eps is in image values from 0 to 1. The paper does not state its range, and its numbers are implausible for this one: '
    'compare the order of the methods, not the values (docs/analysis.md).'
)
HEADER = ('method', 'measured', 'paper', 'difference', 'each seed')


def measured(values: list[float]) -> str:
    """Mean and sample standard deviation, e.g. ``80.12 ± 0.21``; without the deviation of a single value."""
    if not values:
        return '-'
    spread = f' ± {statistics.stdev(values):.2f}' if len(values) > 1 else ''
    return f'{statistics.mean(values):.2f}{spread}'


def difference(values: list[float], paper: str) -> str:
    """Mean minus the paper's mean, with its sign; ``-`` if one is missing."""
    if not values or not paper:
        return '-'
    return f'{statistics.mean(values) - float(paper.split("±")[0].strip(" *")):+.2f}'


def shown_columns(table: Table, columns: list[str]) -> list[tuple[str, str, str]]:
    """Title, trained column and name of its number of each part of the report."""
    if table.numbers:
        return [(f'{table.columns[column]}, {name}', column, name) for column in columns for name in table.numbers]
    return [(table.columns[column], column, column) for column in columns]


def table_rows(
    name: str, column: str, number: str, results: dict[Job, dict], rows: list[str], configs: Path
) -> list[tuple[str, ...]]:
    """The rows of one column: those of ``rows``, measured or not, and the paper's numbers of those without a config."""
    table, lines = TABLES[name], []
    for key in dict.fromkeys([*table.rows, *rows]):
        row = find_row(table, key)
        paper = row.paper.get(number, '') if column in table.default_columns else ''
        if paper and not is_trainable(configs, table, row):
            lines.append((row.name, 'quoted only', paper, '-', '-'))
        elif key in rows:
            jobs = sorted((job for job in results if (job.row, job.column) == (key, column)), key=lambda job: job.seed)
            values = [metrics_of(job, results[job]['metrics'])[number] for job in jobs]
            each = ', '.join(f'{value:.2f} (seed {job.seed})' for job, value in zip(jobs, values, strict=True)) or '-'
            lines.append((row.name, measured(values), paper or '-', difference(values, paper), each))
    return lines


def write_report(
    name: str, jobs: list[Job], results: dict[Job, dict], budget: Budget, command: str, folder: Path, configs: Path
) -> tuple[Path, Path]:
    """Write ``<name>.md``, ``<name>.png`` and ``<name>.html``, which has the trainings' pictures, too.

    Returns the first two paths.

    Args:
        name (str): Name of the table.
        jobs (list[Job]): What was asked for.
        results (dict[Job, dict]): What :func:`run_job` returned for those that are done.
        budget (Budget): How much of the recipes was trained.
        command (str): The command that does it again.
        folder (Path): Where the files go.
        configs (Path): The repository's ``configs/``: rows without a config there are only quoted.
    """
    table = TABLES[name]
    title = table.title if budget == Budget() else f'{table.title}, scaled down to {budget}'
    columns, rows = (list(dict.fromkeys(getattr(job, part) for job in jobs)) for part in ('column', 'row'))
    parts = [
        (heading, table_rows(name, column, number, results, rows, configs))
        for heading, column, number in shown_columns(table, columns)
    ]
    code = sorted({result['code'] for result in results.values()})
    notes = [
        f'{len(results)} of {len(jobs)} runs are done. Mean ± standard deviation over the seeds (n - 1). The accuracy '
        "is that of the backbone's own head at the last epoch.",
        "Paper: the numbers of its table, measured by its authors with the full recipe; * they quote from the method's own "
        'paper; "quoted only": no config here.',
        *gpu_notes(results),
        *([FGSM_NOTE] if table.attack else []),
        f'Code: mixskd_mm {", ".join(code) or "-"}. Command: `{command}`',
    ]
    markdown, picture = folder / f'{name}.md', folder / f'{name}.png'
    text = to_markdown(title, parts, notes)
    write_text(str(markdown), text)
    draw(picture, title, parts, notes[-1])
    write_page(folder / f'{name}.html', title, text, {}, training_pictures(results, folder))
    return markdown, picture


def training_pictures(results: dict[Job, dict], folder: Path) -> dict[str, Path]:
    """What ``RunPictureHook`` drew of each run that is done, by the run's title."""
    found = {job.title: sorted(Path(folder, job.folder).glob('*/training.png')) for job in results}
    return {title: files[-1] for title, files in found.items() if files}


def gpu_notes(results: dict[Job, dict]) -> list[str]:
    """What to say of runs on another number of GPUs than the recipe's, whose batch was another one, too."""
    other = sorted({(result['gpus'], job.gpus) for job, result in results.items() if result['gpus'] != job.gpus})
    return [f'Trained with {gpus} process(es) where the recipe has {recipe} GPUs.' for gpus, recipe in other]


def to_markdown(title: str, parts: list[tuple[str, list[tuple[str, ...]]]], notes: list[str]) -> str:
    """The report as text."""
    lines = [f'# {title}']
    for heading, rows in parts:
        table = (HEADER, ['---'] * len(HEADER), *rows)
        lines += ['', f'## {heading}', '', *(f'| {" | ".join(row)} |' for row in table)]
    return '\n'.join([*lines, *(line for note in notes for line in ('', note))]) + '\n'


def draw(path: Path, title: str, parts: list[tuple[str, list[tuple[str, ...]]]], note: str) -> None:
    """The same tables as a picture, one below the other, and the note that says how they were made."""
    heights = [len(rows) + 2 for _, rows in parts]
    figure, axes = plt.subplots(
        len(parts),
        figsize=(12, 1 + 0.21 * sum(heights)),
        squeeze=False,
        gridspec_kw=dict(height_ratios=heights),
        layout='constrained',
    )
    for axis, (heading, rows) in zip(axes[:, 0], parts, strict=True):
        axis.axis('off')
        axis.set_title(heading, fontsize=10)
        widths = [0.18, 0.14, 0.14, 0.1, 0.44]
        drawn = axis.table(rows, colLabels=HEADER, colWidths=widths, loc='upper center', cellLoc='center')
        drawn.auto_set_font_size(False)
        drawn.set_fontsize(8)
    figure.suptitle(title, fontsize=11)
    figure.supxlabel(textwrap.fill(note.replace('`', ''), 150), fontsize=7)
    write_figure(str(path), figure)
    plt.close(figure)
