"""DCM: Knowledge Transfer via Dense Cross-Layer Mutual-Distillation (Yao and Sun, ECCV 2020)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from mmengine.model import ModuleList
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mixskd_mm.checkpoints.parts import PEER, PREDICTING
from mixskd_mm.errors import InputError, check_number

from ..base import SelfDistillationClassifier, build_loss, check_classifier_parts, classify_map, to_plain, top1
from ..losses import cross_entropy, cross_stage_loss, same_stage_loss
from ..losses.precision import full_precision
from ..mixing import Mixture
from ..stages import prepare_backbone, stage_outputs


@MODELS.register_module()
class DCMClassifier(SelfDistillationClassifier):
    """Two ``ImageClassifier`` networks, each with auxiliary classifiers, that teach each other on the same batch.

    With logits z_1 (main), z_2, z_3 (auxiliary, deeper first) of one network and z'_1, z'_2, z'_3 of the other,

    L = L_cls + a L_ds + b L_same + c L_cross

    - L_cls = CE(z_1, y) + CE(z'_1, y)
    - L_ds = sum_{i > 1} CE(z_i, y) + CE(z'_i, y): deep supervision
    - L_same = sum_i KL(z_i, z'_i) + KL(z'_i, z_i): classifiers of the same stage
    - L_cross = sum_{i != j} KL(z_i, z'_j) + KL(z'_i, z_j): classifiers of different stages

    KL(s, t) is KL(softmax(t) || softmax(s)), smoothed (:func:`~mixskd_mm.models.losses.smoothed_kl`), and trains the network
    of s alone. Nothing is distilled within a network. With three classifiers each these are 2 + 4 cross-entropies and
    6 + 12 KL.

    Network 0 is this classifier's ``backbone``, ``neck`` and ``head``, with the keys of a plain one; network 1 is a plain
    classifier under ``peer.``. The auxiliary classifiers, ``branches.0.`` and ``branches.1.``, are for training only.

    Args:
        backbone (dict): Config of network 0's. Both networks have to be such as can be cut into stages
            (:mod:`mixskd_mm.models.stages`).
        neck (dict): ``GlobalAveragePooling``.
        head (dict): A ``LinearClsHead`` with a plain ``CrossEntropyLoss``.
        args: Those of :class:`SelfDistillationClassifier` that follow.
        peer (dict, optional): Configs ``backbone``, ``neck`` and ``head`` of network 1. One that is left out is network
            0's, and so is each argument that ``head`` leaves out. Beside a ``backbone``, ``stages`` say how that is cut;
            without one, network 0's do. Defaults to None: the same network, with initial weights of its own.
        branches (dict | Sequence[dict], optional): Config of the auxiliary classifiers of both networks, or of each.
            Defaults to ``dict(type='DCMBranches')``.
        cls_weight (float): Weight of L_cls, > 0. Defaults to 1.
        ds_weight (float): a, >= 0. Defaults to 1.
        same_weight (float): b, >= 0. Defaults to 1.
        cross_weight (float): c, >= 0. Defaults to 1. Without a, b and c there are no auxiliary classifiers, and each
            network trains as the baseline.
        pair_loss (dict, optional): Config of KL. Defaults to ``dict(type='SmoothedKLLoss')``: without temperature.
        test_network (int | str): Whose prediction ``predict`` and ``tensor`` give: 0 or 1, or ``'mean'`` of both networks'
            probabilities (``tensor``: its logarithm). Defaults to 0.
        kwargs: Those of :class:`SelfDistillationClassifier`. ``stages`` are those of network 0, and of network 1 if its
            backbone is the same.

    Raises:
        InputError: if a value above is outside its range, or the parts do not fit together.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict | None = None,
        head: dict | None = None,
        *args,
        peer: dict | None = None,
        branches: dict | Sequence[dict] | None = None,
        cls_weight: float = 1.0,
        ds_weight: float = 1.0,
        same_weight: float = 1.0,
        cross_weight: float = 1.0,
        pair_loss: dict | None = None,
        test_network: int | str = 0,
        **kwargs,
    ) -> None:
        name = type(self).__name__
        config = peer_config(dict(backbone=backbone, neck=neck, head=head, peer=peer), name)
        super().__init__(backbone, neck, head, *args, **kwargs)
        self.peer = ImageClassifier(**config)
        other_backbone = 'backbone' in (peer or {})
        stages = peer.get('stages') if other_backbone else kwargs.get('stages')
        prepare_backbone(self.peer.backbone, config['backbone'], stages, f'{name} peer.stages')
        check_classifier_parts(f'{name} peer', self.peer.backbone, self.peer.neck, self.peer.head)
        num_classes = self.head.num_classes
        if self.peer.head.num_classes != num_classes:
            raise InputError(
                f'{name} peer.head.num_classes={self.peer.head.num_classes}: expected {num_classes}, as in head'
            )
        if test_network not in (0, 1, 'mean'):
            raise InputError(f"{name} test_network={test_network!r}: expected 0, 1 or 'mean'")
        self.test_network = test_network
        self.cls_weight = check_number(f'{name} cls_weight', cls_weight, positive=True)
        self.ds_weight = check_number(f'{name} ds_weight', ds_weight)
        self.same_weight = check_number(f'{name} same_weight', same_weight)
        self.cross_weight = check_number(f'{name} cross_weight', cross_weight)
        if self.ds_weight > 0 or self.same_weight > 0 or self.cross_weight > 0:
            configs = check_branches(branches, name)
            self.branches = ModuleList(map(build_branches, configs, (self, self.peer)))
        else:
            self.branches = [None, None]
        self.pair_loss = build_loss(pair_loss, 'SmoothedKLLoss')

    def losses(
        self, inputs: Tensor, labels: Tensor, mixture: Mixture | None, data_samples: list[DataSample]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """``loss_cls``, ``loss_ds``, ``loss_same`` and ``loss_cross``, and top-1 of each classifier of both networks."""
        z = classify(self, self.branches[0], inputs)
        z_peer = classify(self.peer, self.branches[1], inputs)
        losses = {'loss_cls': self.cls_weight * sum(cross_entropy(logits, labels) for logits in (z[0], z_peer[0]))}
        if self.ds_weight > 0:
            auxiliary = z[1:] + z_peer[1:]
            loss_ds = sum((cross_entropy(logits, labels) for logits in auxiliary), start=z[0].new_zeros(()))
            losses['loss_ds'] = self.ds_weight * loss_ds
        # Students first. The losses detach the teachers.
        if self.same_weight > 0:
            loss_same = same_stage_loss(z, z_peer, self.pair_loss) + same_stage_loss(z_peer, z, self.pair_loss)
            losses['loss_same'] = self.same_weight * loss_same
        if self.cross_weight > 0:
            loss_cross = cross_stage_loss(z, z_peer, self.pair_loss) + cross_stage_loss(z_peer, z, self.pair_loss)
            losses['loss_cross'] = self.cross_weight * loss_cross
        heads = {f'c{i}': logits for i, logits in enumerate(z, start=1)}
        heads.update({f'peer_c{i}': logits for i, logits in enumerate(z_peer, start=1)})
        return losses, {f'top1_{name}': top1(logits, labels) for name, logits in heads.items()}

    @property
    def predicting(self) -> tuple[str, ...]:
        """How the names of the tensors begin that ``test_network`` uses."""
        peer = tuple(PEER + part for part in PREDICTING)
        return {0: PREDICTING, 1: peer, 'mean': PREDICTING + peer}[self.test_network]

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[DataSample] | None = None,
        mode: str = 'tensor',
        mixture: Mixture | None = None,
    ):
        """As :meth:`SelfDistillationClassifier.forward`; ``tensor`` gives the logits of ``test_network``."""
        if mode != 'tensor' or self.test_network == 0:
            return super().forward(inputs, data_samples, mode, mixture)
        if self.test_network == 1:
            return self.peer(inputs)
        logits = super().forward(inputs), self.peer(inputs)
        log_p, log_p_peer = (full_precision(z).log_softmax(dim=1) for z in logits)
        return torch.logaddexp(log_p, log_p_peer) - math.log(2)

    def to_plain(self) -> ImageClassifier:
        """As :meth:`SelfDistillationClassifier.to_plain`, of ``test_network``. Raises InputError for both, ``'mean'``."""
        if self.test_network == 'mean':
            raise InputError(f"{type(self).__name__} test_network='mean': expected 0 or 1, for one plain classifier")
        return to_plain(self, self.peer if self.test_network == 1 else self)

    def predict(self, inputs: Tensor, data_samples: list[DataSample] | None = None, **kwargs) -> list[DataSample]:
        """As ``ImageClassifier.predict``, of ``test_network``.

        With ``'mean'`` each sample also has both networks' probabilities ``(C, )``, as ``network0_score`` and
        ``network1_score``: ``PairAccuracy`` reports all three at once.
        """
        if self.test_network == 1:
            return self.peer.predict(inputs, data_samples, **kwargs)
        samples = super().predict(inputs, data_samples, **kwargs)
        if self.test_network == 'mean':
            for sample, score in zip(samples, full_precision(self.peer(inputs)).softmax(dim=1), strict=True):
                sample.network0_score, sample.network1_score = sample.pred_score, score
                mean = (sample.pred_score + score) / 2
                sample.set_pred_score(mean).set_pred_label(mean.argmax(dim=0, keepdim=True))
        return samples


def classify(network: ImageClassifier, branches: nn.Module | None, images: Tensor) -> list[Tensor]:
    """z_1 (main), z_2, z_3, ... of one network, ``(N, C)`` each, in float32; only z_1 without ``branches``."""
    if branches is None:
        return [full_precision(network.head(network.extract_feat(images)))]
    outputs = stage_outputs(network.backbone, images, stem=branches.extra_c4)
    main = classify_map(network, outputs[-1])
    # The auxiliary ones come shallowest first.
    return [full_precision(logits) for logits in (main, *reversed(branches(outputs)))]


def build_branches(config: dict, network: ImageClassifier) -> nn.Module:
    """The auxiliary classifiers of one network."""
    defaults = dict(type='DCMBranches', head_init_cfg=network.head.init_cfg)
    return MODELS.build({**defaults, **config, 'backbone': network.backbone, 'num_classes': network.head.num_classes})


def check_branches(branches: dict | Sequence[dict] | None, name: str) -> list[dict]:
    """Config of the auxiliary classifiers of each network. Raises InputError unless there is one for both or two."""
    configs = [branches or {}] * 2 if branches is None or isinstance(branches, dict) else branches
    if not isinstance(configs, list | tuple) or len(configs) != 2 or not all(isinstance(c, dict) for c in configs):
        raise InputError(f'{name} branches={branches!r}: expected one config for both networks, or a list of two')
    return list(configs)


def peer_config(model: dict, name: str = 'DCMClassifier') -> dict:
    """Config of network 1, as a plain ``ImageClassifier`` takes it, from that of a ``DCMClassifier``.

    Args:
        model (dict): Config with ``backbone``, ``neck``, ``head`` and ``peer``; it is not changed.
        name (str): For messages. Defaults to ``DCMClassifier``.

    Raises:
        InputError: if one of them is no config, or ``peer`` has other parts.
    """
    peer = {} if model.get('peer') is None else model['peer']
    parts = ('backbone', 'neck', 'head')
    allowed = {*parts, 'stages'} if isinstance(peer, dict) and 'backbone' in peer else set(parts)
    if not isinstance(peer, dict) or set(peer) - allowed:
        raise InputError(
            f'{name} peer={peer!r}: expected a config of some of {", ".join(parts)}; stages only beside a backbone'
        )
    for part, value in [*model.items(), *peer.items()]:
        if isinstance(value, nn.Module):
            raise InputError(f'{name} {part} is a {type(value).__name__}: expected a config, for two networks')
    config = {part: peer.get(part, model.get(part)) for part in parts}
    if config['head'] is not None:
        config['head'] = {**(model.get('head') or {}), **config['head']}
    return config
