#!/usr/bin/env python
"""Train and test the rows of one of the paper's tables, and put our numbers beside the paper's.

What is done is skipped and what was cut off goes on, so the same command may be given again at any time. Tables: table1
(CIFAR-100), table2 (fine-grained), table3 (ImageNet), table3-transfer (detection, segmentation), table4 (loss terms),
table5-fgsm, table5-temperature, table5-stage; supermix; small (docs/results.md). docs/reproduction.md has examples.
"""

import argparse
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from mixskd_mm.cli import Settings, exit_on_input_error
from mixskd_mm.errors import InputError
from mixskd_mm.progress import Watch, training_state
from mixskd_mm.reproduction.budget import Budget
from mixskd_mm.reproduction.jobs import Job, list_jobs, metrics_of
from mixskd_mm.reproduction.report import measured, write_report
from mixskd_mm.reproduction.run import read_result, run_job
from mixskd_mm.reproduction.tables import TABLES

ROOT = Path(__file__).resolve().parents[1]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('table', metavar='TABLE', help=', '.join(TABLES))
    parser.add_argument('--rows', nargs='+', metavar='ROW', help='train these rows (default: all that have a config)')
    parser.add_argument(
        '--nets',
        nargs='+',
        metavar='NET',
        help='networks or data sets: columns of the table (default: those of the paper)',
    )
    parser.add_argument('--seeds', type=int, default=3, help='number of seeds: 0, 1, ... (default: 3)')
    parser.add_argument('--budget', default='full', help="share of the epochs, e.g. 0.1 (default: 'full')")
    parser.add_argument(
        '--subset', type=int, default=1, metavar='N', help='train on one N-th of the images (default: 1)'
    )
    parser.add_argument('--data-root', default='data', help='folder with cifar100/, imagenet/, ... (default: data)')
    parser.add_argument('--work-dir', default='work_dirs/reproduce', help='(default: work_dirs/reproduce)')
    parser.add_argument('--gpus', type=int, help="GPUs of one run (default: the recipe's, 1 or 8)")
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=Settings,
        default={},
        metavar='KEY=VALUE',
        help='override settings of all runs',
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        '--slurm', metavar='PARTITION', help='submit the runs as a Slurm array (SBATCH_ARGS: more options)'
    )
    how.add_argument('--task', type=int, metavar='I', help='only the I-th run: a task of the array')
    how.add_argument('--report', action='store_true', help='train nothing: only write the table of what is done')
    return parser.parse_args()


def submit(partition: str, jobs: list[Job], gpus: int, command: list[str]) -> None:
    """Hand the runs to Slurm as one array."""
    task = shlex.join([sys.executable, *command]) + ' --task $SLURM_ARRAY_TASK_ID'
    sbatch = ['sbatch', '--partition', partition, '--job-name', f'reproduce-{jobs[0].table}']
    sbatch += ['--array', f'0-{len(jobs) - 1}', f'--gres=gpu:{gpus}', f'--cpus-per-task={5 * gpus}']
    try:
        subprocess.run([*sbatch, *shlex.split(os.environ.get('SBATCH_ARGS', '')), '--wrap', task], check=True)
    except FileNotFoundError as error:
        raise InputError(f'--slurm {partition}: there is no sbatch here: expected a machine with Slurm') from error
    except subprocess.CalledProcessError as error:
        raise InputError(f'--slurm {partition}: sbatch ended with status {error.returncode}') from error


def run(jobs: list[Job], runs: Path, gpus: int | None) -> dict[Job, dict]:
    """Run one job after another."""
    results = {}
    for i, job in enumerate(jobs, start=1):
        state = 'done before' if read_result(job, ROOT, runs) else f'log: {runs / job.folder}/train.log'
        print(f'[{i}/{len(jobs)}] {job.title} ({state})', flush=True)
        log = runs / job.folder / 'train.log'
        with Watch(lambda log=log: training_state(log) and f'    {training_state(log)}'):
            results[job] = run_job(job, ROOT, runs, gpus or job.gpus)
        numbers = metrics_of(job, results[job]['metrics'])
        print('    ' + ', '.join(f'{name}: {measured([value])}' for name, value in numbers.items()), flush=True)
    return results


def main() -> None:
    args = parse_args()
    # Killed by its scheduler, this process takes the training with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    budget = Budget.parse(args.budget, args.subset)
    if args.gpus is not None and args.gpus < 1:
        raise InputError(f'--gpus {args.gpus}: expected at least 1, which also runs on a CPU')
    # The runs start elsewhere.
    runs, data_root = Path(args.work_dir).resolve(), str(Path(args.data_root).resolve())
    if not runs.is_dir() and any(path.exists() for path in (runs, *runs.parents) if not path.is_dir()):
        raise InputError(f'--work-dir {args.work_dir}: expected a folder, not a file')
    settings = dict(budget=budget, data_root=data_root, options=args.cfg_options)
    jobs = list_jobs(ROOT / 'configs', args.table, args.rows, args.nets, args.seeds, **settings)
    if args.task is not None and not 0 <= args.task < len(jobs):
        raise InputError(f'--task {args.task}: expected 0 to {len(jobs) - 1}')
    command = [os.path.relpath(__file__), *without_how(sys.argv[1:])]
    if args.slurm:
        submit(args.slurm, jobs, args.gpus or jobs[0].gpus, [str(Path(__file__).resolve()), *command[1:]])
        return
    if args.report:
        done = {job: read_result(job, ROOT, runs) for job in jobs}
        results = {job: result for job, result in done.items() if result}
    else:
        results = run(jobs if args.task is None else [jobs[args.task]], runs, args.gpus)
    if args.task is None:
        markdown, picture = write_report(args.table, jobs, results, budget, shlex.join(command), runs, ROOT / 'configs')
        print(
            f'\n{markdown.read_text(encoding="utf-8")}\nWritten to {markdown}, {picture} and {markdown.with_suffix(".html")}'
        )


def without_how(arguments: list[str]) -> list[str]:
    """The command line without the options that only say how to run it."""
    kept, skip = [], False
    for argument in arguments:
        if skip:
            skip = False
        elif argument in ('--slurm', '--task'):
            skip = True
        elif argument != '--report' and not argument.startswith(('--slurm=', '--task=')):
            kept.append(argument)
    return kept


if __name__ == '__main__':
    exit_on_input_error(main)
