"""What the tools of tools/analysis share: arguments, tables and files."""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mixskd_mm.checkpoints.write import write_figure, write_text
from mixskd_mm.cli import Settings, load_config
from mixskd_mm.errors import InputError

from .corruptions import CORRUPTIONS, SEVERITIES
from .loading import LoadedClassifier, load_classifier


def analysis_parser(description: str, tool: str) -> argparse.ArgumentParser:
    """The arguments of every analysis tool; ``tool`` names its default folder."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        'models',
        nargs='+',
        metavar='CONFIG CHECKPOINT',
        help='config of a classifier and its checkpoint, or an export of it, one pair after the other',
    )
    parser.add_argument('--names', nargs='+', help="what to call them (default: their configs' names)")
    parser.add_argument(
        '--out',
        default=os.path.join('work_dirs', 'analysis', tool),
        metavar='DIR',
        help=f'folder for {tool}.json and {tool}.png (default: %(default)s)',
    )
    parser.add_argument('--images', type=int, metavar='N', help='use N evenly spaced test images (default: all)')
    parser.add_argument('--device', help='e.g. cpu or cuda:1 (default: a GPU if there is one)')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=Settings,
        metavar='KEY=VALUE',
        help='override settings of all configs, e.g. test_dataloader.batch_size=16',
    )
    return parser


def add_pair_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the tools that mix pairs of test images."""
    parser.add_argument(
        '--lams',
        nargs='+',
        default=[f'{i / 10}' for i in range(11)],
        metavar='LAM',
        help='shares of the first image of a pair, in [0, 1] (default: 0, 0.1, ..., 1)',
    )
    parser.add_argument('--seed', type=int, default=0, help='determines the pairs (default: 0)')


def add_corruption_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the tools that corrupt the test images."""
    parser.add_argument(
        '--archive',
        metavar='DIR',
        help='CIFAR-10-C, CIFAR-100-C or ImageNet-C, unpacked (default: the library imagecorruptions corrupts the images)',
    )
    parser.add_argument(
        '--corruptions',
        nargs='+',
        default=list(CORRUPTIONS),
        metavar='NAME',
        help='which (default: the 15 of the benchmark)',
    )
    parser.add_argument(
        '--severities', nargs='+', default=list(map(str, SEVERITIES)), metavar='1|...|5', help='which (default: all 5)'
    )


def read_severities(args: argparse.Namespace) -> list[int]:
    """``--severities`` as numbers. Raises InputError if one, or a name of ``--corruptions``, is not known."""
    known = list(map(str, SEVERITIES))
    wrong = [text for text in args.severities if text not in known]
    if wrong:
        raise InputError(f'--severities {wrong[0]}: expected some of {" ".join(known)}')
    wrong = [name for name in args.corruptions if args.archive is None and name not in CORRUPTIONS]
    if wrong:
        raise InputError(f'--corruptions {wrong[0]}: expected some of {" ".join(CORRUPTIONS)}')
    return sorted(set(map(int, args.severities)))


def add_probe_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the tools that learn from a backbone's features."""
    parser.add_argument('--k', type=int, default=20, help='nearest neighbours (default: 20)')
    parser.add_argument(
        '--train-images',
        type=int,
        metavar='N',
        help='learn from N evenly spaced training images, through the test pipeline (default: all)',
    )


def class_names_of(classifier: LoadedClassifier) -> list[str]:
    """Names of the classes of the test data, or their numbers."""
    names = classifier.dataset.dataset.metainfo.get('classes')
    return list(map(str, names or range(classifier.model.head.num_classes)))


def read_numbers(option: str, texts: Sequence[str], highest: float = math.inf) -> list[float]:
    """Different numbers, in ascending order. Raises InputError for one that is none or is not in [0, ``highest``]."""
    numbers = set()
    for text in texts:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and 0 <= number <= highest):
            expected = 'finite numbers >= 0' if highest == math.inf else f'numbers in [0, {highest:g}]'
            raise InputError(f'{option} {text}: expected {expected}')
        numbers.add(number)
    return sorted(numbers)


