import downstream
import pytest
import tiny
from mmengine.config import Config

from mixskd_mm.errors import InputError
from mixskd_mm.evaluation.test_options import augment_tests, draw_predictions, dump_predictions

SEGMENTATION = downstream.ROOT / 'configs/segmentation'
DETECTION = downstream.ROOT / 'configs/detection/cascade-rcnn_r50-mixskd-pre_fpn_1x_coco.py'


@pytest.fixture(scope='module')
def detector():
    return Config.fromfile(DETECTION)


@pytest.fixture(scope='module', params=['deeplabv3', 'deeplabv3-paper'])
def segmenter(request):
    return Config.fromfile(SEGMENTATION / f'{request.param}_r50-d8-mixskd-pre_8xb2-40k_voc12aug-512x512.py')


def test_a_classifier_averages_image_and_mirror_image(tmp_path):
    cfg = tiny.make_config(tmp_path)
    before = cfg.model.type
    augment_tests(cfg)
    assert (cfg.model.type, cfg.model.module.type) == ('mmpretrain.AverageClsScoreTTA', before)
    *steps, augment = cfg.test_dataloader.dataset.pipeline
    assert [step.type for step in steps] == ['LoadImageFromFile'] and augment.type == 'TestTimeAug'
    assert [[step.type for step in part] for part in augment.transforms] == [['RandomFlip'] * 2, ['PackInputs']]
    assert sorted(flip.prob for flip in augment.transforms[0]) == [0, 1]
    # The validation's are as they were.
    assert cfg.val_dataloader.dataset.pipeline[-1].type == 'PackInputs'


def test_a_configs_own_augmentations_are_taken(tmp_path):
    cfg = tiny.make_config(tmp_path)
    cfg.tta_model, cfg.tta_pipeline = dict(type='Mine'), [dict(type='Load'), dict(type='Mine')]
    augment_tests(cfg)
    assert cfg.model.type == 'Mine' and cfg.test_dataloader.dataset.pipeline == cfg.tta_pipeline


def test_what_cannot_be_augmented_is_refused(tmp_path):
    cfg = tiny.make_config(tmp_path)
    cfg.test_dataloader.dataset.pipeline = [dict(type='LoadImageFromFile')]
    with pytest.raises(
        InputError, match=r'^--tta: the pipeline of test_dataloader ends with LoadImageFromFile: expected'
    ):
        augment_tests(cfg)


def test_a_detectors_flips_are_known_to_it(detector):
    cfg = detector.copy()
    augment_tests(cfg)
    pack = cfg.test_dataloader.dataset.pipeline[-1].transforms[-1][0]
    assert cfg.model.type == 'DetTTAModel' and {'flip', 'flip_direction'} <= set(pack.meta_keys)


def test_a_segmenter_has_scales_and_flips_of_its_own(segmenter):
    cfg = segmenter.copy()
    augment_tests(cfg)
    assert cfg.model.type == 'SegTTAModel'
    scales, flips, *_ = cfg.test_dataloader.dataset.pipeline[-1].transforms
    assert [step.scale_factor for step in scales] == [0.5, 0.75, 1.0, 1.25, 1.5, 1.75] and len(flips) == 2
    del cfg._cfg_dict['tta_pipeline']
    with pytest.raises(InputError, match='has no tta_pipeline: expected it for a segmenter'):
        augment_tests(cfg)


def test_pictures_go_into_the_folder_that_was_named(detector, segmenter, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = detector.copy()
    draw_predictions(cfg, 'shown')
    # Joined to the work directory, an absolute one stays what it is.
    assert cfg.default_hooks.visualization.test_out_dir == str(tmp_path / 'shown')
    cfg = segmenter.copy()
    draw_predictions(cfg, 'shown')
    assert cfg.default_hooks.visualization.draw and cfg.visualizer.save_dir == str(tmp_path / 'shown')
    cfg.default_hooks.visualization = None
    with pytest.raises(InputError, match=r'^--show-dir: default_hooks\.visualization=None: expected'):
        draw_predictions(cfg, 'shown')


def test_a_classifiers_augmented_images_are_not_drawn(tmp_path):
    cfg = tiny.make_config(tmp_path)
    augment_tests(cfg)
    with pytest.raises(InputError, match=r'^--show-dir with --tta: expected one of them'):
        draw_predictions(cfg, 'shown')


def test_predictions_are_dumped_by_the_libraries(detector, segmenter):
    cfg = detector.copy()
    dump_predictions(cfg, 'a.pkl')
    assert [one.type for one in cfg.test_evaluator] == ['CocoMetric', 'DumpDetResults']
    with pytest.raises(InputError, match=r'^--out a\.json --out-item pred: expected a file that ends with \.pkl$'):
        dump_predictions(detector.copy(), 'a.json')
    cfg = segmenter.copy()
    dump_predictions(cfg, 'folder')
    assert cfg.test_evaluator.output_dir == 'folder'
