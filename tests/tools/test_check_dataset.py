"""tools/check_dataset.py on healthy and on spoilt data sets of each kind."""

import json
import pickle
import runpy
import shutil
import sys

import cv2
import downstream
import miniatures
import numpy as np
import pytest
import tiny
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.datasets import CIFAR100
from PIL import Image

TOOL = tiny.ROOT / 'tools/check_dataset.py'
CONFIGS = tiny.ROOT / 'configs'
COCO = CONFIGS / 'detection/cascade-rcnn_r50-mixskd-pre_fpn_1x_coco.py'
SEGMENTATION = CONFIGS / 'segmentation'
EXPECTED = 'expected the data that the config describes, as docs/datasets.md has it'


@pytest.fixture(autouse=True)
def restore_scope():
    """The default scope is global: leave it as it was."""
    instances = dict(DefaultScope._instance_dict)
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(instances)


@pytest.fixture
def check(monkeypatch, capfd):
    """Function: run the tool in this process; returns its status and the lines that it prints."""

    def run(config, *args):
        monkeypatch.setattr(sys, 'argv', [str(TOOL), str(config), *map(str, args)])
        monkeypatch.setenv('LOCAL_RANK', '0')
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(TOOL), run_name='__main__')
        lines = capfd.readouterr().out.splitlines()
        # pycocotools reports its progress, and importing mmseg says what it lacks.
        noise = ('loading annotations', 'Done (', 'creating index', 'index created', 'Could not import')
        return ended.value.code, [line for line in lines if not line.startswith(noise)]

    return run


def problems(lines):
    return [line.removeprefix('  problem: ') for line in lines if line.startswith('  problem: ')]


def data_root(root, *loaders):
    return [f'{loader}_dataloader.dataset.data_root={root}' for loader in loaders or ('train', 'val', 'test')]


@pytest.fixture
def fine_grained(tmp_path):
    """Function: the config of a training on a set of tests/miniatures.py, and the folder of its data."""

    def write(name, **head):
        root = tmp_path / name
        miniatures.FINE_GRAINED[name](root)
        base = Config.fromfile(CONFIGS / f'_base_/datasets/{name}.py')
        head.setdefault('num_classes', base.data_preprocessor.num_classes)
        config = tmp_path / f'{name}_training.py'
        config.write_text(
            f"_base_ = ['{CONFIGS}/_base_/datasets/{name}.py', '{CONFIGS}/_base_/runtime.py']\n"
            f"model = dict(type='ImageClassifier', head=dict(type='LinearClsHead', **{head}))\n"
            f"train_dataloader = dict(dataset=dict(data_root='{root}'))\n"
            f"val_dataloader = dict(dataset=dict(data_root='{root}'))\n"
            'test_dataloader = val_dataloader\n'
        )
        return config, root

    return write


