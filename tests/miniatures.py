"""The five fine-grained data sets with a few images each, laid out as their archives unpack."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import scipy.io

# What a data set consists of: (file below data_root, label) of each image, by split.
Samples = dict[str, list[tuple[str, int]]]

RED = (0, 0, 255)  # BGR


def write_image(path: Path, width: int = 60, height: int = 40) -> None:
    """A red JPEG, so that the order of the channels shows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((height, width, 3), RED, np.uint8))


def write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(lines) + '\n')


def write_images(root: Path, samples: Samples) -> Samples:
    for split in samples.values():
        for file, _ in split:
            write_image(root / file)
    return samples


def cell(values: list[str]) -> np.ndarray:
    """A column cell array, as MATLAB saves a list of strings."""
    array = np.empty((len(values), 1), object)
    array[:, 0] = values
    return array


def cub(root: Path) -> Samples:
    """CUB_200_2011.tgz: three lists that number the images from 1 across the splits."""
    names = {1: '001.Black_footed_Albatross', 2: '002.Laysan_Albatross', 200: '200.Common_Yellowthroat'}
    images = [
        (f'{name}/{name[4:]}_{i:04d}_{i}.jpg', label, i % 3 != 0) for label, name in names.items() for i in range(5)
    ]
    write_lines(root / 'images.txt', [f'{i} {file}' for i, (file, _, _) in enumerate(images, 1)])
    write_lines(root / 'image_class_labels.txt', [f'{i} {label}' for i, (_, label, _) in enumerate(images, 1)])
    write_lines(root / 'train_test_split.txt', [f'{i} {int(train)}' for i, (_, _, train) in enumerate(images, 1)])
    samples = {'train': [], 'test': []}
    for file, label, train in images:
        samples['train' if train else 'test'].append((f'images/{file}', label - 1))
    return write_images(root, samples)


DOGS = {1: 'n02085620-Chihuahua', 5: 'n02086240-Shih-Tzu', 120: 'n02116738-African_hunting_dog'}


def dogs(root: Path) -> Samples:
    """images.tar and lists.tar."""
    samples = {}
    for split, numbers in (('train', (3, 1)), ('test', (2,))):
        rows = [(f'{DOGS[k]}/{DOGS[k][:9]}_{i}.jpg', k) for k in (1, 5, 120) for i in numbers]
        write_dog_list(root / f'{split}_list.mat', [file for file, _ in rows], [label for _, label in rows])
        samples[split] = [(f'Images/{file}', label - 1) for file, label in rows]
    return write_images(root, samples)


def write_dog_list(path: Path, files: list[str], labels: list[int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = dict(
        file_list=cell(files),
        annotation_list=cell([file.removesuffix('.jpg') for file in files]),
        labels=np.array(labels, float)[:, None],
    )
    scipy.io.savemat(path, content, do_compression=True)


def mit67(root: Path) -> Samples:
    """indoorCVPR_09.tar and the two lists, which are not sorted."""
    samples = {}
    for split, numbers in (('train', (2, 5)), ('test', (1,))):
        rows = [('winecellar', 66), ('airport_inside', 0), ('bar', 4)]
        files = [(f'{name}/{name}_{i:04d}.jpg', label) for i in numbers for name, label in rows]
        write_lines(root / f'{split.capitalize()}Images.txt', [file for file, _ in files])
        samples[split] = [(f'Images/{file}', label) for file, label in files]
    return write_images(root, samples)


def structs(rows: list[dict]) -> np.ndarray:
    """A row of structs."""
    array = np.empty((1, len(rows)), [(name, object) for name in rows[0]])
    for i, row in enumerate(rows):
        array[0, i] = tuple(row.values())
    return array


def car(number: int, label: int) -> dict:
    return dict(bbox_x1=1, bbox_y1=2, bbox_x2=50, bbox_y2=30, **{'class': label}, fname=f'{number:05d}.jpg')


def cars(root: Path) -> Samples:
    """cars_train.tgz, cars_test.tgz and car_devkit.tgz, and the labels of the test images beside the devkit's lists."""
    (root / 'devkit').mkdir(parents=True)
    labels = {'train': [14, 1, 196, 2], 'test': [196, 7]}
    lists = {'train': 'cars_train_annos.mat', 'test': 'cars_test_annos_withlabels.mat'}
    samples = {}
    for split, numbers in labels.items():
        rows = [car(i, label) for i, label in enumerate(numbers, 1)]
        scipy.io.savemat(root / 'devkit' / lists[split], dict(annotations=structs(rows)))
        samples[split] = [(f'cars_{split}/{row["fname"]}', row['class'] - 1) for row in rows]
    return write_images(root, samples)


def cars_in_one(root: Path) -> Samples:
    """car_ims.tgz and cars_annos.mat, the other way to get Stanford Cars."""
    root.mkdir(parents=True, exist_ok=True)
    labels, test = [3, 3, 196, 50], [0, 1, 0, 1]
    rows = []
    for i, (label, held_out) in enumerate(zip(labels, test, strict=True), 1):
        rest = {key: value for key, value in car(i, label).items() if key != 'fname'}
        rows.append(dict(relative_im_path=f'car_ims/{i:06d}.jpg', **rest, test=held_out))
    scipy.io.savemat(root / 'cars_annos.mat', dict(annotations=structs(rows), class_names=cell(['a', 'b', 'c']).T))
    samples = {'train': [], 'test': []}
    for row in rows:
        samples['test' if row['test'] else 'train'].append((row['relative_im_path'], row['class'] - 1))
    return write_images(root, samples)


def aircraft(root: Path) -> Samples:
    """fgvc-aircraft-2013b.tar.gz; trainval is train and val."""
    variants = {'707-320': 0, 'Model B200': 90, 'Yak-42': 99}
    samples, number = {'train': [], 'val': [], 'test': []}, 34309
    for rows in samples.values():
        for name, label in variants.items():
            number += 1
            rows.append((f'data/images/{number:07d}.jpg', label, name))
    samples['trainval'] = samples['train'] + samples['val']
    for split, rows in samples.items():
        lines = [f'{Path(file).stem} {name}' for file, _, name in rows]
        write_lines(root / 'data' / f'images_variant_{split}.txt', lines)
    return write_images(root, {split: [row[:2] for row in rows] for split, rows in samples.items()})


# Config below configs/_base_/datasets: how to write the data.
FINE_GRAINED = {'cub': cub, 'stanford_dogs': dogs, 'mit67': mit67, 'stanford_cars': cars, 'fgvc_aircraft': aircraft}
