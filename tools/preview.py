#!/usr/bin/env python
"""Draw the first training images of a recipe as its model gets them: clean, partner, mask and mixed, with labels and lam."""

import argparse

import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner, set_random_seed
from mmpretrain.registry import MODELS
from torch import Tensor

from mixskd_mm.checkpoints.write import write_figure
from mixskd_mm.cli import add_run_arguments, exit_on_input_error, load_config
from mixskd_mm.errors import InputError
from mixskd_mm.models import Mixture, MixupDataPreprocessor

TITLES = ('image i', 'image j', 'share of i', 'mixed')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of a method or baseline that mixes images')
    parser.add_argument('out', metavar='PICTURE', help='file to write, e.g. mixed.png')
    parser.add_argument('--images', type=int, default=4, help='how many (default: 4)')
    parser.add_argument(
        '--seed', type=int, default=0, help='of the images, their augmentation and the mixture (default: 0)'
    )
    add_run_arguments(parser)
    return parser.parse_args()


def first_batch(cfg: Config, seed: int) -> tuple[MixupDataPreprocessor, dict]:
    """The preprocessor and the first batch of the training data. Raises InputError if the recipe mixes nothing."""
    config = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    set_random_seed(seed)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpretrain')):
        preprocessor = MODELS.build({'type': 'ClsDataPreprocessor', **config})
        if not isinstance(preprocessor, MixupDataPreprocessor):
            raise InputError(
                f'config {cfg.filename} has data_preprocessor.type={type(preprocessor).__name__}: expected a recipe that '
                'mixes images, with MixupDataPreprocessor'
            )
        loader = Runner.build_dataloader(cfg.train_dataloader, seed=seed)
    return preprocessor, next(iter(loader))


def draw(images: Tensor, mixture: Mixture, labels: list[str], number: int) -> Figure:
    """One row for each of the first ``number`` images.

    Args:
        images (Tensor): Clean, ``(N, 3, H, W)``, RGB from 0 to 1.
        mixture (Mixture): How they are mixed.
        labels (list[str]): Their classes.
        number (int): At most N.
    """
    mixed, shares = mixture(images), mixture.share(images).expand(len(images), 1, *images.shape[2:])
    lams = mixture.lam.expand(len(images)).tolist()
    figure = Figure(figsize=(2.2 * len(TITLES), 2.4 * number), layout='constrained')
    for i, row in enumerate(figure.subplots(number, len(TITLES), squeeze=False)):
        j = mixture.index[i].item()
        for axis, title, picture in zip(row, TITLES, (images[i], images[j], shares[i], mixed[i]), strict=True):
            axis.imshow(picture.permute(1, 2, 0).clamp(0, 1).numpy(), cmap='gray', vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
            if i == 0:
                axis.set_title(title)
        for axis, text in zip(row, (labels[i], labels[j], f'lam = {lams[i]:.2f}'), strict=False):
            axis.set_xlabel(text)
        row[-1].set_xlabel(f'{lams[i]:.2f} of {labels[i]}, {1 - lams[i]:.2f} of {labels[j]}')
    return figure


@torch.no_grad()
def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    preprocessor, batch = first_batch(cfg, args.seed)
    samples = batch['data_samples']
    if not 1 <= args.images <= len(samples):
        raise InputError(f'--images {args.images}: expected 1 to {len(samples)}, the images of a batch')
    # What a method mixes itself, also for a baseline, whose images are mixed in the preprocessor.
    preprocessor.mixes_here = False
    data = preprocessor(batch, training=True)
    images, mixture = data['inputs'], data['mixture']
    if preprocessor._enable_normalize:
        images = images * preprocessor.std + preprocessor.mean
    # Without to_rgb the network gets OpenCV's order.
    images = images / 255 if preprocessor.to_rgb else images.flip(1) / 255
    labels = [str(sample.gt_label.item()) for sample in samples]
    figure = draw(images[: len(mixture.index)], mixture, labels, min(args.images, len(mixture.index)))
    write_figure(args.out, figure, dpi=110)
    lam = mixture.lam.mean().item()
    print(f'{type(mixture).__name__}, lam {lam:.3f} on average of the batch: {args.out}')


if __name__ == '__main__':
    exit_on_input_error(main)
