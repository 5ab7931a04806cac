"""A small member of each family of backbones that can be cut, and what its stages give for images of 64 x 64."""

from dataclasses import dataclass, field

from mmpretrain.models.backbones import CSPDarkNet, EfficientNet, EfficientNetV2

# Members of these families that are small enough to test.
EfficientNet.arch_settings['b-tiny'] = (0.25, 0.3, 64)
EfficientNetV2.arch_settings['tiny'] = [
    [1, 3, 1, 1, 8, 8, 0.0, -1],
    [2, 3, 2, 4, 8, 16, 0.0, 0],
    [2, 3, 2, 4, 16, 24, 0.0, 0],
    [2, 3, 2, 4, 24, 32, 0.25, 1],
    [1, 3, 1, 4, 32, 32, 0.25, 1],
    [2, 3, 2, 4, 32, 48, 0.25, 1],
    [1, 1, 1, 1, 48, 64, 0.0, -2],
]
CSPDarkNet.arch_settings['tiny'] = dict(
    CSPDarkNet.arch_settings[53],
    in_channels=(4, 8, 8, 16, 16),
    out_channels=(8, 8, 16, 16, 32),
    num_blocks=(1, 1, 2, 2, 1),
)

CONVNEXT = dict(type='ConvNeXt', arch=dict(depths=[1, 1, 2, 1], channels=[8, 16, 24, 32]))


@dataclass
class Member:
    """A backbone, the channels and sizes of its stages' outputs, and arguments of the classifier."""

    backbone: dict
    channels: list[int]
    sizes: list[int] = field(default_factory=lambda: [16, 8, 4, 2])
    pools_itself: bool = False
    arguments: dict = field(default_factory=dict)

    def config(self, **kwargs):
        """Config of a classifier with 10 classes, by default a MixSKDClassifier."""
        config = dict(
            type='MixSKDClassifier',
            backbone=dict(self.backbone),
            neck=None if self.pools_itself else dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=10, in_channels=self.channels[-1]),
        )
        return {**config, **self.arguments, **kwargs}


