"""Results that are kept as data: statistics over seeds, a table and a picture of accuracy against cost."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib

matplotlib.use('Agg')
from matplotlib import pyplot as plt

from mixskd_mm.checkpoints.write import write_figure, write_text
from mixskd_mm.errors import InputError, last_line

from .cells import find_row
from .report import measured
from .tables import TABLES

# Rows of the small benchmark that the others are compared with; the first one's cost is 1.
REFERENCES = ('baseline', 'mixup', 'mixskd')
KEYS = ('row', 'seed', 'top1', 'epochs', 'cost', 'config', 'code', 'machine')


@dataclass(frozen=True)
class Measurement:
    """One training that was tested.

    Args:
        row (str): Name of the table's row.
        seed (int): Seed of the run.
        top1 (float): Accuracy in percent of the backbone's own head at the last epoch.
        epochs (int): Epochs of the training.
        cost (float): Floating point operations of the training, forward and backward.
        config (str): First 12 digits of the SHA-256 of the config's text, with ``data`` as the folder of the data.
        code (str): Version and commit that trained.
        machine (str): Device, number of processes that shared it, version of PyTorch, precision.
    """

    row: str
    seed: int
    top1: float
    epochs: int
    cost: float
    config: str
    code: str
    machine: str


def read_measurements(file: Path) -> list[Measurement]:
    """What :func:`write_measurements` wrote; nothing if there is no file.

    Raises:
        InputError: if the file holds something else.
    """
    if not file.is_file():
        return []
    try:
        return [Measurement(**run) for run in json.loads(file.read_text(encoding='utf-8'))['runs']]
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f'{file} holds no measurements ({last_line(error)}): expected runs with {KEYS}') from error


def write_measurements(file: Path, table: str, runs: list[Measurement]) -> None:
    """Write ``runs`` of a table, ordered by row and seed."""
    order = list(TABLES[table].rows)
    runs = sorted(runs, key=lambda run: (order.index(run.row), run.seed))
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(str(file), json.dumps(dict(table=table, runs=[asdict(run) for run in runs]), indent=1) + '\n')


def paired_difference(ours: dict[int, float], theirs: dict[int, float]) -> tuple[float, float] | None:
    """Mean over the seeds that both have of ours minus theirs, and its standard error; None with fewer than two seeds."""
    differences = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
    if len(differences) < 2:
        return None
    return statistics.mean(differences), statistics.stdev(differences) / math.sqrt(len(differences))


def by_row(runs: list[Measurement]) -> dict[str, dict[int, Measurement]]:
    """The runs of each row by seed."""
    rows: dict[str, dict[int, Measurement]] = {}
    for run in runs:
        rows.setdefault(run.row, {})[run.seed] = run
    return rows


def shown_difference(ours: dict[int, float], theirs: dict[int, float]) -> str:
    """E.g. ``+1.38 ± 0.40``, in bold if it is more than twice its standard error; ``-`` with fewer than two seeds."""
    difference = paired_difference(ours, theirs)
    if difference is None:
        return '-'
    mean, error = difference
    text = f'{mean:+.2f} ± {error:.2f}'
    return f'**{text}**' if abs(mean) > 2 * error else text


def results_table(table: str, runs: list[Measurement], references: tuple[str, ...]) -> str:
    """Markdown: a line per row, and its difference from each of ``references``, paired by seed.

    Costs are multiples of that of the first reference, which must be among the runs.
    """
    rows, names = by_row(runs), [find_row(TABLES[table], name).name for name in references]
    unit = next(iter(rows[references[0]].values())).cost
    header = ['method', 'epochs', 'cost', 'top-1 (%)', *(f'minus {name}' for name in names), 'seeds']
    lines = [header, ['---'] * len(header)]
    for key in TABLES[table].rows:
        if key not in rows:
            continue
        accuracies = accuracies_of(rows[key])
        first = next(iter(rows[key].values()))
        differences = [
            '' if key == other else shown_difference(accuracies, accuracies_of(rows.get(other, {})))
            for other in references
        ]
        each = ', '.join(f'{accuracies[seed]:.2f}' for seed in sorted(accuracies))
        cost, mean = f'{first.cost / unit:.1f}', measured(list(accuracies.values()))
        lines.append([find_row(TABLES[table], key).name, str(first.epochs), cost, mean, *differences, each])
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def accuracies_of(runs: dict[int, Measurement]) -> dict[int, float]:
    """Accuracy in percent by seed."""
    return {seed: run.top1 for seed, run in runs.items()}


def draw_costs(file: Path, table: str, runs: list[Measurement]) -> None:
    """Accuracy against the cost of the training, that of the first of ``REFERENCES`` being 1, with standard deviations."""
    rows = by_row(runs)
    unit = next(iter(rows[REFERENCES[0]].values())).cost
    figure, axes = plt.subplots(figsize=(9, 5), layout='constrained')
    drawn = Counter()
    for key, found in rows.items():
        values = list(accuracies_of(found).values())
        spread = statistics.stdev(values) if len(values) > 1 else 0
        name = f'{find_row(TABLES[table], key).name} (n = {len(values)})'
        cost = next(iter(found.values())).cost / unit
        # Rows of the same cost, side by side.
        shift = 1 + 0.03 * drawn[round(cost, 1)]
        drawn[round(cost, 1)] += 1
        axes.errorbar(cost * shift, statistics.mean(values), spread, fmt='o', capsize=3, label=name)
    axes.set_xscale('log', base=2)
    axes.xaxis.set_major_formatter('{x:g}')
    axes.set_xlabel(f'cost of the training, {find_row(TABLES[table], REFERENCES[0]).name} = 1')
    axes.set_ylabel('top-1 (%), mean and standard deviation')
    axes.set_title(TABLES[table].columns[next(iter(TABLES[table].columns))])
    axes.grid(alpha=0.3)
    figure.legend(loc='outside right upper', fontsize=8)
    write_figure(str(file), figure)
    plt.close(figure)
