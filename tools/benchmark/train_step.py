#!/usr/bin/env python
"""What a MixSKD training step costs: time, memory and throughput of plain, released and our training steps.

Prints a Markdown table. All variants run in one process, in turn, on the same batch. A step is what a Runner does in one
iteration: preprocessing, forward, backward and optimiser step.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import shlex
import statistics
import sys

import torch
from measure import count_flops, interleaved, peak_bytes_above_start, state_bytes
from mmengine.logging import MMLogger
from variants import (
    METHODS,
    NETWORKS,
    RELEASED_AS_IT_SHIPS,
    SETTINGS,
    Step,
    Variant,
    default_variants,
    make_loader,
    parse_variant,
)

from mixskd_mm.checkpoints.write import write_text
from mixskd_mm.cli import exit_on_input_error
from mixskd_mm.differences import check_compiler, recompile_limit
from mixskd_mm.errors import InputError

COLUMNS = (
    'variant | device | precision | step (s), median (min to max) | images/s | R | FLOPs ratio | vs released as it ships '
    '| vs released, same settings | peak memory (GiB) | TFLOP/s'
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--network', choices=NETWORKS, default='r50', help='which recipe (default: r50)')
    parser.add_argument('--batch', type=int, help='clean images per step (default: 8 for r50, 32 for r18_cifar)')
    parser.add_argument('--size', type=int, help='pixels of an image (default: 128 for r50, 32 for r18_cifar)')
    parser.add_argument('--rounds', type=int, default=5, help='timed visits to each variant (default: 5)')
    parser.add_argument('--warm-up', type=int, default=3, help='steps of each variant before (default: 3)')
    parser.add_argument(
        '--device', choices=['cpu', 'cuda'], default='cuda' if torch.cuda.is_available() else 'cpu', help='where'
    )
    parser.add_argument(
        '--variants',
        nargs='+',
        metavar='VARIANT',
        help=f'one of {", ".join(METHODS)}, followed by any of +{", +".join(SETTINGS)} (default: those of '
        'docs/performance.md)',
    )
    parser.add_argument('--out', metavar='JSON', help='also write the table and every single time to this file')
    args = parser.parse_args()
    for name, value in (('--batch', args.batch), ('--size', args.size), ('--rounds', args.rounds)):
        if value is not None and value < 1:
            raise InputError(f'{name} {value}: expected 1 or more')
    if args.warm_up < 1:
        raise InputError(f'--warm-up {args.warm_up}: expected 1 or more, since the first steps allocate and compile')
    if args.device == 'cuda' and not torch.cuda.is_available():
        raise InputError('--device cuda found no GPU')
    return args


def choose_variants(names: list[str] | None, device: str) -> list[Variant]:
    """Those asked for, or the default ones. Raises InputError for one that the device cannot run."""
    variants = [parse_variant(name) for name in names] if names else default_variants(device)
    for variant in variants:
        if device == 'cpu' and (variant.amp or variant.cuda_graphs):
            raise InputError(f'--variants {variant}: expected --device cuda for +amp and +cuda_graphs')
        if variant.compiles:
            check_compiler(f'--variants {variant}')
    return list(dict.fromkeys(variants))


def median_ratio(times: dict[str, list[float]], variant: Variant, other: Variant) -> float | None:
    """Median over the rounds of the variant's time over the other's, or None if the other did not run."""
    if str(other) not in times:
        return None
    return statistics.median(a / b for a, b in zip(times[str(variant)], times[str(other)], strict=True))


def measure(args: argparse.Namespace) -> list[dict]:
    """One row a variant."""
    network = NETWORKS[args.network]
    batch_size, size = args.batch or network.batch, args.size or network.size
    load = make_loader(batch_size, size, args.device)
    variants = choose_variants(args.variants, args.device)
    steps, rows = {}, []
    for variant in variants:
        step = Step(args.network, variant, args.device)
        step.prepare()
        for _ in range(args.warm_up):
            step(load())
        peak = state_bytes(step.model, step.optim_wrapper.optimizer) + peak_bytes_above_start(step, load(), args.device)
        steps[str(variant)] = step
        # A CUDA graph's memory was set aside when it was recorded; nothing is allocated when it runs.
        rows.append(dict(variant=str(variant), peak_bytes=None if variant.cuda_graphs else peak))
    with torch._dynamo.config.patch(error_on_recompile=True):
        # A GPU is kept busy over several steps, as in training.
        times = interleaved(steps, load, args.rounds, args.device, repeats=10 if args.device == 'cuda' else 1)

    # What is computed a second time to save memory is not counted.
    once = {method: Variant(method, no_recompute=method == 'ours') for method in METHODS}
    flops = {method: count_flops(Step(args.network, variant, 'meta'), load()) for method, variant in once.items()}
    for variant, row in zip(variants, rows, strict=True):
        row['seconds'] = times[str(variant)]
        median = row['median_seconds'] = statistics.median(row['seconds'])
        row['precision'] = 'bf16' if variant.amp else 'fp32'
        row['images_per_second'] = batch_size / median
        row['R'] = median_ratio(times, variant, variant.plain())
        row['flops'] = flops[variant.method]
        row['flops_ratio'] = flops[variant.method] / flops['plain']
        row['released_ratio'] = median_ratio(times, variant, RELEASED_AS_IT_SHIPS)
        row['released_same_settings_ratio'] = median_ratio(times, variant, variant.released())
        row['flops_per_second'] = flops[variant.method] / median
    return rows


def environment(args: argparse.Namespace) -> dict:
    """What the numbers depend on."""
    network = NETWORKS[args.network]
    cpu = f'{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads'
    return dict(
        command=shlex.join(['python', *sys.argv]),
        network=args.network,
        batch=args.batch or network.batch,
        size=args.size or network.size,
        device=torch.cuda.get_device_name() if args.device == 'cuda' else cpu,
        torch=torch.__version__,
        python=platform.python_version(),
    )


def table(rows: list[dict], device: str) -> str:
    """Markdown."""
    lines = [f'| {COLUMNS} |', '|---' * len(COLUMNS.split(' | ')) + '|']
    for row in rows:
        fastest, slowest = min(row['seconds']), max(row['seconds'])
        cells = [
            row['variant'],
            device,
            row['precision'],
            f'{row["median_seconds"]:.4g} ({fastest:.4g} to {slowest:.4g})',
            f'{row["images_per_second"]:.1f}',
            ratio(row['R']),
            ratio(row['flops_ratio']),
            ratio(row['released_ratio']),
            ratio(row['released_same_settings_ratio']),
            '-' if row['peak_bytes'] is None else f'{row["peak_bytes"] / 2**30:.2f}',
            f'{row["flops_per_second"] / 1e12:.3g}',
        ]
        lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def ratio(value: float | None) -> str:
    return '-' if value is None else f'{value:.2f}'


def main() -> None:
    args = parse_args()
    # mmengine reports how each parameter was initialised.
    MMLogger.get_current_instance().setLevel(logging.WARNING)
    # As configs/_base_/fast.py does.
    torch.backends.cudnn.benchmark = True
    # All variants share mmengine's and the optimiser's code, each with graphs of its own.
    with recompile_limit(64):
        rows = measure(args)
    about = environment(args)
    text = table(rows, args.device)
    print(f'{about["network"]}, {about["batch"]} clean images of {about["size"]} px; {about["device"]}\n\n{text}')
    if args.out:
        write_text(args.out, json.dumps(dict(about, table=text.splitlines(), rows=rows), indent=2) + '\n')


if __name__ == '__main__':
    exit_on_input_error(main)