FAMILIES = {
    'ResNet-34': Member(dict(type='ResNet', depth=34, base_channels=8), [8, 16, 32, 64]),
    'ResNet-50': Member(dict(type='ResNet', depth=50, base_channels=8), [32, 64, 128, 256]),
    'ResNetV1d': Member(dict(type='ResNetV1d', depth=50, base_channels=8), [32, 64, 128, 256]),
    'ResNet_CIFAR': Member(
        dict(type='ResNet_CIFAR', depth=18, stem_channels=8, base_channels=8), [8, 16, 32, 64], [64, 32, 16, 8]
    ),
    'three stages': Member(
        dict(
            type='ResNet_CIFAR',
            depth=18,
            base_channels=8,
            stem_channels=8,
            num_stages=3,
            strides=(1, 2, 2),
            dilations=(1, 1, 1),
            out_indices=(2,),
        ),
        [8, 16, 32],
        [64, 32, 16],
    ),
    'ResNeXt': Member(
        dict(type='ResNeXt', depth=50, groups=4, width_per_group=4, base_channels=16), [64, 128, 256, 512]
    ),
    'SEResNet': Member(dict(type='SEResNet', depth=50, base_channels=16), [64, 128, 256, 512]),
    'Res2Net': Member(dict(type='Res2Net', depth=50, scales=4, base_width=8, base_channels=16), [64, 128, 256, 512]),
    'RegNet': Member(
        dict(type='RegNet', arch=dict(w0=8, wa=16, wm=2.0, depth=8, group_w=8, bot_mul=1.0)), [8, 32, 64, 128]
    ),
    'MobileNetV2': Member(dict(type='MobileNetV2', widen_factor=0.1), [8, 8, 16, 1280]),
    'MobileNetV3': Member(
        dict(type='MobileNetV3', arch='small_050'),
        [8, 16, 24, 288],
        arguments=dict(
            head=dict(
                type='StackedLinearClsHead',
                num_classes=10,
                in_channels=288,
                mid_channels=[32],
                dropout_rate=0.2,
                act_cfg=dict(type='HSwish'),
                init_cfg=dict(type='Normal', layer='Linear', mean=0.0, std=0.01, bias=0.0),
            )
        ),
    ),
    'ShuffleNetV2': Member(dict(type='ShuffleNetV2', widen_factor=0.5), [48, 96, 1024], [8, 4, 2]),
    'EfficientNet': Member(dict(type='EfficientNet', arch='b-tiny', drop_path_rate=0.2), [8, 16, 32, 320]),
    'EfficientNetV2': Member(dict(type='EfficientNetV2', arch='tiny', drop_path_rate=0.2), [16, 24, 32, 64]),
    'VGG': Member(
        dict(type='VGG', depth=11, num_stages=3, dilations=(1, 1, 1), out_indices=(2,), norm_cfg=dict(type='BN')),
        [64, 128, 256],
        [32, 16, 8],
    ),
    'RepVGG': Member(dict(type='RepVGG', arch='A0', base_channels=8), [6, 12, 24, 160]),
    'RepVGG with ppf': Member(
        dict(type='RepVGG', arch='yolox-pai-small', base_channels=8, add_ppf=True), [8, 16, 32, 64]
    ),
    'ConvNeXt': Member(dict(CONVNEXT, drop_path_rate=0.1), [8, 16, 24, 32], pools_itself=True),
    'ConvNeXt, normed maps': Member(dict(CONVNEXT, gap_before_final_norm=False), [8, 16, 24, 32]),
    'ConvNeXtV2': Member(dict(CONVNEXT, use_grn=True, layer_scale_init_value=0.0), [8, 16, 24, 32], pools_itself=True),
    'Swin': Member(
        dict(
            type='SwinTransformer',
            arch=dict(embed_dims=8, depths=[1, 2, 2, 1], num_heads=[1, 1, 2, 2]),
            window_size=2,
            drop_path_rate=0.1,
        ),
        [8, 16, 32, 64],
        arguments=dict(
            init_cfg=[
                dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0),
                dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
            ]
        ),
    ),
    'CSPDarkNet': Member(dict(type='CSPDarkNet', depth='tiny'), [8, 8, 16, 16, 32], [32, 16, 8, 4, 2]),
    'PoolFormer': Member(
        dict(
            type='PoolFormer',
            arch=dict(layers=[1, 1, 2, 1], embed_dims=[8, 16, 24, 32]),
            frozen_stages=-1,
            init_cfg=dict(type='TruncNormal', layer=['Conv2d', 'Linear'], std=0.02, bias=0.0),
        ),
        [8, 16, 24, 32],
    ),
    'VAN': Member(
        dict(type='VAN', arch=dict(embed_dims=[8, 16, 24, 32], depths=[1, 1, 2, 1], ffn_ratios=[2, 2, 2, 2])),
        [8, 16, 24, 32],
    ),
    'DenseNet': Member(
        dict(type='DenseNet', arch=dict(growth_rate=4, depths=[2, 2, 2, 2], init_channels=8)),
        [8, 8, 8, 16],
        [8, 4, 2, 2],
    ),
    'timm ResNet': Member(dict(type='TIMMBackbone', model_name='test_resnet'), [32, 48, 192, 96]),
    'timm EfficientNet': Member(dict(type='TIMMBackbone', model_name='test_efficientnet'), [24, 32, 48, 256]),
    'timm EfficientNet, pyramid': Member(
        dict(type='TIMMBackbone', model_name='test_efficientnet', features_only=True), [24, 32, 48, 64]
    ),
    'timm ConvNeXt': Member(dict(type='TIMMBackbone', model_name='test_convnext'), [24, 32, 48, 64]),
    'timm ByobNet': Member(dict(type='TIMMBackbone', model_name='test_byobnet'), [32, 64, 128, 256]),
    'timm NFNet': Member(dict(type='TIMMBackbone', model_name='test_nfnet'), [32, 64, 96, 192]),
    'WRN-16-1': Member(dict(type='WideResNet_CIFAR', widen_factor=1), [16, 32, 64], [64, 32, 16]),
    # Nobody but the config says how this one is cut.
    'MobileOne': Member(
        dict(
            type='MobileOne',
            arch=dict(
                num_blocks=[1, 2, 1, 1], width_factor=[0.2] * 4, num_conv_branches=[1] * 4, num_se_blocks=[0, 0, 1, 1]
            ),
        ),
        [12, 25, 51, 102],
        arguments=dict(stages=[['stage1'], ['stage2'], ['stage3'], ['stage4']]),
    ),
}
