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
    return json.loads((ROOT / metrics).read_text())


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
    """Prints a line for each finished run."""

    def __init__(self, total: int) -> None:
        self.start, self.total, self.done = time.time(), total, 0
        self._lock = threading.Lock()

    def __call__(self, result: str) -> None:
        with self._lock:
            self.done += 1
            print(f'  {self.done}/{self.total} {result} ({time.time() - self.start:.0f} s)', flush=True)


def classify(method: str, seed: int, progress: Progress) -> float:
    """Top-1 in percent of one method and seed."""
    config = f'configs/quickstart/{method}_r18_digits.py'
    accuracy = train_and_test(config, OUT / method / f'seed{seed}', seed)['accuracy/top1']
    progress(f'{METHODS[method]}, seed {seed}: {accuracy:.2f} %')
    return accuracy


def transfer(task: str, start: str, pretraining: Future, progress: Progress) -> float | None:
    """Score in percent of one task from one start, or None if the detector found nothing; waits for the checkpoint."""
    pretraining.result()
    metrics = train_and_test(f'configs/quickstart/{task}_r18-{start}_scenes.py', OUT / task / start, seed=0)
    score = metrics.get('mIoU') if task == 'deeplabv3' else metrics.get('coco/bbox_mAP')
    if score is not None and task == 'cascade-rcnn':
        score *= 100
    progress(f'{TASKS[task]} from {STARTS[start]}: {"-" if score is None else f"{score:.1f}"}')
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

    # The slowest first: the cores then stay busy to the end.
    runs = [(method, seed) for method in reversed(METHODS) for seed in SEEDS]
    transfers = [(task, start) for task in TASKS for start in STARTS]
    progress = Progress(len(runs) + len(transfers))
    print(f'[2/4] training and testing {progress.total} networks: about 10 minutes on 2 cores', flush=True)
    with ThreadPoolExecutor(max_workers=cores()) as pool:
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
    print(
        f'\n{text}\n'
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
