#!/usr/bin/env python
"""Keep what the small benchmark measured, and write its table and picture from the kept data.

Without --runs only the table in docs/results.md and docs/images/small_costs.png are written anew, from
docs/results/small.json.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import re
from pathlib import Path

from methods import training_step
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch.utils.flop_counter import FlopCounterMode

from mixskd_mm.checkpoints.write import write_text
from mixskd_mm.cli import exit_on_input_error
from mixskd_mm.errors import InputError
from mixskd_mm.reproduction.jobs import Job, list_jobs
from mixskd_mm.reproduction.results import (
    REFERENCES,
    Measurement,
    draw_costs,
    read_measurements,
    results_table,
    write_measurements,
)
from mixskd_mm.reproduction.run import load_result

ROOT = Path(__file__).resolve().parents[2]
DATA, PAGE, PICTURE = (ROOT / 'docs' / name for name in ('results/small.json', 'results.md', 'images/small_costs.png'))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--runs', metavar='DIR', help='keep what is done there: the --work-dir of tools/reproduce.py')
    parser.add_argument(
        '--data-root', default='data', help='folder with cifar100/, to count operations (default: data)'
    )
    parser.add_argument('--machine', help='where it ran, e.g. "H100, 16 runs at once, PyTorch 2.11.0, float32 (TF32)"')
    parser.add_argument('--seeds', type=int, default=10, help='look for the seeds 0, 1, ... (default: 10)')
    args = parser.parse_args()
    if args.runs and not args.machine:
        raise InputError('--runs without --machine: expected where it ran')
    return args


@functools.cache
def flops(row: str, data_root: str) -> float:
    """Floating point operations of a row's training: those of a step, times its steps."""
    cfg = Job('small', row, 'r20', 0, data_root=data_root).config(ROOT / 'configs', ROOT)
    init_default_scope('mmpretrain')
    iterations = cfg.train_cfg.max_epochs * len(Runner.build_dataloader(cfg.train_dataloader, seed=0))
    step = training_step(cfg)
    with FlopCounterMode(display=False) as counter:
        step()
    return float(counter.get_total_flops() * iterations)


def measurement(job: Job, result: dict, args: argparse.Namespace) -> Measurement:
    cfg = Job('small', job.row, job.column, job.seed).config(ROOT / 'configs', ROOT)
    return Measurement(
        row=job.row,
        seed=job.seed,
        top1=result['metrics']['accuracy/top1'],
        epochs=cfg.train_cfg.max_epochs,
        cost=flops(job.row, args.data_root),
        config=hashlib.sha256(cfg.pretty_text.encode()).hexdigest()[:12],
        code=result['code'],
        machine=args.machine,
    )


def main() -> None:
    args = parse_args()
    runs = {(run.row, run.seed): run for run in read_measurements(DATA)}
    if args.runs:
        for job in list_jobs(ROOT / 'configs', 'small', seeds=args.seeds):
            result = load_result(Path(args.runs) / job.folder / 'result.json')
            if result and (job.row, job.seed) not in runs:
                runs[job.row, job.seed] = measurement(job, result, args)
                print(f'{job.title}: {runs[job.row, job.seed].top1:.2f}', flush=True)
        write_measurements(DATA, 'small', list(runs.values()))
    if not runs:
        raise InputError(f'{DATA} has no runs: expected --runs')
    measurements = read_measurements(DATA)
    table = results_table('small', measurements, REFERENCES)
    page = PAGE.read_text(encoding='utf-8')
    write_text(str(PAGE), re.sub(r'(?s)(<!-- table -->\n).*?(<!-- end -->)', rf'\g<1>\n{table}\n\n\g<2>', page))
    draw_costs(PICTURE, 'small', measurements)
    print(f'Written to {PAGE} and {PICTURE}')


if __name__ == '__main__':
    exit_on_input_error(main)
