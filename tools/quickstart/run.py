#!/usr/bin/env python
"""Watch MixSKD beat plain training on real handwritten digits, in minutes on a CPU.

Trains and tests every method with several seeds through tools/train.py and tools/test.py, exports the MixSKD
backbone, and writes a table and a picture to work_dirs/quickstart/.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUT = Path('work_dirs/quickstart')
METHODS = {'baseline': 'Baseline', 'mixup': 'Mixup', 'mixskd': 'MixSKD'}
SEEDS = (0, 1, 2)


def run_tool(log: Path, *command: str) -> None:
    """Run one of the tools with its output in ``log``; stop with the end of the log if it fails."""
    log.parent.mkdir(parents=True, exist_ok=True)
    # One thread each: the runs share the cores among them.
    env = dict(os.environ, OMP_NUM_THREADS='1', OMP_WAIT_POLICY='PASSIVE')
    with log.open('w') as file:
        result = subprocess.run([sys.executable, *command], cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, env=env)
    if result.returncode:
        tail = ''.join(log.read_text().splitlines(keepends=True)[-15:])
        raise SystemExit(f'{tail}\nerror: `python {" ".join(command)}` failed; its output is in {log}')


def run_dir(method: str, seed: int) -> Path:
    return OUT / method / f'seed{seed}'


def train_and_test(method: str, seed: int) -> float:
    """Train one method with one seed; return the last epoch's test accuracy in percent."""
    config, folder = f'configs/quickstart/{method}_r18_digits.py', run_dir(method, seed)
    options = ('--work-dir', str(folder), '--cfg-options', f'randomness.seed={seed}')
    run_tool(ROOT / folder / 'train.log', 'tools/train.py', config, *options)
    checkpoint = (ROOT / folder / 'last_checkpoint').read_text().strip()
    metrics = ROOT / folder / 'test.json'
    run_tool(ROOT / folder / 'test.log', 'tools/test.py', config, checkpoint, '--out', str(metrics), *options)
    return json.loads(metrics.read_text())['accuracy/top1']


def table(accuracies: dict[str, list[float]], minutes: float) -> str:
    """The results as Markdown: mean and standard deviation over the seeds."""
    lines = [
        '| method | top-1 (%), mean ± standard deviation | each seed |',
        '|---|---|---|',
    ]
    for method, name in METHODS.items():
        values = accuracies[method]
        each = ', '.join(f'{value:.2f}' for value in values)
        lines.append(f'| {name} | {statistics.mean(values):.2f} ± {statistics.stdev(values):.2f} | {each} |')
    lines += [
        '',
        f"Digits of scikit-learn, 200 training and 1,597 test images, a 16-channel ResNet-18, seeds {SEEDS}; the backbone's "
        f'own head at the last epoch; same schedule and optimiser for all; {minutes:.1f} minutes.',
    ]
    return '\n'.join(lines) + '\n'


def read_scalars(method: str, seed: int) -> list[dict]:
    """What the run logged, in order."""
    (file,) = sorted((ROOT / run_dir(method, seed)).glob('*/vis_data/scalars.json'))[-1:]
    return [json.loads(line) for line in file.read_text().splitlines()]


def draw(path: Path) -> None:
    """One picture: MixSKD's loss terms over time, and the accuracy of its heads and of each method."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 4.5))
    training = [row for row in read_scalars('mixskd', SEEDS[0]) if 'loss' in row]
    epochs = [row['epoch'] for row in training]
    for term in sorted(key for key in training[0] if key.startswith('loss_')):
        left.plot(epochs, [row[term] for row in training], label=term)
    left.set(title='MixSKD: loss terms of Eq. (13)', xlabel='epoch', yscale='log')
    for head in sorted(key for key in training[0] if key.startswith('top1_')):
        middle.plot(epochs, [row[head] for row in training], label=head.removeprefix('top1_'))
    middle.set(title='MixSKD: training top-1 of each head', xlabel='epoch', ylabel='%')
    for method, name in METHODS.items():
        curves = [[r for r in read_scalars(method, seed) if 'accuracy/top1' in r] for seed in SEEDS]
        mean = [statistics.mean(row['accuracy/top1'] for row in rows) for rows in zip(*curves, strict=True)]
        right.plot([row['step'] for row in curves[0]], mean, marker='o', label=name)
    right.set(title=f'Test top-1, mean of {len(SEEDS)} seeds', xlabel='epoch', ylabel='%', ylim=(80, 100))
    for axis in (left, middle, right):
        axis.legend(fontsize=8)
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    start = time.time()
    print('[1/4] writing the digits', flush=True)
    run_tool(ROOT / OUT / 'digits.log', 'tools/quickstart/make_digits.py', str(ROOT / OUT / 'digits'))

    # The slowest first: the cores then stay busy to the end.
    jobs = [(method, seed) for method in reversed(METHODS) for seed in SEEDS]
    print(f'[2/4] training and testing {len(jobs)} networks: about 5 minutes on 2 cores', flush=True)
    accuracies: dict[str, dict[int, float]] = {method: {} for method in METHODS}

    def job(method_and_seed: tuple[str, int]) -> None:
        method, seed = method_and_seed
        accuracies[method][seed] = train_and_test(method, seed)
        done = sum(map(len, accuracies.values()))
        elapsed = time.time() - start
        print(
            f'  {done}/{len(jobs)} {METHODS[method]}, seed {seed}: {accuracies[method][seed]:.2f} % ({elapsed:.0f} s)',
            flush=True,
        )

    with ThreadPoolExecutor(max_workers=min(len(jobs), len(os.sched_getaffinity(0)))) as pool:
        list(pool.map(job, jobs))

    print('[3/4] exporting the backbone', flush=True)
    checkpoint = (ROOT / run_dir('mixskd', SEEDS[0]) / 'last_checkpoint').read_text().strip()
    backbone = OUT / 'mixskd_r18_digits_backbone.pth'
    run_tool(ROOT / OUT / 'export.log', 'tools/checkpoints/export_backbone.py', checkpoint, str(backbone))

    print('[4/4] drawing the table and the picture', flush=True)
    results = {method: [accuracies[method][seed] for seed in SEEDS] for method in METHODS}
    text = table(results, (time.time() - start) / 60)
    (ROOT / OUT / 'results.md').write_text(text)
    (ROOT / OUT / 'results.json').write_text(json.dumps(results, indent=2) + '\n')
    draw(ROOT / OUT / 'curves.png')
    print(
        f'\n{text}\n'
        f'Table      {OUT}/results.md (results.json)\n'
        f'Picture    {OUT}/curves.png\n'
        f'Backbone   {backbone}\n'
        f'Each run   {OUT}/<method>/seed<n>/ (train.log, test.log, checkpoint)\n\n'
        'Next, on a machine with 8 GPUs and ImageNet in data/imagenet:\n'
        '    source .venv/bin/activate\n'
        '    tools/dist_train.sh configs/mixskd_r50_imagenet.py 8\n'
    )


if __name__ == '__main__':
    main()
