"""The picture of a training: what it shows, after a resume too, and that it never fails a training."""

import json
import time

import cv2
import pytest
import tiny

from mixskd_mm.engine.run_picture import RunPictureHook, draw_training, read_scalars

LOGGED = {'default_hooks.logger.interval': 2}


def lines(axis):
    return {line.get_label(): line.get_xydata().tolist() for line in axis.get_lines()}


def test_terms_heads_and_rate_are_drawn_over_iterations():
    rows = [
        dict(step=2, epoch=1, lr=0.1, loss=3.0, loss_cls=1.0, loss_kd=2.0, top1_backbone=10.0, loss_off=0.0, time=1.0),
        dict(step=4, epoch=2, lr=0.05, loss=2.0, loss_cls=0.5, loss_kd=1.5, top1_backbone=30.0, loss_off=0.0, time=1.0),
        {'step': 1, 'accuracy/top1': 20.0, 'time': 1.0},
        {'step': 2, 'accuracy/top1': 40.0, 'time': 1.0},
    ]
    losses, accuracies, rates = draw_training(rows, iters_per_epoch=2).axes
    assert lines(losses) == {'loss': [[2, 3], [4, 2]], 'loss_cls': [[2, 1], [4, 0.5]], 'loss_kd': [[2, 2], [4, 1.5]]}
    assert lines(accuracies) == {'top1_backbone': [[2, 10], [4, 30]], 'accuracy/top1': [[2, 20], [4, 40]]}
    assert lines(rates) == {'lr': [[2, 0.1], [4, 0.05]]}
    with pytest.raises(ValueError, match='nothing was logged in training'):
        draw_training(rows[2:])


def test_what_a_later_run_repeats_counts_as_it_was_there(tmp_path):
    files = []
    for name, steps in (('one', (2, 4, 6)), ('two', (4, 6, 8))):
        files.append(tmp_path / name)
        rows = [dict(step=step, lr=0.1, loss=float(len(name) if name == 'one' else 9)) for step in steps]
        files[-1].write_text(''.join(json.dumps(row) + '\n' for row in rows))
    found = [(row['step'], row['loss']) for row in read_scalars(files, iterations=6)]
    assert found == [(2, 3.0), (4, 9.0), (6, 9.0)]


def test_a_training_and_its_resumed_end(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        'mixskd_mm.engine.run_picture.draw_training',
        lambda rows, *args: (
            drawn.append(([row['step'] for row in rows if 'lr' in row], args[0])) or draw_training(rows, *args)
        ),
    )
    runner = tiny.train(tiny.make_config(tmp_path, {**LOGGED, 'train_cfg.max_epochs': 1}), RunPictureHook())
    (picture,) = tmp_path.glob('*/training.png')
    assert str(picture.parent) == runner.log_dir and (picture.parent / f'{picture.parent.name}.log').is_file()
    assert cv2.imread(str(picture)).shape[1] > 1000
    # Logs have the second that they begin in as a name.
    time.sleep(1.1)
    cfg = tiny.make_config(tmp_path, LOGGED)
    cfg.resume = True
    tiny.train(cfg, RunPictureHook())
    assert drawn == [([2, 4], 4), ([2, 4, 6, 8], 4)]


def test_a_picture_that_cannot_be_drawn_is_a_warning(tmp_path, monkeypatch):
    def fail(*args):
        raise RuntimeError('no font')

    monkeypatch.setattr('mixskd_mm.engine.run_picture.draw_training', fail)
    tiny.train(tiny.make_config(tmp_path, {**LOGGED, 'train_cfg.max_epochs': 1}), RunPictureHook())
    assert 'no picture of the training: RuntimeError: no font' in tiny.log_text(tmp_path)
    assert (tmp_path / 'epoch_1.pth').is_file() and not list(tmp_path.glob('*/training.png'))
