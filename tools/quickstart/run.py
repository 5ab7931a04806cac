#!/usr/bin/env python
"""Watch MixSKD beat plain training on real handwritten digits, and its backbone help detection and segmentation.

Trains and tests baseline, Mixup and MixSKD with several seeds through tools/train.py and tools/test.py, exports the
MixSKD backbone, fine-tunes Cascade R-CNN and DeepLabV3 from it and from random weights, and writes tables and pictures to
work_dirs/quickstart/.
"""

import argparse
import json
import os
import shutil
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from report import METHODS, STARTS, TASKS, classification_table, draw_curves, draw_transfer, transfer_table

ROOT = Path(__file__).resolve().parents[2]
OUT = Path('work_dirs/quickstart')
SEEDS = (0, 1, 2)
# Seconds of each run on one busy core. Their proportions tell how long all will take once some have ended.
COSTS = {'baseline': 90, 'mixup': 90, 'mixskd': 300, 'cascade-rcnn': 530, 'deeplabv3': 260}


def run(log: Path, *command: str) -> None:
    """Run one of the tools from the repository's root, its output in ``log``; stop with the log's end if it fails."""
    # Not for --help: it imports the libraries.
    from mixskd_mm.tool_runs import run_tool

    # One thread each: the runs share the cores among them.
    run_tool(ROOT / log, 'python', *command, cwd=ROOT, env=dict(OMP_NUM_THREADS='1', OMP_WAIT_POLICY='PASSIVE'))


def checkpoint_of(folder: Path) -> str:
    """The last checkpoint in a work directory, relative to the repository's root."""
    from mixskd_mm.tool_runs import last_checkpoint

    return os.path.relpath(last_checkpoint(ROOT / folder), ROOT)


def train_and_test(config: str, folder: Path, seed: int) -> dict[str, float]:
    """Train one config with one seed and test its last checkpoint; return the metrics."""
    # An earlier quickstart's checkpoints and logs would be taken for this one's.
    shutil.rmtree(ROOT / folder, ignore_errors=True)
    options = ('--work-dir', str(folder), '--cfg-options', f'randomness.seed={seed}')
    run(folder / 'train.log', 'tools/train.py', config, *options)
    metrics = folder / 'test.json'
    run(folder / 'test.log', 'tools/test.py', config, checkpoint_of(folder), '--out', str(metrics), *options)
    return json.loads((ROOT / metrics).read_text(encoding='utf-8'))


def draw_predictions(task: str) -> Path:
    """Let mmdet or mmseg draw the first test scenes with boxes or masks; return the folder."""
    config, folder = f'configs/quickstart/{task}_r18-mixskd-pre_scenes.py', OUT / task / 'drawn'
    options = ['test_dataloader.dataset.indices=4', 'default_hooks.visualization.draw=True']
    if task == 'cascade-rcnn':
        options.append('default_hooks.visualization.test_out_dir=scenes')
    else:
        # The original mmseg draws one of 50 otherwise, the fork each.
        options.append('default_hooks.visualization.interval=1')
    checkpoint = checkpoint_of(OUT / task / 'mixskd-pre')
    command = ('tools/test.py', config, checkpoint, '--work-dir', str(folder), '--cfg-options', *options)
    run(folder.with_suffix('.log'), *command)
    return ROOT / folder


class Progress:
    """A line for each finished run; meanwhile what runs, at which rate, and how long all of it will still take.

    Args:
        costs (dict[str, float]): Each run's share of the time, by its title, in any unit.
        workers (int): Runs at a time.
    """

    def __init__(self, costs: dict[str, float], workers: int) -> None:
        self.start, self.costs, self.workers = time.time(), costs, workers
        self.running: dict[str, tuple[float, Path]] = {}
        # Title to seconds.
        self.done: dict[str, float] = {}
        self._lock = threading.Lock()
        self.say = print

    def begin(self, title: str, folder: Path) -> None:
        """A run starts, with its log in ``folder``."""
        with self._lock:
            self.running[title] = (time.time(), ROOT / folder / 'train.log')

    def end(self, title: str, result: str) -> None:
        """It has ended."""
        with self._lock:
            self.done[title] = time.time() - self.running.pop(title)[0]
            count = len(self.done)
        self.say(f'  {count}/{len(self.costs)} {title}: {result} ({time.time() - self.start:.0f} s)')

    def remaining(self) -> float | None:
        """Seconds until all runs have ended, from those that have; None before the first."""
        with self._lock:
            if not self.done:
                return None
            unit = sum(self.done.values()) / sum(self.costs[title] for title in self.done)
            left = unit * sum(cost for title, cost in self.costs.items() if title not in self.done)
            spent = [min(time.time() - begun, unit * self.costs[title]) for title, (begun, _) in self.running.items()]
            return (left - sum(spent)) / self.workers

    def __call__(self) -> str:
        """What to say of the state."""
        from mixskd_mm.progress import duration, training_state

        with self._lock:
            runs = list(self.running.items())
        states = [f'{title}: {training_state(log) or "starting"}' for title, (_, log) in runs]
        seconds = self.remaining()
        return '    ' + '; '.join([*states, *([] if seconds is None else [f'all: about {duration(seconds)} left'])])


def title_of(what: str, which: int | str) -> str:
    """What a run is called: a method and a seed, or a task and a start."""
    return f'{METHODS[what]}, seed {which}' if what in METHODS else f'{TASKS[what]} from {STARTS[which]}'