# What is printed of each: type, list, images, classes, labels, classes without images, number of images, published images.
HEALTHY = {
    'cub': [
        (
            'CUB',
            'images.txt',
            '9 images, 200 classes, labels 0 to 199, 0 to 3 images per class',
            "197 of the 200 classes have no image (first: 'Sooty_Albatross')",
            9,
            '5,994',
        ),
        (
            'CUB',
            'images.txt',
            '6 images, 200 classes, labels 0 to 199, 0 to 2 images per class',
            "197 of the 200 classes have no image (first: 'Sooty_Albatross')",
            6,
            '5,794',
        ),
    ],
    'stanford_dogs': [
        (
            'StanfordDogs',
            'train_list.mat',
            '6 images, 120 classes, labels 0 to 119, 0 to 2 images per class',
            "117 of the 120 classes have no image (first: '2')",
            6,
            '12,000',
        ),
        (
            'StanfordDogs',
            'test_list.mat',
            '3 images, 120 classes, labels 0 to 119, 0 to 1 images per class',
            "117 of the 120 classes have no image (first: '2')",
            3,
            '8,580',
        ),
    ],
    'mit67': [
        (
            'MITIndoor67',
            'TrainImages.txt',
            '6 images, 67 classes, labels 0 to 66, 0 to 2 images per class',
            "64 of the 67 classes have no image (first: 'artstudio')",
            6,
            '5,360',
        ),
        (
            'MITIndoor67',
            'TestImages.txt',
            '3 images, 67 classes, labels 0 to 66, 0 to 1 images per class',
            "64 of the 67 classes have no image (first: 'artstudio')",
            3,
            '1,340',
        ),
    ],
    'stanford_cars': [
        (
            'StanfordCars',
            'devkit/cars_train_annos.mat',
            '4 images, 196 classes, labels 0 to 195, 0 to 1 images per class',
            "192 of the 196 classes have no image (first: 'Acura TL Sedan 2012')",
            4,
            '8,144',
        ),
        (
            'StanfordCars',
            'devkit/cars_test_annos_withlabels.mat',
            '2 images, 196 classes, labels 6 to 195, 0 to 1 images per class',
            "194 of the 196 classes have no image (first: 'AM General Hummer SUV 2000')",
            2,
            '8,041',
        ),
    ],
    'fgvc_aircraft': [
        (
            'FGVCAircraft',
            'data/images_variant_trainval.txt',
            '6 images, 100 classes, labels 0 to 99, 0 to 2 images per class',
            "97 of the 100 classes have no image (first: '727-200')",
            6,
            '6,667',
        ),
        (
            'FGVCAircraft',
            'data/images_variant_test.txt',
            '3 images, 100 classes, labels 0 to 99, 0 to 1 images per class',
            "97 of the 100 classes have no image (first: '727-200')",
            3,
            '3,333',
        ),
    ],
}


@pytest.mark.parametrize('name', HEALTHY)
def test_a_healthy_set(check, fine_grained, name):
    config, root = fine_grained(name)
    status, lines = check(config)
    expected = []
    for splits, row in zip(('train', 'val, test'), HEALTHY[name], strict=True):
        kind, file, numbers, absent, images, published = row
        expected += [
            f"{splits}: {kind} in '{root}/{file}'",
            f'  {numbers}',
            f'  notice: {absent}',
            f'  {images} images checked',
            f'  notice: {images} images; the published set has {published}',
        ]
    assert lines == [*expected, '0 problems found']
    assert status == 0


def test_the_published_number_of_images_needs_no_notice(check, fine_grained, monkeypatch):
    published = runpy.run_path(str(TOOL))['PUBLISHED']
    config, _ = fine_grained('mit67')
    assert [line for line in check(config)[1] if 'the published set' in line] != []
    # The same lists, as long as the published ones.
    root = config.parent / 'mit67'
    for file, number in (
        ('TrainImages.txt', published['MITIndoor67'][0]),
        ('TestImages.txt', published['MITIndoor67'][1]),
    ):
        lines = (root / file).read_text().splitlines()
        (root / file).write_text('\n'.join((lines * 2000)[: max(number)]))
    status, lines = check(config)
    assert status == 0 and [line for line in lines if 'the published set' in line] == []
    assert '  5,360 images, 67 classes, labels 0 to 66, 0 to 1,787 images per class' in lines


def test_the_published_numbers_are_those_of_the_documentation():
    text = (tiny.ROOT / 'docs/datasets.md').read_text()
    published = runpy.run_path(str(TOOL))['PUBLISHED']
    assert len(published) == 12
    for train, test in published.values():
        assert all(f'{number:,}' in text for number in train | test)


def broken(root):
    """Spoil three images of a folder data set, each in its own way."""
    images = sorted((root / 'train').rglob('*.png'))
    chosen = images[0], images[25], images[-1]
    chosen[0].write_bytes(b'')
    chosen[1].write_bytes(chosen[1].read_bytes()[:60])
    chosen[2].write_text('no image')
    reasons = ['is empty', *2 * ['cannot be read (InputError): expected a whole image']]
    reasons[1] = 'cannot be read (AssertionError): expected a whole image'
    reasons[2] = reasons[1]
    return [f'{file} {reason}' for file, reason in zip(chosen, reasons, strict=True)]


