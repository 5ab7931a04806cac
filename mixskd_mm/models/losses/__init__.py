from .adversarial import DiscriminatorLoss, discriminator_loss
from .bake import BAKELoss, bake_loss, knowledge_ensemble
from .byot import DistillationCrossEntropyLoss, HintLoss, distillation_cross_entropy, hint_loss
from .classification import MixedCrossEntropyLoss, cross_entropy, mixed_cross_entropy, soft_cross_entropy
from .ddgsd import MMDLoss, mmd_loss
from .distillation import KDLoss, kd_loss, kl_loss
from .feature import FeatureLoss, feature_loss
from .frskd import FRSKDFeatureLoss, frskd_feature_loss, normalized_map
from .mutual import SmoothedKLLoss, cross_stage_loss, same_stage_loss, smoothed_kl
from .ps_kd import PSKDLoss, ps_kd_alpha, ps_kd_targets
from .sad import SADLoss, attention_map, sad_loss
from .tf_kd import (
    TemperedLabelSmoothingLoss,
    VirtualTeacherLoss,
    smooth_labels,
    tempered_label_smoothing,
    virtual_teacher,
    virtual_teacher_loss,
)

__all__ = [
    'BAKELoss',
    'DiscriminatorLoss',
    'DistillationCrossEntropyLoss',
    'FRSKDFeatureLoss',
    'FeatureLoss',
    'HintLoss',
    'KDLoss',
    'MMDLoss',
    'MixedCrossEntropyLoss',
    'PSKDLoss',
    'SADLoss',
    'SmoothedKLLoss',
    'TemperedLabelSmoothingLoss',
    'VirtualTeacherLoss',
    'attention_map',
    'bake_loss',
    'cross_entropy',
    'cross_stage_loss',
    'discriminator_loss',
    'distillation_cross_entropy',
    'feature_loss',
    'frskd_feature_loss',
    'hint_loss',
    'kd_loss',
    'kl_loss',
    'knowledge_ensemble',
    'mixed_cross_entropy',
    'mmd_loss',
    'normalized_map',
    'ps_kd_alpha',
    'ps_kd_targets',
    'sad_loss',
    'same_stage_loss',
    'smooth_labels',
    'smoothed_kl',
    'soft_cross_entropy',
    'tempered_label_smoothing',
    'virtual_teacher',
    'virtual_teacher_loss',
]
