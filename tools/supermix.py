#!/usr/bin/env python
"""Mix a classifier's training images so that it sees all of their classes in the result (SuperMix).

The same command continues after an interruption; several at once, on one or several machines, share the work.
"""

import argparse


def parser(settings: type[argparse.Action] | str = 'store') -> argparse.ArgumentParser:
    """The arguments; ``settings`` is what reads --cfg-options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of the supervisor, a classifier; its train_dataloader has the images')
    parser.add_argument('checkpoint', help='its checkpoint')
    parser.add_argument('out', help='folder for the mixed images')
    parser.add_argument('--count', type=int, required=True, metavar='N', help='how many mixed images OUT is to have')
    parser.add_argument(
        '--preset',
        choices=['cifar', 'imagenet'],
        default='cifar',
        help="the supplement's settings, for what is not given below (default: cifar)",
    )
    parser.add_argument('--num-sources', type=int, metavar='K', help='images that are mixed into one (2)')
    parser.add_argument(
        '--mask-size', type=int, metavar='W', help='height and width of the masks (cifar 8, imagenet 16)'
    )
    parser.add_argument('--sigma', type=float, help='of the Gaussian, in pixels of the mask (cifar 1, imagenet 2)')
    parser.add_argument('--sparsity-weight', type=float, metavar='LAMBDA_S', help='weight of binary masks (25)')
    parser.add_argument('--alpha', type=float, help='of the Dirichlet distribution of the shares (3)')
    parser.add_argument('--max-iterations', type=int, metavar='N', help='steps of a batch at most (50)')
    parser.add_argument(
        '--tolerance',
        type=float,
        metavar='PERCENT',
        help="unsuccessful images with which a batch ends early (cifar 10, imagenet 50; the authors' code has 70)",
    )
    parser.add_argument(
        '--classes',
        choices=['label', 'supervisor'],
        default='label',
        help="classes of the sources: their labels (default), or what the supervisor sees, as in the authors' code",
    )
    parser.add_argument(
        '--keep-unsuccessful',
        action='store_true',
        help='keep mixed images in which the supervisor does not see all classes (default: they are left out)',
    )
    parser.add_argument('--batch-size', type=int, default=100, metavar='B', help='images mixed with each other (100)')
    parser.add_argument('--seed', type=int, default=0, help='determines the images (default: 0)')
    parser.add_argument('--device', help='e.g. cpu or cuda:1 (default: a GPU if there is one)')
    parser.add_argument(
        '--cfg-options', nargs='+', action=settings, metavar='KEY=VALUE', help='override settings of the config'
    )
    return parser


def main() -> None:
    from dataclasses import asdict, replace

    import torch
    from rich.console import Console

    from mixskd_mm.checkpoints.export import code_version
    from mixskd_mm.cli import Settings, load_config
    from mixskd_mm.errors import InputError
    from mixskd_mm.evaluation.tool import usable_device
    from mixskd_mm.supermix import PRESETS
    from mixskd_mm.supermix.folder import SuperMixFolder
    from mixskd_mm.supermix.generate import Job, generate, load_generator

    args = parser(Settings).parse_args()
    if args.count < 1:
        raise InputError(f'--count {args.count}: expected a number >= 1')
    given = {name: getattr(args, name) for name in asdict(PRESETS[args.preset]) if getattr(args, name) is not None}
    masks = replace(PRESETS[args.preset], **given)
    job = Job(masks, args.classes, args.keep_unsuccessful, args.batch_size, args.seed)
    device = usable_device(args.device)
    # Otherwise convolutions may differ from run to run.
    torch.backends.cudnn.deterministic = True
    # What reading a config asks for besides, and nothing here uses.
    args.launcher, args.work_dir, args.local_rank, args.on = 'none', None, 0, None
    generator, settings = load_generator(load_config(args), args.checkpoint, job, device)
    source = dict(config=args.config, checkpoint=args.checkpoint, mixskd_mm=code_version())
    folder = SuperMixFolder(args.out, settings, source)
    found = generate(generator, folder, args.count, Console(stderr=True))
    print(
        f'{found["images"]} images in {args.out}; {found["success"]:.1f} % of the mixed images succeeded; '
        f'{found["steps"]:.1f} steps on average'
    )
    if found['made']:
        print(f'{found["made"]} images made here, {found["made"] / found["seconds"]:.1f} per second on {device}')


if __name__ == '__main__':
    # Help and wrong arguments need none of the libraries.
    parser().parse_args()
    from mixskd_mm.cli import exit_on_input_error

    exit_on_input_error(main)