@pytest.fixture
def digits(tmp_path):
    return shutil.copytree(tiny.digits(), tmp_path / 'data')


def test_all_broken_images_are_named(check, digits, tmp_path):
    expected = broken(digits)
    status, lines = check(tiny.write_config(tmp_path, digits), '--samples', 'all')
    assert problems(lines) == expected
    assert lines[-1] == '3 problems found' and status == 1
    assert '  40 images, 10 classes, labels 0 to 9, 4 images per class' in lines
    assert [line for line in lines if 'checked' in line] == ['  40 images checked', '  50 images checked']


def test_a_sample_is_evenly_spaced(check, digits, tmp_path):
    expected = broken(digits)
    # Images 0, 19 and 39 of 40.
    status, lines = check(tiny.write_config(tmp_path, digits), '--samples', 3)
    assert problems(lines) == [expected[0], expected[2]] and status == 1
    assert [line for line in lines if 'checked' in line] == ['  3 images checked'] * 2
    # One image: the first.
    assert problems(check(tiny.write_config(tmp_path, digits), '--samples', 1)[1]) == expected[:1]


def test_worker_processes_find_the_same(check, tmp_path):
    root = tmp_path / 'data'
    tiny.write_digits(root, train=120, test=1)
    expected = broken(root)
    status, lines = check(tiny.write_config(tmp_path, root), '--samples', 'all')
    assert '  1,200 images checked' in lines
    assert problems(lines) == expected and status == 1


