"""What tests look at inside runs of the tools: default_hooks.probe.type=probe.Probe, with PROBE naming a folder."""

import hashlib
import json
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import torch
from mmcv.transforms import RandomFlip
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from mixskd_mm.engine import InterruptionHook


def digest(values) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]


class Pause(Hook):
    """With PAUSE=<epoch>,<batch> the run stops there, creates the file ``paused<rank>`` and waits to be killed.

    With TERMINATE=<epoch>,<batch> the first process sends its launcher SIGTERM there.
    """

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if f'{runner.epoch},{batch_idx}' == os.environ.get('TERMINATE') and get_rank() == 0:
            os.kill(os.getppid(), signal.SIGTERM)
            (interruption,) = [hook for hook in runner.hooks if isinstance(hook, InterruptionHook)]
            while not interruption._told:
                time.sleep(0.01)
        if f'{runner.epoch},{batch_idx}' == os.environ.get('PAUSE'):
            Path(os.environ['PROBE'], f'paused{get_rank()}').touch()
            time.sleep(3600)


class Probe(Pause):
    """Write what each iteration of this rank drew and saw, and what it learnt, to rank<n>.jsonl."""

    def before_train(self, runner) -> None:
        self.model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self.folder = Path(os.environ['PROBE'])
        self.folder.mkdir(parents=True, exist_ok=True)
        self.write(wrapped=is_model_wrapper(runner.model), unused=getattr(runner.model, 'find_unused_parameters', None))
        draw = self.model.data_preprocessor.draw

        def noting(*args):
            self.mixture = draw(*args)
            return self.mixture

        self.model.data_preprocessor.draw = noting

    def write(self, **row) -> None:
        with (self.folder / f'rank{get_rank()}.jsonl').open('a') as file:
            file.write(json.dumps(row) + '\n')

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        super().before_train_iter(runner, batch_idx, data_batch)
        self.seen = dict(
            epoch=runner.epoch,
            iter=runner.iter,
            images=[digest(image.numpy()) for image in data_batch['inputs']],
            draws=[sample.get('draws') for sample in data_batch['data_samples']],
        )

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.write(**self.seen, lam=self.mixture.lam.item(), index=self.mixture.index.tolist())

    def after_train(self, runner) -> None:
        parameters = {name: digest(value.detach().numpy()) for name, value in self.model.named_parameters()}
        self.write(parameters=parameters, finite=all(bool(p.isfinite().all()) for p in self.model.parameters()))


class NotingFlip(RandomFlip):
    """``RandomFlip`` that also notes what each library draws next, where PackInputs hands it on."""

    def transform(self, results: dict) -> dict:
        return dict(super().transform(results), draws=[random.random(), np.random.rand(), torch.rand(()).item()])
