"""What every method of this package shares: an image classifier that trains with more than its own cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from mmpretrain.models import CrossEntropyLoss, ImageClassifier
from mmpretrain.models.heads import LinearClsHead, StackedLinearClsHead
from mmpretrain.models.necks import GlobalAveragePooling
from mmpretrain.models.utils import ClsDataPreprocessor
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mixskd_mm.checkpoints.parts import PREDICTING
from mixskd_mm.errors import InputError

from .fresh import init_quietly
from .losses import cross_entropy
from .losses.precision import full_precision
from .mixing import Mixture, MixupDataPreprocessor, hard_labels
from .running import after_pool, global_average_pool
from .stages import cut_of, prepare_backbone


class SelfDistillationClassifier(ImageClassifier):
    """An ``ImageClassifier`` with a training loss of its own; the base of all methods here.

    ``predict`` and ``tensor`` modes, ``backbone``, ``neck`` and ``head`` and their checkpoint keys are those of
    ``ImageClassifier``. A method writes :meth:`losses` and builds what only its training needs under top-level keys of its
    own, which exports, tests and downstream networks leave out.

    Args:
        backbone (dict | nn.Module): As for ``ImageClassifier``.
        neck (dict | nn.Module): ``GlobalAveragePooling``; None for a backbone that pools its last map itself (ConvNeXt).
        head (dict | nn.Module): A ``LinearClsHead`` or ``StackedLinearClsHead`` with a plain ``CrossEntropyLoss``.
        pretrained (str, optional): Checkpoint of the whole model. Defaults to None.
        train_cfg (dict, optional): As for ``ImageClassifier``, but without ``augments``. Defaults to None.
        data_preprocessor (dict | nn.Module, optional): A ``MixupDataPreprocessor`` if the method mixes images, else
            ``ClsDataPreprocessor``. Defaults to None: one without normalisation.
        init_cfg (dict, optional): As for ``ImageClassifier``. Defaults to None.
        mixed_loss (dict, optional): Config of the cross-entropy against mixed labels, for a method that mixes images.
            Defaults to ``dict(type='MixedCrossEntropyLoss')``.
        stages (Sequence[Sequence[str]] | dict, optional): How the backbone is cut: of each stage, first to last, the names
            of its modules, which run one after another, such as ``[['layer1'], ['layer2', 'down']]``; or a dict of that,
            ``stem``, ``layout`` and ``after_pool`` (:class:`~mixskd_mm.models.cuts.Cut`). Defaults to None: as the table in
            docs/backbones.md says.

    Raises:
        InputError: if the parts do not fit together, or one of them would be ignored.
    """

    # Whether the method mixes images: 'never', 'always', or 'optional', if its preprocessor is a MixupDataPreprocessor.
    mixing = 'never'
    # How the names of the tensors begin that ``predict`` and ``tensor`` use.
    predicting = PREDICTING

    def __init__(
        self,
        backbone: dict,
        neck: dict | None = None,
        head: dict | None = None,
        pretrained: str | None = None,
        train_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
        mixed_loss: dict | None = None,
        stages: Sequence[Sequence[str]] | dict | None = None,
        **unknown,
    ) -> None:
        if unknown:
            # Python would name this class.
            raise TypeError(
                f'{type(self).__name__}.__init__() got an unexpected keyword argument {next(iter(unknown))!r}'
            )
        if (train_cfg or {}).get('augments'):
            raise InputError(
                f'{type(self).__name__} train_cfg.augments={train_cfg["augments"]!r}: expected none; what mixes images here '
                "is data_preprocessor=dict(type='MixupDataPreprocessor'), for methods that allow it"
            )
        if not isinstance(data_preprocessor, nn.Module):
            default = 'MixupDataPreprocessor' if self.mixing == 'always' else 'ClsDataPreprocessor'
            data_preprocessor = MODELS.build({'type': default, **(data_preprocessor or {})})
        super().__init__(backbone, neck, head, pretrained, None, data_preprocessor, init_cfg)
        config = None if isinstance(backbone, nn.Module) else backbone
        prepare_backbone(self.backbone, config, stages, name=f'{type(self).__name__} stages')
        self.mixes = isinstance(data_preprocessor, MixupDataPreprocessor)
        if mixed_loss is not None and not self.mixes:
            raise InputError(
                f'{type(self).__name__} mixed_loss={mixed_loss!r}: expected None where no images are mixed'
            )
        self.mixed_loss = build_loss(mixed_loss, 'MixedCrossEntropyLoss')
        self.logs: dict[str, Tensor] = {}
        self._check_parts()

    def _check_parts(self) -> None:
        """Raise InputError unless preprocessor, backbone, neck and head fit each other and the method."""
        name, preprocessor, head = type(self).__name__, self.data_preprocessor, self.head
        if self.mixing == 'always' and not self.mixes:
            raise InputError(
                f'{name} data_preprocessor is a {type(preprocessor).__name__}: expected MixupDataPreprocessor'
            )
        if self.mixing == 'never' and self.mixes:
            raise InputError(f'{name} data_preprocessor is a MixupDataPreprocessor: expected one that does not mix')
        if getattr(preprocessor, 'batch_augments', None) is not None:
            raise InputError(
                f'{name} data_preprocessor.batch_augments is a {type(preprocessor.batch_augments).__name__}: expected None, '
                'since the mixed labels would be ignored'
            )
        check_classifier_parts(name, self.backbone, self.neck, head)
        if preprocessor.num_classes is None:
            preprocessor.num_classes = head.num_classes
        if preprocessor.num_classes != head.num_classes:
            raise InputError(
                f'{name} head.num_classes={head.num_classes} but data_preprocessor.num_classes='
                f'{preprocessor.num_classes}: expected the same number'
            )

    def check_loader(self, loader: DataLoader) -> None:
        """Raise InputError if the training data cannot be trained on: a method that needs pairs or views says so here.

        Args:
            loader (DataLoader): The training data, before the first iteration.
        """

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[DataSample] | None = None,
        mode: str = 'tensor',
        mixture: Mixture | None = None,
    ):
        """As ``ImageClassifier.forward``.

        Args:
            inputs (Tensor): Clean, normalised images, ``(N, 3, H, W)``.
            data_samples (list[DataSample], optional): Their labels; needed for ``loss``.
            mode (str): ``tensor``, ``predict`` or ``loss``. Defaults to ``tensor``.
            mixture (Mixture, optional): How to mix them, for ``loss`` of a method that mixes.
        """
        if mode == 'loss':
            return self.loss(inputs, data_samples, mixture)
        return super().forward(inputs, data_samples, mode)

    def loss(self, inputs: Tensor, data_samples: list[DataSample], mixture: Mixture | None = None) -> dict[str, Tensor]:
        """The method's weighted terms, whose sum is trained.

        Args:
            inputs (Tensor): Clean, normalised images x, ``(N, 3, H, W)``.
            data_samples (list[DataSample]): Their labels y, one class index each.
            mixture (Mixture, optional): lam and the pairs (i, j). Defaults to None: drawn by the data preprocessor, if the
                method mixes.

        Returns:
            dict[str, Tensor]: 0-d tensors, named ``loss_...``. A term whose weight is 0 is neither computed nor returned.
        """
        if mixture is None and self.mixes:
            mixture = self.data_preprocessor.draw(len(inputs), tuple(inputs.shape[2:]))
        labels = hard_labels(data_samples, inputs.device)
        losses, logs = self.losses(inputs, labels, mixture, data_samples)
        if not losses:
            raise InputError(f'{type(self).__name__} has no terms, since all weights are 0: expected one above 0')
        if mixture is not None:
            logs = {'lam': mixture.lam.mean(), **logs}
            if mixture.choice is not None:
                logs['mixture'] = mixture.choice
        self.logs = logs
        return losses

    def losses(
        self, inputs: Tensor, labels: Tensor, mixture: Mixture | None, data_samples: list[DataSample]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What a method writes: its terms, and what is logged beside them.

        Args:
            inputs (Tensor): Clean, normalised images x, ``(N, 3, H, W)``.
            labels (Tensor): Their class indices y, ``(N, )``, on the images' device.
            mixture (Mixture | None): lam and the pairs (i, j), if the method mixes.
            data_samples (list[DataSample]): What else is known of the images.

        Returns:
            tuple[dict[str, Tensor], dict[str, Tensor]]: The terms as :meth:`loss` returns them; 0-d tensors to be logged.
        """
        raise NotImplementedError

    def parse_losses(self, losses: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """As ``BaseModel.parse_losses``; what :meth:`losses` logs is logged too."""
        total, log_vars = super().parse_losses(losses)
        log_vars.update(self.logs)
        return total, log_vars

    def feature_map(self, images: Tensor) -> Tensor:
        """F_K of images ``(N, 3, H, W)``: the backbone's last map, ``(N, C_K, H, W)``; if it pools itself, ``(N, C_K)``."""
        outputs = self.backbone(images)
        return outputs[-1] if isinstance(outputs, list | tuple) else outputs

    def classify(self, feature: Tensor) -> Tensor:
        """Logits of the backbone's own head, ``(N, C)``, in float32.

        Args:
            feature (Tensor): Its last map F_K, ``(N, C_K, H, W)``; if it pools itself, also its output, ``(N, C_K)``.
        """
        return full_precision(classify_map(self, feature))

    def cross_entropy(self, logits: Tensor, labels: Tensor, mixture: Mixture | None) -> Tensor:
        """Of ``logits`` ``(N, C)`` against the labels ``(N, )``, or against the mixed ones if images are mixed."""
        return cross_entropy(logits, labels) if mixture is None else self.mixed_loss(logits, labels, mixture)

    def init_training_parts(self) -> None:
        """Draw initial weights of what only training needs, unless that was done: all but backbone, neck and head."""
        for name, part in self.named_children():
            drawn = f'{name}.' in PREDICTING or getattr(part, 'is_init', False)
            if hasattr(part, 'init_weights') and not drawn:
                init_quietly(part)

    def to_plain(self) -> ImageClassifier:
        """A plain ``ImageClassifier`` with copies of what predicts: backbone, neck, head and normalisation.

        It predicts the same to the bit, is in the same mode and on the same device.
        """
        return to_plain(self, self)


def classify_map(model: ImageClassifier, feature: Tensor) -> Tensor:
    """Logits ``(N, C)`` that ``model`` gives images whose last map is ``feature``, before any softmax."""
    if model.neck is not None:
        return model.head(model.neck((feature,)))
    if feature.ndim == 4 and pools_itself(model.backbone):
        feature = after_pool(model.backbone, cut_of(model.backbone), global_average_pool(feature))
    return model.head((feature,))


def to_plain(model: ImageClassifier, network: ImageClassifier) -> ImageClassifier:
    """A plain ``ImageClassifier`` with copies of the parts of ``network``, and the normalisation of ``model``."""
    old = model.data_preprocessor
    plain = ImageClassifier(
        backbone=deepcopy(network.backbone),
        neck=deepcopy(network.neck),
        head=deepcopy(network.head),
        data_preprocessor=ClsDataPreprocessor(**preprocessor_settings(old)),
    )
    # What mmpretrain's inferencers read: the images' pipeline and the classes' names.
    for name in ('_config', '_dataset_meta'):
        if hasattr(model, name):
            setattr(plain, name, getattr(model, name))
    return plain.to(old.device).train(model.training)


def preprocessor_settings(preprocessor: ClsDataPreprocessor) -> dict:
    """Arguments with which a ``ClsDataPreprocessor`` normalises and pads as ``preprocessor`` does."""
    settings = {key: getattr(preprocessor, key) for key in ('pad_size_divisor', 'pad_value', 'to_rgb', 'num_classes')}
    if preprocessor._enable_normalize:
        settings.update(mean=preprocessor.mean.flatten().tolist(), std=preprocessor.std.flatten().tolist())
    return settings


def check_classifier_parts(name: str, backbone: nn.Module, neck: nn.Module | None, head: nn.Module) -> None:
    """Raise InputError, beginning with ``name``, unless the classifier's loss is the plain cross-entropy of its head."""
    if not isinstance(head, LinearClsHead | StackedLinearClsHead):
        raise InputError(f'{name} head is a {type(head).__name__}: expected a LinearClsHead, or a StackedLinearClsHead')
    kind = type(backbone).__name__
    if pools_itself(backbone):
        if neck is not None:
            raise InputError(
                f'{name} neck is a {type(neck).__name__}: expected none, since backbone {kind} pools itself'
            )
    elif neck is None:
        raise InputError(f'{name} neck is missing: expected a GlobalAveragePooling')
    elif not isinstance(neck, GlobalAveragePooling):
        raise InputError(f'{name} neck is a {type(neck).__name__}: expected a GlobalAveragePooling')
    plain = dict(use_sigmoid=False, use_soft=False, reduction='mean', loss_weight=1, class_weight=None)
    loss, settings = type(head.loss_module).__name__, vars(head.loss_module)
    other = {key: settings[key] for key, value in plain.items() if settings.get(key, value) != value}
    if not isinstance(head.loss_module, CrossEntropyLoss) or other:
        described = f'{loss} with {other}' if other else loss
        raise InputError(f'{name} head.loss is a {described}: expected a plain CrossEntropyLoss')
    feat_dim = getattr(backbone, 'feat_dim', head.in_channels)
    if head.in_channels != feat_dim:
        raise InputError(
            f'{name} head.in_channels={head.in_channels}: expected {feat_dim}, the width of the last stage of backbone '
            f'{kind}'
        )


def pools_itself(backbone: nn.Module) -> bool:
    """Whether ``backbone``, if it can be cut, returns ``(N, C)`` instead of maps."""
    try:
        return cut_of(backbone).after_pool is not None
    except InputError:
        return False


def halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """Split ``(2N, ...)`` into its first and second ``(N, ...)``: clean and mixed images, two views, images and partners."""
    n = len(x) // 2
    return x[:n], x[n:]


def check_halves(name: str, images: Tensor, expected: str) -> None:
    """Raise InputError, beginning with ``name``, for an odd number of ``images``. :func:`halves` itself is compiled."""
    if len(images) % 2:
        raise InputError(f'{name} got a batch of {len(images)} images: expected {expected}')


@torch.no_grad()
def top1(logits: Tensor, labels: Tensor) -> Tensor:
    """Top-1 accuracy in percent of ``logits`` ``(N, C)``; a 0-d tensor, left on its device."""
    return (logits.argmax(dim=1) == labels).float().mean() * 100


def build_loss(config: dict | None, default: str, **defaults) -> nn.Module:
    """A term of a method as a module of the registry ``MODELS``.

    Args:
        config (dict, optional): What the user wants in its place; None is ``default``.
        default (str): Registered name of the method's own term.
        defaults: Arguments of ``default``, which ``config`` overrides if it is of that type.
    """
    config = dict(config or {})
    config.setdefault('type', default)
    return MODELS.build({**defaults, **config} if config['type'] == default else config)