def turn(path, orientation):
    """Give an image an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.open(path).convert('RGB').save(path, exif=exif)


def test_files_that_no_loader_takes_and_empty_folders(check, digits, tmp_path):
    first = min(digits.glob('train/3/*')).rename(digits / 'train/3/0.webp')
    # A classifier sees the image as it was turned.
    turn(min(digits.glob('train/4/*')), 6)
    for path in (digits / 'test/6').iterdir():
        path.unlink()
    status, lines = check(tiny.write_config(tmp_path, digits))
    assert [line for line in lines if 'notice' in line] == [
        f'  notice: {digits}/train: 1 of 40 files are not taken: 1 .webp (first: {first}): expected .bmp, .jpeg, .jpg, '
        '.pgm, .png, .ppm, .tif in a folder for each class',
        "  notice: 1 of the 10 classes have no image (first: '6')",
    ]
    assert status == 0


def test_a_missing_image_is_named(check, fine_grained):
    config, root = fine_grained('mit67')
    (root / 'Images/bar/bar_0002.jpg').unlink()
    (root / 'Images/bar/bar_0001.jpg').unlink()
    status, lines = check(config)
    expected = [f'{root}/Images/bar/bar_0002.jpg does not exist', f'{root}/Images/bar/bar_0001.jpg does not exist']
    assert problems(lines) == expected and status == 1


def test_labels_out_of_range_are_named(check, fine_grained):
    config, root = fine_grained('cub')
    labels = (root / 'image_class_labels.txt').read_text().splitlines()
    # The second image is one to train, the fourth one to test.
    labels[1], labels[3] = '2 201', '4 0'
    (root / 'image_class_labels.txt').write_text('\n'.join(labels))
    status, lines = check(config)
    images = [line.split()[1] for line in (root / 'images.txt').read_text().splitlines()]
    assert problems(lines) == [
        f'{root}/images/{images[1]} has label 200: expected 0 to 199',
        f'{root}/images/{images[3]} has label -1: expected 0 to 199',
    ]
    assert status == 1
    assert '  9 images, 200 classes, labels 0 to 200, 0 to 3 images per class' in lines


def test_labels_that_the_head_does_not_have(check, fine_grained):
    config, root = fine_grained('mit67', num_classes=66)
    status, lines = check(config)
    assert problems(lines) == [
        f'{root}/Images/winecellar/winecellar_{i:04d}.jpg has label 66: expected 0 to 65' for i in (2, 5, 1)
    ]
    assert lines.count('  notice: model.head.num_classes=66, but the data set has 67 classes') == 2 and status == 1
    # A larger one is a matter of taste.
    status, lines = check(config, '--cfg-options', 'model.head.num_classes=68')
    assert lines.count('  notice: model.head.num_classes=68, but the data set has 67 classes') == 2 and status == 0


def test_a_missing_data_set_does_not_hide_the_next(check, fine_grained, tmp_path):
    config, root = fine_grained('stanford_dogs')
    status, lines = check(config, '--cfg-options', *data_root(tmp_path / 'no', 'train'))
    assert lines[:3] == [
        f"train: StanfordDogs in '{tmp_path}/no'",
        f'  problem: train_dataloader.dataset: folder {tmp_path}/no does not exist: {EXPECTED}',
        f"val, test: StanfordDogs in '{root}/test_list.mat'",
    ]
    assert lines[-1] == '1 problem found' and status == 1
    (root / 'test_list.mat').unlink()
    _, lines = check(config)
    assert problems(lines) == [f'val_dataloader.dataset: {root} has no test_list.mat: {EXPECTED}']


def test_damaged_annotations_are_a_problem_of_their_set(check, fine_grained):
    config, root = fine_grained('fgvc_aircraft')
    (root / 'data/images_variant_trainval.txt').write_text('0034310 Zeppelin\n')
    status, lines = check(config)
    assert problems(lines) == ['cannot be opened: ValueError: tuple.index(x): x not in tuple']
    assert '  3 images checked' in lines and status == 1


def test_an_empty_data_set(check, fine_grained):
    config, root = fine_grained('cub')
    lists = root / 'train_test_split.txt'
    lists.write_text(lists.read_text().replace(' 0', ' 1'))
    status, lines = check(config)
    problem = f"  problem: CUB in '{root}/images.txt' has no images: expected some"
    assert lines[-3:] == [f"val, test: CUB in '{root}'", problem, '1 problem found']
    assert '  15 images checked' in lines and status == 1


class TestCIFAR100:
    CONFIG = CONFIGS / 'cifar100/mixskd_r18_cifar100.py'

    @pytest.fixture
    def root(self, tmp_path):
        folder = tmp_path / 'cifar-100-python'
        folder.mkdir()
        for split, number in (('train', 200), ('test', 100)):
            images = np.zeros((number, 3 * 32 * 32), np.uint8)
            content = dict(data=images, fine_labels=[i % 100 for i in range(number)])
            (folder / split).write_bytes(pickle.dumps(content))
        return tmp_path

    def test_healthy(self, check, root, monkeypatch):
        monkeypatch.setattr(CIFAR100, 'train_list', [['train', None]])
        monkeypatch.setattr(CIFAR100, 'test_list', [['test', None]])
        status, lines = check(self.CONFIG, '--cfg-options', *data_root(root))
        assert lines[1:4] == [
            '  200 images, 100 classes, labels 0 to 99, 2 images per class',
            '  images are not in files of their own: nothing to decode',
            '  notice: 200 images; the published set has 50,000',
        ]
        assert status == 0

    def test_nothing_is_downloaded(self, check, tmp_path):
        (tmp_path / 'other').touch()
        status, lines = check(self.CONFIG, '--cfg-options', *data_root(tmp_path))
        missing = f'{tmp_path} has no cifar-100-python/train and no cifar-100-python/test: {EXPECTED}'
        assert problems(lines) == [f'{loader}_dataloader.dataset: {missing}' for loader in ('train', 'val')]
        assert [path.name for path in tmp_path.iterdir()] == ['other'] and status == 1

    def test_files_with_another_checksum(self, check, root):
        status, lines = check(self.CONFIG, '--cfg-options', *data_root(root))
        line = f'Cannot find CIFAR100 dataset in {root}/: expected the published files, which have known checksums'
        assert problems(lines) == [line] * 2 and status == 1


class TestDetection:
    @pytest.fixture
    def root(self, tmp_path):
        return shutil.copytree(downstream.coco(), tmp_path / 'coco')

    def test_healthy(self, check, root):
        status, lines = check(COCO, '--cfg-options', *data_root(f'{root}/'))
        digits = [digit for _, _, boxes in downstream.scenes() for *_, digit in boxes]
        numbers = f'  2 images, 80 classes, labels {min(digits)} to {max(digits)}, 6 boxes'
        absent = f"  notice: {80 - len(set(digits))} of the 80 classes have no box (first: 'train')"
        assert lines == [
            f"train: CocoDataset in '{root}/annotations/instances_train2017.json'",
            numbers,
            absent,
            '  2 images checked',
            '  notice: 2 images; the published set has 117,266 or 118,287',
            f"val, test: CocoDataset in '{root}/annotations/instances_val2017.json'",
            numbers,
            absent,
            '  2 images checked',
            '  notice: 2 images; the published set has 5,000',
            '0 problems found',
        ]
        assert status == 0

    def test_images_that_are_not_those_of_the_annotations(self, check, root):
        assert cv2.imwrite(str(root / 'train2017/1.png'), np.zeros((50, 40, 3), np.uint8))
        (root / 'val2017/0.png').write_bytes(b'')
        (root / 'val2017/1.png').unlink()
        status, lines = check(COCO, '--cfg-options', *data_root(f'{root}/'))
        height, width = downstream.scenes()[1][0].shape[:2]
        assert problems(lines) == [
            f'{root}/train2017/1.png is 40 x 50: expected {width} x {height}, as its annotation says',
            f'{root}/val2017/1.png does not exist',
            f'{root}/val2017/0.png is empty',
        ]
        assert status == 1

    def test_annotations_that_do_not_count_and_that_cannot_be(self, check, root):
        train, val = (root / f'annotations/instances_{split}2017.json' for split in ('train', 'val'))
        content = json.loads(train.read_text())
        content['annotations'][0]['bbox'][2:] = [0, 0]
        content['images'].append(dict(content['images'][0], id=9, file_name='9.png'))
        train.write_text(json.dumps(content))
        content['annotations'][0]['bbox'] = [0, 0, float('nan'), 1]
        val.write_text(json.dumps(content))
        status, lines = check(COCO, '--cfg-options', *data_root(f'{root}/'))
        category = content['annotations'][0]['category_id']
        assert lines[3:5] == [
            f'  notice: {train}: 1 of 6 annotations do not count: boxes of less than a pixel (first: annotation 1, image 0, '
            f'category {category})',
            f'  notice: {train}: 1 of 3 images have no box that counts (first: 9.png)',
        ]
        assert problems(lines) == [
            f'{val}: 1 of 6 annotations have numbers that cannot be (first: annotation 1, image 0, category {category}, '
            f'with bbox [0, 0, nan, 1] and area {content["annotations"][0]["area"]}): expected finite x, y, width and '
            'height in pixels of the image'
        ]
        # mmdet left out the image without boxes, which is missing.
        assert lines[5] == '  2 images checked' and status == 1

    def test_many_missing_images(self, check, root):
        train = root / 'annotations/instances_train2017.json'
        content = json.loads(train.read_text())
        for i in range(2, 14):
            content['images'].append(dict(content['images'][0], id=i, file_name=f'{i}.png'))
            content['annotations'].append(dict(content['annotations'][0], id=100 + i, image_id=i))
        train.write_text(json.dumps(content))
        status, lines = check(COCO, '--cfg-options', *data_root(f'{root}/'), '--samples=2')
        assert problems(lines) == [
            *(f'{root}/train2017/{i}.png does not exist' for i in range(2, 12)),
            '2 more of the 14 images do not exist',
        ]
        assert lines[-1] == '11 problems found' and status == 1

    def test_images_turned_by_their_exif_data(self, check, root):
        images = [root / f'train2017/{i}.png' for i in (0, 1)]
        for image, orientation in zip(images, (6, 3), strict=True):
            turn(image, orientation)
        status, lines = check(COCO, '--cfg-options', *data_root(f'{root}/'))
        height, width = downstream.scenes()[0][0].shape[:2]
        assert problems(lines) == [
            f'{images[0]} is {height} x {width} by its EXIF orientation 6: expected {width} x {height}, as its annotation '
            'says'
        ]
        assert (
            '  notice: 2 of 2 images are turned or mirrored when they are loaded, by their EXIF orientation (first: '
            f'{images[0]}, 6): expected boxes and label maps of the image as it is seen'
        ) in lines
        assert status == 1

    def test_annotations_of_other_classes(self, check, root):
        file = root / 'annotations/instances_train2017.json'
        content = json.loads(file.read_text())
        content['categories'][-1]['name'] = 'comb'
        file.write_text(json.dumps(content))
        status, lines = check(COCO, '--cfg-options', *data_root(f'{root}/'), 'model.roi_head.bbox_head.0.num_classes=9')
        heads = 'model.roi_head.bbox_head.0.num_classes=9: expected 80, the classes of the data set'
        assert problems(lines) == [
            heads,
            f"CocoDataset in '{file}' has annotations of 79 of the 80 classes of the config: expected all; set "
            'metainfo.classes to the names in the file',
            heads,
        ]
        assert status == 1

    def test_damaged_annotations(self, check, root):
        file = root / 'annotations/instances_val2017.json'
        file.write_text(file.read_text()[:-100])
        status, lines = check(COCO, '--cfg-options', *data_root(f'{root}/'))
        (problem,) = problems(lines)
        assert problem.startswith(f'{file} is no JSON of a dict (') and status == 1


class TestSegmentation:
    ADE = SEGMENTATION / 'deeplabv3_r50-d8-mixskd-pre_8xb2-40k_ade20k-512x512.py'
    VOC = SEGMENTATION / 'deeplabv3-paper_r50-d8-mixskd-pre_8xb2-40k_voc12aug-512x512.py'
    STUFF = SEGMENTATION / 'deeplabv3-paper_r50-d8-mixskd-pre_8xb2-40k_coco-stuff164k-512x512.py'

    @pytest.fixture
    def root(self, tmp_path):
        return shutil.copytree(downstream.ade(), tmp_path / 'ade')

    def test_healthy(self, check, root):
        status, lines = check(self.ADE, '--cfg-options', *data_root(root))
        assert lines == [
            f"train: ADE20KDataset in '{root}'",
            '  2 images, 150 classes',
            '  2 images checked',
            '  notice: 2 images; the published set has 20,210',
            f"val, test: ADE20KDataset in '{root}'",
            '  2 images, 150 classes',
            '  2 images checked',
            '  notice: 2 images; the published set has 2,000',
            '0 problems found',
        ]
        assert status == 0

    def test_182_classes(self, check):
        status, lines = check(self.STUFF, '--cfg-options', *data_root(downstream.coco_stuff()))
        assert lines.count('  2 images, 182 classes') == 2 and status == 0

    def test_a_joined_set_is_counted_as_one(self, check):
        options = [f'train_dataloader.dataset.datasets.{i}.data_root={downstream.voc()}' for i in (0, 1)]
        status, lines = check(self.VOC, '--cfg-options', *options, *data_root(downstream.voc(), 'val', 'test'))
        lists = f'{downstream.voc()}/ImageSets/Segmentation'
        assert lines[:7] == [
            f"train: PascalVOCDataset in '{lists}/train.txt'",
            '  1 images, 21 classes',
            '  1 images checked',
            f"train: PascalVOCDataset in '{lists}/aug.txt'",
            '  1 images, 21 classes',
            '  1 images checked',
            '  notice: 2 images; the published set has 10,582',
        ]
        assert status == 0

    def test_maps_that_do_not_fit(self, check, root):
        maps = root / 'annotations'
        labels = cv2.imread(str(maps / 'training/0.png'), cv2.IMREAD_UNCHANGED)
        # 0 is ignored, 150 the last class.
        labels[0, :3], labels[1, :3] = (0, 150, 151), (200, 200, 151)
        assert cv2.imwrite(str(maps / 'training/0.png'), labels)
        assert cv2.imwrite(str(maps / 'training/1.png'), labels[:50])
        (maps / 'validation/0.png').unlink()
        (maps / 'validation/1.png').write_bytes((maps / 'validation/1.png').read_bytes()[:-300])
        status, lines = check(self.ADE, '--cfg-options', *data_root(root))
        found = problems(lines)
        height, width = labels.shape
        assert found[:3] == [
            f'{maps}/training/0.png has label 150, 199: expected 0 to 149 or 255, which is ignored',
            f'{maps}/training/1.png is {width} x 50: expected {width} x {height}, as its image',
            f'{maps}/validation/0.png does not exist',
        ]
        assert found[3].startswith(f'{maps}/validation/1.png cannot be read (') and len(found) == 4
        assert status == 1

    def test_files_that_do_not_belong_together(self, check, root):
        images, maps = root / 'images/training', root / 'annotations/training'
        (images / '0.jpg').rename(images / '0.JPG')
        (maps / '1.png').rename(maps / '1.PNG')
        status, lines = check(self.ADE, '--cfg-options', *data_root(root))
        assert lines[1:5] == [
            '  1 images, 150 classes',
            f'  notice: {images}: 1 of 2 files are not taken: 1 .JPG (first: {images}/0.JPG): expected *.jpg (img_suffix)',
            f'  notice: {maps}: 1 of 1 label maps have no image (first: {maps}/0.png)',
            '  1 images checked',
        ]
        assert problems(lines) == [f'{maps}/1.png does not exist'] and status == 1

    def test_images_of_another_suffix_only(self, check, root):
        folder = root / 'images/training'
        for image in list(folder.iterdir()):
            image.rename(image.with_suffix('.JPG'))
        status, lines = check(self.ADE, '--cfg-options', *data_root(root))
        assert problems(lines) == [
            f"ADE20KDataset in '{root}' has no images: expected some; {folder}: 2 of 2 files are not taken: 2 .JPG (first: "
            f'{folder}/0.JPG): expected *.jpg (img_suffix)'
        ]
        assert status == 1

    def test_images_turned_by_their_exif_data(self, check, root):
        image, labels = root / 'images/training/1.jpg', root / 'annotations/training/1.png'
        turn(image, 8)
        status, lines = check(self.ADE, '--cfg-options', *data_root(root))
        height, width = downstream.scenes()[1][0].shape[:2]
        assert problems(lines) == [
            f'{labels} is {width} x {height}: expected {height} x {width}, as its image {image} is by its EXIF orientation 8'
        ]
        assert lines[2:4] == [
            '  2 images checked',
            '  notice: 1 of 2 images are turned or mirrored when they are loaded, by their EXIF orientation (first: '
            f'{image}, 8): expected boxes and label maps of the image as it is seen',
        ]
        assert status == 1

    def test_another_head(self, check, root):
        status, lines = check(self.ADE, '--cfg-options', *data_root(root), 'model.decode_head.num_classes=151')
        assert problems(lines) == ['model.decode_head.num_classes=151: expected 150, the classes of the data set'] * 2
        assert status == 1


@pytest.mark.parametrize('samples', ['0', '-1', 'some', '1.5'])
def test_a_wrong_number_of_samples(check, samples, tmp_path):
    status, _ = check(tiny.write_config(tmp_path), f'--samples={samples}')
    assert status == f'error: --samples {samples}: expected a number > 0, or all'


def test_a_missing_config(check, tmp_path):
    status, _ = check(tmp_path / 'no.py')
    assert status == f'error: config {tmp_path}/no.py does not exist'
