"""KD: Distilling the Knowledge in a Neural Network (Hinton et al., 2015)."""

from __future__ import annotations

from copy import deepcopy

from mmengine.config import Config
from mmpretrain.models import ImageClassifier
from mmpretrain.models.utils import ClsDataPreprocessor
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.utils.data import DataLoader

from mixskd_mm.errors import InputError, check_number

from ..base import SelfDistillationClassifier, build_loss, top1
from ..losses import cross_entropy
from ..mixing import Mixture
from ..teacher import FrozenTeacher


@MODELS.register_module()
class KDClassifier(SelfDistillationClassifier):
    """An ``ImageClassifier`` that learns from a trained, frozen network, the teacher.

    With logits z of the network and z_t of the teacher:

    L = ce_weight CE(z, y) + kd_weight KD(z, z_t)

    KD is T^2 KL(softmax(z_t / T) || softmax(z / T)). The teacher, under the key ``teacher.``, sees the same images in
    evaluation mode. A checkpoint of this classifier holds its weights, and whatever loads that checkpoint, to resume or as
    ``load_from``, gets that teacher.

    Args:
        args: Those of :class:`SelfDistillationClassifier`. The backbone may be any.
        teacher (dict | str, optional): Config of the teacher, an ``ImageClassifier`` or any method of this package with the
            same classes, or path of a config file, relative to the working directory, with such a ``model``. If it says how
            its images are normalised (``data_preprocessor``), that must be as here. Needed unless ``kd_weight`` is 0.
        teacher_checkpoint (str, optional): The teacher's checkpoint, or an address that mmengine loads. Needed unless
            ``kd_weight`` is 0; the file is read where training starts.
        temperature (float): T, > 0. Defaults to 4.0.
        ce_weight (float): Weight of the cross-entropy, >= 0. Defaults to 1.
        kd_weight (float): Weight of KD, >= 0. Defaults to 1. The paper's 1 - alpha and alpha are two such weights.
        kd_loss (dict, optional): Config of KD. Defaults to ``dict(type='KDLoss')`` with ``temperature``.
        kwargs: Those of :class:`SelfDistillationClassifier`.

    Raises:
        InputError: if a value above is outside its range, or the parts do not fit together; before training, if the
            teacher's checkpoint is missing or does not fit.
    """

    def __init__(
        self,
        *args,
        teacher: dict | str | None = None,
        teacher_checkpoint: str | None = None,
        temperature: float = 4.0,
        ce_weight: float = 1.0,
        kd_weight: float = 1.0,
        kd_loss: dict | None = None,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        name = type(self).__name__
        self.temperature = check_number(f'{name} temperature', temperature, positive=True)
        self.ce_weight = check_number(f'{name} ce_weight', ce_weight)
        self.kd_weight = check_number(f'{name} kd_weight', kd_weight)
        if self.kd_weight > 0:
            self.add_teacher(teacher, teacher_checkpoint)
        self.kd_loss = build_loss(kd_loss, 'KDLoss', temperature=self.temperature)

    def add_teacher(self, teacher: dict | str | None, checkpoint: str | None) -> None:
        """Build the teacher. Raises InputError if the arguments of the class with these names describe none."""
        name = type(self).__name__
        if not checkpoint:
            raise InputError(f'{name} teacher_checkpoint={checkpoint!r}: expected that of a trained teacher')
        model = build_teacher(f'{name} teacher', teacher, self.head.num_classes, self.data_preprocessor)
        self.teacher = FrozenTeacher(model.backbone, model.neck, model.head, checkpoint)

    def check_loader(self, loader: DataLoader) -> None:
        """Raise InputError if the teacher has no trained weights."""
        if hasattr(self, 'teacher'):
            self.teacher.check()

    def losses(
        self, inputs: Tensor, labels: Tensor, mixture: Mixture | None, data_samples: list[DataSample]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """``loss_cls`` and ``loss_kd``, and top-1 of z and z_t."""
        heads = {'f': self.classify(self.feature_map(inputs))}
        losses = {}
        if self.ce_weight > 0:
            losses['loss_cls'] = self.ce_weight * cross_entropy(heads['f'], labels)
        if self.kd_weight > 0:
            heads['teacher'] = self.teacher(inputs)
            losses['loss_kd'] = self.kd_weight * self.kd_loss(heads['f'], heads['teacher'])
        return losses, {f'top1_{name}': top1(logits, labels) for name, logits in heads.items()}


def build_teacher(
    name: str, teacher: dict | str | None, num_classes: int, preprocessor: ClsDataPreprocessor
) -> ImageClassifier:
    """The classifier that ``teacher`` describes, untrained.

    Args:
        name (str): The argument, for messages.
        teacher (dict | str | None): Config of the classifier, or path of a config file with such a ``model``.
        num_classes (int): C, which the student has.
        preprocessor (ClsDataPreprocessor): The student's.

    Raises:
        InputError: if it describes no classifier of C classes, or one whose images are normalised in another way.
    """
    config = read_model(name, teacher) if isinstance(teacher, str) else deepcopy(teacher)
    if not isinstance(config, dict):
        raise InputError(f'{name}={config!r}: expected the config of a model, or the path of a config file')
    says_how = config.get('data_preprocessor') is not None
    model = MODELS.build(config)
    if not isinstance(model, ImageClassifier) or not model.with_head:
        raise InputError(f'{name} is a {type(model).__name__}: expected an ImageClassifier with a head')
    found = getattr(model.head, 'num_classes', None)
    if found != num_classes:
        raise InputError(f'{name}.head.num_classes={found}: expected {num_classes}, as head.num_classes')
    if says_how:
        here, there = normalisation(preprocessor), normalisation(model.data_preprocessor)
        if there != here:
            raise InputError(f'{name}.data_preprocessor has {there}: expected {here}, as data_preprocessor')
    return model


def read_model(name: str, path: str) -> dict:
    """``model`` of the config file ``path``, with its ``data_preprocessor``. Raises InputError if there is none."""
    try:
        cfg = Config.fromfile(path)
    except (OSError, SyntaxError) as error:
        raise InputError(f'{name}={path!r}: expected the path of a config file ({type(error).__name__})') from error
    if 'model' not in cfg:
        raise InputError(f'{name}={path!r} has no model: expected the config of a classifier')
    if cfg.get('data_preprocessor') is not None:
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    return cfg.model


def normalisation(preprocessor: ClsDataPreprocessor) -> dict:
    """What images go through: order of the channels, mean and standard deviation (None: they stay as they are)."""
    statistics = {}
    for key in ('mean', 'std'):
        value = getattr(preprocessor, key) if preprocessor._enable_normalize else None
        statistics[key] = None if value is None else [round(float(x), 3) for x in value.flatten()]
    return dict(to_rgb=preprocessor.to_rgb, **statistics)