def load_models(args: argparse.Namespace, parts: tuple[str, ...] | None = None) -> list[LoadedClassifier]:
    """The classifiers that the arguments name, or only ``parts`` of them; the folder of ``--out`` exists afterwards.

    Raises:
        InputError: if arguments do not make sense, a file is wrong, or the classifiers have different test data.
    """
    if len(args.models) % 2:
        raise InputError(f'got {len(args.models)} files, {" ".join(args.models)}: expected CONFIG CHECKPOINT pairs')
    configs, checkpoints = args.models[::2], args.models[1::2]
    names = args.names or default_names(configs)
    if len(names) != len(configs) or len(set(names)) < len(names):
        raise InputError(f'--names {" ".join(names)}: expected {len(configs)} different names, one a checkpoint')
    if getattr(args, 'seed', 0) < 0:
        raise InputError(f'--seed {args.seed}: expected a number >= 0')
    device = usable_device(args.device)
    try:
        os.makedirs(args.out, exist_ok=True)
    except OSError as error:
        raise InputError(f'--out {args.out} cannot be made: {error.strerror}') from error
    # Otherwise convolutions may differ from run to run.
    torch.backends.cudnn.deterministic = True
    classifiers = []
    for name, config, checkpoint in zip(names, configs, checkpoints, strict=True):
        run = dict(config=config, on=None, cfg_options=args.cfg_options, launcher='none', local_rank=0, work_dir=None)
        cfg = load_config(argparse.Namespace(**run))
        classifiers.append(load_classifier(name, cfg, checkpoint, device, args.images, parts))
        if not torch.equal(classifiers[-1].labels, classifiers[0].labels):
            raise InputError(f'{names[0]} and {name} have different test data: expected configs with the same')
    return classifiers


def usable_device(name: str | None) -> str:
    """The device ``name``, or a GPU if there is one. Raises InputError if it cannot be used."""
    device = name or ('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        torch.zeros(1, device=device)
    # What PyTorch raises depends on how it was built.
    except (RuntimeError, AssertionError) as error:
        raise InputError(f'--device {device} cannot be used ({str(error).splitlines()[0]})') from error
    return device


def default_names(configs: Sequence[str]) -> list[str]:
    """Names of the config files, numbered if they are not different."""
    names = [Path(config).stem for config in configs]
    return names if len(set(names)) == len(names) else [f'{name} {i}' for i, name in enumerate(names, start=1)]


def describe(args: argparse.Namespace, classifiers: Sequence[LoadedClassifier], **values) -> dict:
    """The part of a tool's JSON file that says what was measured; results join ``models``."""
    files = zip(classifiers, args.models[::2], args.models[1::2], strict=True)
    models = {one.name: dict(config=config, checkpoint=checkpoint) for one, config, checkpoint in files}
    return dict(images=len(classifiers[0]), **values, models=models)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence]) -> str:
    """A table in Markdown, floats with four significant digits."""
    lines = [header, ['---'] * len(header), *rows]
    cells = ([f'{cell:.4g}' if isinstance(cell, float) else str(cell) for cell in line] for line in lines)
    return '\n'.join(f'| {" | ".join(line)} |' for line in cells)


def draw_lines(axis: Axes, x: Sequence[float], lines: dict[str, Sequence[float]], **labels: str) -> None:
    """One line a model over ``x``; ``labels`` are those of ``Axes.set``."""
    for name, y in lines.items():
        axis.plot(x, y, marker='o', markersize=4, label=name)
    axis.set(**labels)
    axis.legend(fontsize=8)
    axis.grid(alpha=0.3)


def draw_bars(figure: Figure, panels: dict[str, dict[str, float]]) -> None:
    """One panel a measure with one bar a model, its value above it."""
    for axis, (title, values) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        bars = axis.bar(range(len(values)), list(values.values()), color=[f'C{i}' for i in range(len(values))])
        axis.bar_label(bars, fmt='%.4g', fontsize=8)
        axis.set_xticks(range(len(values)), list(values), rotation=30, ha='right', fontsize=8)
        axis.set_title(title, fontsize=9)
        axis.margins(y=0.12)


def write_results(out: str, tool: str, results: dict, figure: Figure) -> None:
    """Write ``<tool>.json`` and ``<tool>.png`` into the folder ``out`` and say so."""
    figure.tight_layout()
    text = json.dumps(results, indent=2, allow_nan=False) + '\n'
    path = os.path.join(out, tool)
    write_text(f'{path}.json', text)
    write_figure(f'{path}.png', figure)
    print(f'{path}.json and {path}.png written')