def classify(method: str, seed: int, progress: Progress) -> float:
    """Top-1 in percent of one method and seed."""
    config, folder = f'configs/quickstart/{method}_r18_digits.py', OUT / method / f'seed{seed}'
    progress.begin(title_of(method, seed), folder)
    accuracy = train_and_test(config, folder, seed)['accuracy/top1']
    progress.end(title_of(method, seed), f'{accuracy:.2f} %')
    return accuracy


def transfer(task: str, start: str, pretraining: Future, progress: Progress) -> float | None:
    """Score in percent of one task from one start, or None if the detector found nothing; waits for the checkpoint."""
    pretraining.result()
    progress.begin(title_of(task, start), OUT / task / start)
    metrics = train_and_test(f'configs/quickstart/{task}_r18-{start}_scenes.py', OUT / task / start, seed=0)
    score = metrics.get('mIoU') if task == 'deeplabv3' else metrics.get('coco/bbox_mAP')
    if score is not None and task == 'cascade-rcnn':
        score *= 100
    progress.end(title_of(task, start), '-' if score is None else f'{score:.1f}')
    return score


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    # Not for --help: it imports the libraries.
    from mixskd_mm.checkpoints.write import write_text

    print('[1/4] writing the digits, and scenes of digits on photographs', flush=True)
    run(OUT / 'digits.log', 'tools/quickstart/make_digits.py', str(OUT / 'digits'))
    run(OUT / 'scenes.log', 'tools/quickstart/make_scenes.py', str(OUT / 'scenes'))

    from mixskd_mm.cli import cores
    from mixskd_mm.errors import InputError
    from mixskd_mm.page import write_page
    from mixskd_mm.progress import Watch

    # The slowest first: the cores then stay busy to the end.
    runs = [(method, seed) for method in reversed(METHODS) for seed in SEEDS]
    transfers = [(task, start) for task in TASKS for start in STARTS]
    progress = Progress({title_of(*one): COSTS[one[0]] for one in [*runs, *transfers]}, cores())
    print(f'[2/4] training and testing {len(progress.costs)} networks: about 10 minutes on 2 cores', flush=True)
    with Watch(progress) as watch, ThreadPoolExecutor(max_workers=cores()) as pool:
        progress.say = watch.say
        classifiers = {run: pool.submit(classify, *run, progress) for run in runs}
        pretraining = classifiers['mixskd', SEEDS[0]]
        tuned = {run: pool.submit(transfer, *run, pretraining, progress) for run in transfers}
        try:
            accuracies = {method: [classifiers[method, seed].result() for seed in SEEDS] for method in METHODS}
            scores = {run: future.result() for run, future in tuned.items()}
        except InputError:
            pool.shutdown(cancel_futures=True)
            raise

    print('[3/4] exporting the backbone', flush=True)
    pretrained = OUT / 'mixskd' / f'seed{SEEDS[0]}'
    backbone = OUT / 'mixskd_r18_digits_backbone.pth'
    command = ('tools/checkpoints/export_backbone.py', checkpoint_of(pretrained), str(backbone))
    run(OUT / 'export.log', *command, '--metrics', str(pretrained / 'test.json'))

    print('[4/4] drawing the pictures', flush=True)
    draw_curves(
        ROOT / OUT / 'curves.png', {method: [ROOT / OUT / method / f'seed{s}' for s in SEEDS] for method in METHODS}
    )
    draw_transfer(ROOT / OUT / 'transfer.png', {task: draw_predictions(task) for task in TASKS})
    minutes = (time.time() - progress.start) / 60
    text = f'{classification_table(accuracies, SEEDS)}\n\n{transfer_table(scores)}\n\n{minutes:.1f} minutes.\n'
    write_text(str(ROOT / OUT / 'results.md'), text)
    results = dict(top1=accuracies, transfer={f'{task} from {start}': score for (task, start), score in scores.items()})
    write_text(str(ROOT / OUT / 'results.json'), json.dumps(results, indent=2) + '\n')
    pictures = {
        'Loss terms and accuracies over time': ROOT / OUT / 'curves.png',
        'Annotations and predictions': ROOT / OUT / 'transfer.png',
    }
    folders = {
        title_of(*one): OUT / one[0] / (f'seed{one[1]}' if one in runs else one[1]) for one in [*runs, *transfers]
    }
    drawn = {title: sorted((ROOT / folder).glob('*/training.png'))[:1] for title, folder in folders.items()}
    each = {title: files[0] for title, files in drawn.items() if files}
    write_page(ROOT / OUT / 'report.html', 'MixSKD on digits', f'# MixSKD on digits\n\n{text}', pictures, each)
    print(
        f'\n{text}\n'
        f'Report     {OUT}/report.html: all tables and pictures in one file\n'
        f'Tables     {OUT}/results.md (results.json)\n'
        f'Pictures   {OUT}/curves.png: loss terms and accuracies over time\n'
        f'           {OUT}/transfer.png: boxes and masks\n'
        f'Backbone   {backbone}\n'
        f'Each run   {OUT}/<method>/seed<n>/, {OUT}/<task>/<start>/ (train.log, test.log, checkpoint)\n\n'
        'Next, on a machine with 8 GPUs and ImageNet in data/imagenet:\n'
        f'    source {os.path.relpath(sys.prefix, ROOT)}/bin/activate\n'
        '    tools/dist_train.sh configs/mixskd_r50_imagenet.py 8\n'
        'and then fine-tune the checkpoint: docs/transfer.md\n'
    )


if __name__ == '__main__':
    try:
        main()
    # InputError, whose import takes seconds.
    except ValueError as error:
        sys.exit(f'error: {error}')
