"""Remove old checkpoints only when the new one is there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import PurePath

from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS


class _RemovesLater:
    """A file backend that notes what is to be removed, and removes it when told to."""

    def __init__(self, backend) -> None:
        self._backend = backend
        self._removals = []

    def __getattr__(self, name: str):
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        self._removals.append((self._backend.remove, path))

    def rmtree(self, path: str) -> None:
        self._removals.append((self._backend.rmtree, path))

    def finish(self) -> None:
        for remove, path in self._removals:
            remove(path)


@HOOKS.register_module()
class LateRemovalCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``, which with ``max_keep_ckpts`` and ``save_best`` removes before it writes.

    A run that is killed while it writes, or whose disk is full, then keeps what it had. The disk needs room for one
    checkpoint more. Nor does a resumed run remove anything outside its own folder: a checkpoint names the best one by its
    path, which after a copy is the original's. Arguments are those of mmengine's.
    """

    def before_train(self, runner) -> None:
        super().before_train(runner)
        if self.save_best is None:
            return
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = self._here(self.best_ckpt_path)
        else:
            self.best_ckpt_path_dict = {name: self._here(path) for name, path in self.best_ckpt_path_dict.items()}

    def _here(self, path: str | None) -> str | None:
        """The file of that name in the folder that this run writes to."""
        return path and self.file_backend.join_path(self.out_dir, PurePath(path).name)

    def after_train_epoch(self, runner) -> None:
        with self._removing_later():
            super().after_train_epoch(runner)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        with self._removing_later():
            super().after_train_iter(runner, batch_idx, data_batch, outputs)

    def after_val_epoch(self, runner, metrics: dict) -> None:
        with self._removing_later():
            super().after_val_epoch(runner, metrics)

    @contextlib.contextmanager
    def _removing_later(self) -> Iterator[None]:
        backend = self.file_backend
        self.file_backend = _RemovesLater(backend)
        try:
            yield
            self.file_backend.finish()
        finally:
            self.file_backend = backend
