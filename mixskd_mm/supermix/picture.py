"""A picture of some mixed images with their sources and masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from mixskd_mm.checkpoints.write import write_figure

from .optimise import SuperMixed


def draw_sample(
    out: str,
    sources: np.ndarray,
    pictures: np.ndarray,
    mixed: SuperMixed,
    chosen: Sequence[int],
    class_names: Sequence[str] | None = None,
    columns: int = 8,
) -> None:
    """Write a PNG: a column per mixed image, in it the sources with class and share, their masks, and the mixed image.

    Args:
        out (str): The file.
        sources (np.ndarray): The batch's images, ``(B, H, W, 3)``, uint8, BGR.
        pictures (np.ndarray): The mixed images, likewise.
        mixed (SuperMixed): How they were mixed.
        chosen (Sequence[int]): Which mixed images to draw.
        class_names (Sequence[str], optional): Names of the classes. Defaults to None: numbers.
        columns (int): How many images at most. Defaults to 8.
    """
    chosen = list(chosen)[:columns]
    num_sources = mixed.sources.shape[1]
    figure = Figure(figsize=(1.6 * max(len(chosen), 1), 1.7 * (2 * num_sources + 1)), layout='constrained')
    grid = figure.subplots(2 * num_sources + 1, max(len(chosen), 1), squeeze=False)
    for axis in grid.flat:
        axis.axis('off')
    for column, sample in zip(grid.T, chosen):
        for k in range(num_sources):
            label, share = mixed.classes[sample, k].item(), mixed.weights[sample, k].item()
            name = class_names[label] if class_names else f'class {label}'
            column[k].imshow(sources[mixed.sources[sample, k].item()][..., ::-1])
            column[k].set_title(f'{name}\n{share:.2f}', fontsize=8)
            mask = mixed.optimised.masks[sample, k].cpu().numpy()
            column[num_sources + k].imshow(mask, cmap='gray', vmin=0, vmax=1)
            column[num_sources + k].set_title(f'mask {k + 1}', fontsize=8)
        column[-1].imshow(pictures[sample][..., ::-1])
        steps = mixed.optimised.steps[sample].item()
        column[-1].set_title(f'mixed, {steps} step{"s" * (steps != 1)}', fontsize=8)
    write_figure(out, figure)
