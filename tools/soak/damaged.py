"""Damaged files: checkpoints, images, folders and list files, each used in one of the ways in which users do."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import cv2
import torch
from damage import ANNOTATIONS, BYTES, CODE, CONTENT, LINES, MASKS, damage_bytes
from recipe import CLASSES, Reference
from sandbox import Outcome, Result, loads, run, same_state

from mixskd_mm.checkpoints.safe_load import load_local_checkpoint

WAYS = ('resume', 'test', 'load_from', 'export')


def trial(rng: random.Random, folder: Path, references: dict[str, Reference]) -> tuple[str, Outcome]:
    """One damaged file: what was done, and what it led to."""
    if rng.random() < 0.5:
        return damaged_checkpoint(rng, folder, references['classification'])
    return damaged_data(rng, folder, references[rng.choice(list(references))])


def damaged_checkpoint(rng: random.Random, folder: Path, reference: Reference) -> tuple[str, Outcome]:
    damages = rng.choice((BYTES, CODE, CONTENT))
    damage = rng.choice(list(damages))
    way = rng.choice((*WAYS, 'inferencer') if damages is CODE else WAYS)
    canary = folder / 'canary'
    path = reference.started(folder / 'run', 2) if way == 'resume' else Path(shutil.copy(reference.last, folder))
    if damages is BYTES:
        damage_bytes(path, damage, rng)
    elif damages is CODE:
        CODE[damage](path, canary)
    else:
        CONTENT[damage](path, rng)
    # A run that falls back writes a sound file over it.
    whole = loads(path)
    result, answer = use(way, path, folder, reference)
    fault = f'checkpoint with {damage.replace("_", " ")}, {way}'
    if canary.exists():
        return fault, Outcome('ran code', False)
    if way == 'inferencer':
        return fault, Outcome('ran no code', True)
    same = answer is not None and same_state(answer, expected(way, folder / 'good', reference))
    return fault, judge(result, (path.name,), same, whole)


def expected(way: str, folder: Path, reference: Reference) -> object:
    """The answer of :func:`use` for the sound file."""
    if way == 'resume':
        return load_local_checkpoint(str(reference.last))['state_dict']
    folder.mkdir()
    return use(way, Path(shutil.copy(reference.last, folder)), folder, reference)[1]


def use(way: str, path: Path, folder: Path, reference: Reference) -> tuple[Result, object]:
    """Use a checkpoint in one of :data:`WAYS`.

    Returns the run and the weights or metrics that it led to, None if there are none.
    """
    if way == 'test':
        out = folder / 'metrics.json'
        result = run('test.py', reference.config, path, '--work-dir', folder / 'test', '--out', out)
        return result, json.loads(out.read_text(encoding='utf-8')) if out.exists() else None
    if way == 'inferencer':
        return run('soak/inferencer.py', path), None
    if way == 'export':
        out = folder / 'backbone.pth'
        result = run('checkpoints/export_backbone.py', path, out)
        return result, torch.load(out, weights_only=True)['state_dict'] if out.exists() else None
    if way == 'resume':
        out = path.parent / reference.names[-1]
        result = reference.train(path.parent, '--resume')
    else:
        out = folder / 'tuned' / reference.names[0]
        options = [f'load_from={path}', 'train_cfg.max_epochs=1', 'param_scheduler.0.T_max=1']
        result = reference.train(out.parent, options=options)
    return result, load_local_checkpoint(str(out))['state_dict'] if out.exists() else None


def damaged_data(rng: random.Random, folder: Path, reference: Reference) -> tuple[str, Outcome]:
    data = Path(shutil.copytree(reference.data, folder / 'data'))
    split = rng.choice(('train', 'test'))
    kinds = dict(
        classification=('image', 'list', 'folder'), segmentation=('image', 'mask'), detection=('image', 'json')
    )
    kind = rng.choice(kinds[reference.recipe])
    path, damage, harmless = dict(
        image=damaged_picture, mask=damaged_picture, list=damaged_text, json=damaged_text, folder=damaged_folder
    )[kind](rng, data, split, kind)
    config = reference.write_config(folder / 'damaged.py', data, lists=kind == 'list')
    result = reference.train(folder / 'run', config=config)
    # Either is the file that is wrong.
    names = (path.name, dict(renamed='cats').get(damage, 'missing.png' if damage == 'a missing image' else path.name))
    return f'{reference.recipe}, {split} {kind}, {damage.replace("_", " ")}', judge(result, names, harmless)


def damaged_picture(rng: random.Random, data: Path, split: str, kind: str) -> tuple[Path, str, bool]:
    """Damage an image or a mask; returns its path, how it was damaged, and whether it shows the same pixels."""
    path = rng.choice(sorted((data / (split if kind == 'image' else f'{split}_masks')).rglob('*.png')))
    damages = BYTES if kind == 'image' else rng.choice((BYTES, MASKS))
    damage = rng.choice(list(damages))
    before = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if damages is BYTES:
        damage_bytes(path, damage, rng)
    else:
        cv2.imwrite(str(path), MASKS[damage](before))
    after = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return path, damage, after is not None and after.shape == before.shape and bool((after == before).all())


def damaged_text(rng: random.Random, data: Path, split: str, kind: str) -> tuple[Path, str, bool]:
    """Damage a list file or a COCO file, as :func:`damaged_picture`."""
    path = data / (f'{split}.txt' if kind == 'list' else f'{split}.json')
    changes = LINES if kind == 'list' else ANNOTATIONS
    damages = rng.choice((BYTES, changes))
    damage = rng.choice(list(damages))
    before = path.read_bytes()
    if damages is BYTES:
        damage_bytes(path, damage, rng)
    elif kind == 'list':
        path.write_text(
            ''.join(f'{line}\n' for line in LINES[damage](path.read_text(encoding='utf-8').splitlines(), rng))
        )
    else:
        path.write_text(json.dumps(ANNOTATIONS[damage](json.loads(before))))
    return path, damage, path.read_bytes().split() == before.split()


def damaged_folder(rng: random.Random, data: Path, split: str, kind: str) -> tuple[Path, str, bool]:
    """Rename, remove or empty the folder of a class, as :func:`damaged_picture`."""
    path, damage = data / split / f'digit-{rng.randrange(CLASSES)}', rng.choice(('renamed', 'removed', 'emptied'))
    if damage == 'renamed':
        path.rename(path.with_name('cats'))
    else:
        shutil.rmtree(path)
    if damage == 'emptied':
        path.mkdir()
    return path, damage, False


def judge(result: Result, names: tuple[str, ...], harmless: bool, whole: bool = True) -> Outcome:
    """What came of a run that used a damaged file.

    Args:
        result (Result): The run.
        names (tuple): A line is about the file if one of them is in it.
        harmless (bool): The run led to what the sound file leads to.
        whole (bool): The file can be read, so there was no need to go round it. Defaults to True.
    """
    # Not the config in the log, which has brackets and names files too.
    words = ('WARNING', 'damaged', 'refused', 'instead')
    said = [line for line in result.output.splitlines() if any(map(line.count, names)) and any(map(line.count, words))]
    line = result.refusal()
    if result.hung:
        return Outcome('hung', False)
    if line is not None:
        named = any(map(line.count, names))
        return Outcome('refused in one line' if named else 'refused in one line that does not name it', named, line)
    if result.status:
        return Outcome('ended with a traceback', False, result.last_line)
    if said:
        return Outcome('went round it and said so' if harmless else 'used with a warning', True, said[0])
    if harmless:
        return Outcome('led to the same as the sound file' if whole else 'went round it silently', whole)
    return Outcome('accepted silently', False)
