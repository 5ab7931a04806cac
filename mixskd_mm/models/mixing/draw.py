"""What draws how a batch is mixed. One draw serves the whole batch, as in the originals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mmpretrain.registry import TASK_UTILS

from mixskd_mm.errors import InputError, check_number

from .mixture import MaskMixture, Mixture


@TASK_UTILS.register_module()
class Mixup:
    """Mixup (Zhang et al., ICLR 2018): one lam ~ Beta(alpha, alpha) and one permutation per batch (MixSKD, Eq. 4).

    Args:
        alpha (float): Parameter of the Beta distribution, > 0. Defaults to 0.2, MixSKD's value for ImageNet; it uses 0.4
            on CIFAR-100 and the fine-grained sets.

    Raises:
        InputError: if ``alpha`` is not a finite number > 0.
    """

    def __init__(self, alpha: float = 0.2) -> None:
        self.alpha = check_number('Mixup alpha', alpha, positive=True)

    def draw(self, batch_size: int, image_size: tuple[int, int] | None, rng: np.random.Generator) -> Mixture:
        """The mixture of ``batch_size`` images; their size does not matter."""
        return Mixture(rng.beta(self.alpha, self.alpha), torch.from_numpy(rng.permutation(batch_size)))


@TASK_UTILS.register_module()
class CutMix:
    """CutMix (Yun et al., ICCV 2019): a box of image j covers image i; one box and one permutation per batch.

    The box has the share 1 - lam of the image, lam ~ Beta(alpha, alpha), the image's aspect and a uniform centre. It is
    clipped at the image's border, and lam of the mixture is what remains of image i.

    Args:
        alpha (float): Parameter of the Beta distribution, > 0. Defaults to 1.0, the original's.

    Raises:
        InputError: if ``alpha`` is not a finite number > 0.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = check_number('CutMix alpha', alpha, positive=True)

    def draw(self, batch_size: int, image_size: tuple[int, int], rng: np.random.Generator) -> MaskMixture:
        """The mixture of ``batch_size`` images of ``image_size`` (height, width) pixels."""
        side = np.sqrt(1 - rng.beta(self.alpha, self.alpha))
        mask = torch.ones(1, 1, *image_size)
        bounds = []
        for length in image_size:
            centre, half = rng.integers(length), int(length * side) // 2
            bounds.append(slice(max(centre - half, 0), min(centre + half, length)))
        mask[:, :, bounds[0], bounds[1]] = 0
        return MaskMixture(mask, torch.from_numpy(rng.permutation(batch_size)))


@TASK_UTILS.register_module()
class FMix:
    """FMix (Harris et al., 2020): a mask of random shape, whose border is that of an image of low frequencies.

    A grey image is drawn in Fourier space, with amplitudes that fall as frequency^-decay; its brightest pixels, the share
    lam ~ Beta(alpha, alpha) of them, show image i. lam of the mixture is the mask's, after rounding to whole pixels.

    Args:
        alpha (float): Parameter of the Beta distribution, > 0. Defaults to 1.0, the original's.
        decay (float): Exponent, > 0: how smooth the shapes are. Defaults to 3.0, the original's.
        released (bool): Use only the columns' frequencies 0 and 1, as the authors' code does, which takes two rows of the
            spectrum for its real and imaginary parts: shapes are then stretched along one axis. Defaults to False.

    Raises:
        InputError: if ``alpha`` or ``decay`` is not a finite number > 0.
    """

    def __init__(self, alpha: float = 1.0, decay: float = 3.0, released: bool = False) -> None:
        self.alpha = check_number('FMix alpha', alpha, positive=True)
        self.decay = check_number('FMix decay', decay, positive=True)
        self.released = released

    def draw(self, batch_size: int, image_size: tuple[int, int], rng: np.random.Generator) -> MaskMixture:
        """The mixture of ``batch_size`` images of ``image_size`` (height, width) pixels."""
        lam = rng.beta(self.alpha, self.alpha)
        order = self.grey_image(image_size, rng).ravel().argsort()
        # Rounded up or down with equal probability.
        count = int(np.ceil(lam * order.size) if rng.random() < 0.5 else np.floor(lam * order.size))
        mask = np.zeros(order.size, np.float32)
        mask[order[order.size - count :]] = 1
        mask = torch.from_numpy(mask.reshape(1, 1, *image_size))
        return MaskMixture(mask, torch.from_numpy(rng.permutation(batch_size)))

    def grey_image(self, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        """An image ``size`` whose spectrum is that of white Gaussian noise times frequency^-decay."""
        height, width = size
        frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
        # The mean's own frequency is 0; it counts as the lowest of the others.
        amplitude = np.maximum(frequency, 1 / max(size)) ** -self.decay
        if self.released:
            real, imaginary = rng.standard_normal((2, *frequency.shape)) * amplitude
            spectrum = np.stack([real[0] + 1j * real[1], imaginary[0] + 1j * imaginary[1]], axis=-1)
            return np.fft.irfft2(spectrum, size)
        return np.fft.irfft2(np.fft.rfft2(rng.standard_normal(size)) * amplitude, size)


class MixtureChoice:
    """One of several draws per batch, such as Mixup and CutMix by turns.

    Args:
        mixtures (Sequence[dict]): Configs of what draws, each with ``prob``, its probability; all or none may leave it out,
            which makes them equally likely. They sum to 1: every batch is mixed.

    Raises:
        InputError: if there is none, or the probabilities are no probabilities.
    """

    def __init__(self, mixtures: Sequence[dict]) -> None:
        configs = [dict(config) for config in mixtures]
        probs = [config.pop('prob', None) for config in configs]
        if configs and all(prob is None for prob in probs):
            probs = [1 / len(configs)] * len(configs)
        numbers = all(isinstance(prob, int | float) and not isinstance(prob, bool) and prob >= 0 for prob in probs)
        if not numbers or abs(sum(probs) - 1) > 1e-6:
            raise InputError(
                f'MixupDataPreprocessor mixture has the prob {probs}: expected numbers >= 0 whose sum is 1, or none'
            )
        self.mixtures = [TASK_UTILS.build(config) for config in configs]
        self.probs = probs

    def draw(self, batch_size: int, image_size: tuple[int, int], rng: np.random.Generator) -> Mixture:
        """The mixture of one batch; its ``choice`` is the position of what drew it, a 0-d tensor."""
        position = rng.choice(len(self.mixtures), p=np.asarray(self.probs) / sum(self.probs))
        mixture = self.mixtures[position].draw(batch_size, image_size, rng)
        mixture.choice = torch.tensor(float(position))
        return mixture
