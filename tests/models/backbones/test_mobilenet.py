import pytest
import torch
import torch.nn.functional as F
from layer_reference import batch_norm_relu, random_maps, randomised
from mmpretrain.models.backbones import MobileNetV2

from mixskd_mm.models import MobileNet_CIFAR, StagedMobileNetV2
from mixskd_mm.models.stages import stage_names, stage_outputs


def test_stages_end_where_the_auxiliary_classifiers_of_dcm_start():
    with torch.device('meta'):
        backbone = MobileNet_CIFAR()
        outputs = stage_outputs(backbone, torch.zeros(2, 3, 32, 32))
    assert [output.shape[1:] for output in outputs] == [(256, 32, 32), (512, 16, 16), (1024, 8, 8)]
    assert sum(p.numel() for p in backbone.parameters()) + 1025 * 100 == 3_309_476


def test_conv0_to_conv13():
    backbone = randomised(MobileNet_CIFAR(base_channels=4, out_indices=(0, 1, 2)))
    images = random_maps(2, 3, 8, 8)
    x = batch_norm_relu(backbone.conv1.norm, F.conv2d(images, backbone.conv1.conv.weight, padding=1))
    blocks = [*backbone.layer1, *backbone.layer2, *backbone.layer3]
    widths = [8, 16, 16, 32, 32, 64, 64, 64, 64, 64, 64, 128, 128]
    expected = []
    for i, (block, width) in enumerate(zip(blocks, widths, strict=True), start=1):
        depthwise, pointwise = block.depthwise.conv.weight, block.pointwise.conv.weight
        assert pointwise.shape == (width, x.shape[1], 1, 1)
        x = F.conv2d(x, depthwise, padding=1, stride=2 if i in (6, 12) else 1, groups=x.shape[1])
        x = batch_norm_relu(block.depthwise.norm, x)
        x = batch_norm_relu(block.pointwise.norm, torch.einsum('oc,nchw->nohw', pointwise[:, :, 0, 0], x))
        if i in (5, 11, 13):
            expected.append(x)
    for output, other in zip(backbone(images), expected, strict=True):
        torch.testing.assert_close(output, other, rtol=1e-10, atol=1e-10)


def test_mobilenet_v2_is_mmpretrains_with_its_names_and_can_be_cut():
    plain, staged = MobileNetV2(widen_factor=0.25), StagedMobileNetV2(widen_factor=0.25)
    staged.load_state_dict(plain.state_dict())
    plain.eval()
    staged.eval()
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(staged(images)[0], plain(images)[0])
    assert stage_names(staged) == [f'layer{i}' for i in range(1, 8)] + ['conv2']
    outputs = stage_outputs(staged, images)
    assert staged.stage_channels[1:] == tuple(output.shape[1] for output in outputs)
    assert staged.feat_dim == 1280


@pytest.mark.parametrize('k, shape', [(5, (96, 14, 14)), (6, (160, 7, 7)), (8, (1280, 7, 7))])
def test_stages_of_mobilenet_v2_on_imagenet(k, shape):
    with torch.device('meta'):
        outputs = stage_outputs(StagedMobileNetV2(), torch.zeros(1, 3, 224, 224))
    assert outputs[k - 1].shape[1:] == shape
