"""Resuming continues a run, or says what it does not continue."""

from __future__ import annotations

import warnings

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop

from mixskd_mm.checkpoints.config_text import literal_config
from mixskd_mm.errors import InputError
from mixskd_mm.resuming.settings import KEPT, RESETTABLE, describe, differences, section_to_reset

from .checkpoint_keys import source_of, training
from .mid_epoch import MidEpochTrainLoop


@HOOKS.register_module()
class ResumeCheckHook(Hook):
    """Compare a run with the checkpoint that it resumes from, before mmengine loads its state.

    mmengine lets the optimiser's and the schedulers' state in the checkpoint override the config: another learning rate,
    schedule, batch or number of processes would not be applied, or would shift the schedule. Such changes are refused unless
    their section is reset. Other changes apply, and are logged.

    Args:
        reset (Sequence[str]): Sections to take from the config instead of the checkpoint, of ``optim_wrapper`` (learning
            rate, momentum, weight decay; running averages of the optimiser stay) and ``param_scheduler`` (the schedule, set
            forward to where the run is). Defaults to none.

    Raises:
        InputError: for a setting that would not be applied, or a checkpoint from the middle of an epoch.
    """

    # After CheckpointKeysHook (HIGH), which says whether it fits at all.
    priority = 'ABOVE_NORMAL'

    def __init__(self, reset: tuple[str, ...] | list[str] = ()) -> None:
        for section in reset:
            if section not in RESETTABLE:
                raise InputError(f'--reset {section}: expected some of {", ".join(RESETTABLE)}')
        self.reset = tuple(reset)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        checkpoint['meta']['world_size'] = get_world_size()

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        if not (training(runner) and runner._resume):
            return
        source = source_of(runner)
        self.compare_settings(runner, checkpoint, source)
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            self.compare_epochs(runner, checkpoint, source)
        if not isinstance(runner.param_schedulers, list) or 'param_groups' not in checkpoint['optimizer']:
            # One for each of several optimisers: as mmengine resumes them.
            return
        saved_ends = [saved['end'] for saved in checkpoint.get('param_schedulers', [])]
        # Where the config gives no end, mmengine takes that of the training, which may be longer now.
        if self.reset or saved_ends != [scheduler.end for scheduler in runner.param_schedulers]:
            continue_schedule(runner, checkpoint)
        if 'optim_wrapper' in self.reset:
            checkpoint['optimizer'].pop('loss_scaler', None)
        if self.reset:
            runner.logger.info(f'From the config, not from {source}: {", ".join(self.reset)}')

    def compare_settings(self, runner, checkpoint: dict, source: str) -> None:
        """Refuse what would not be applied, log what is."""
        meta, changes = checkpoint['meta'], []
        if 'cfg' in meta:
            changes = differences(literal_config(meta['cfg']), runner.cfg.to_dict())
        else:
            runner.logger.warning(f'{source} does not say what it was trained with: settings are not compared')
        if meta.get('world_size', get_world_size()) != get_world_size():
            changes.append(('number of processes', meta['world_size'], get_world_size()))
        applied = []
        for path, old, new in changes:
            kept = section_to_reset(path)
            if kept is None or (kept == 'optim_wrapper.loss_scale' and not both_scale(runner, checkpoint)):
                applied.append((path, old, new))
            elif KEPT[kept] not in self.reset:
                way = f', or --reset {KEPT[kept]} to change it' if KEPT[kept] else ''
                raise InputError(f'{source} was trained with {path}={old}, not {new}: expected the same{way}')
        if applied:
            runner.logger.warning(f'{source} was trained with other settings; from now on: {describe(applied)}')

    def compare_epochs(self, runner, checkpoint: dict, source: str) -> None:
        """Refuse other numbers of iterations per epoch, and checkpoints from the middle of one that cannot be continued."""
        meta, info = checkpoint['meta'], checkpoint['message_hub'].get('runtime_info', {})
        now = len(runner.train_dataloader)
        before = info['max_iters'] // info['max_epochs'] if info.get('max_epochs') else now
        if before != now and 'param_scheduler' not in self.reset:
            raise InputError(
                f'{source} was trained with {before} iterations per epoch, not {now}: expected the same batch, number of '
                'processes and images, or --reset param_scheduler to change them'
            )
        trained = meta['iter'] - meta['epoch'] * before
        if trained:
            self.check_mid_epoch(runner, checkpoint, source, before != now)
        meta['iter'] = meta['epoch'] * now + trained

    @staticmethod
    def check_mid_epoch(runner, checkpoint: dict, source: str, other_epochs: bool) -> None:
        """Raise InputError unless the epoch can be continued to the bit."""
        states, meta = checkpoint.get('random_states'), checkpoint['meta']
        where = f'{source} was written in the middle of epoch {meta["epoch"] + 1}, after iteration {meta["iter"]}'
        if not isinstance(runner.train_loop, MidEpochTrainLoop):
            raise InputError(
                f'{where}, which {type(runner.train_loop).__name__} cannot continue: expected '
                'train_cfg.type=MidEpochTrainLoop, or a checkpoint from the end of an epoch'
            )
        if states is None:
            raise InputError(
                f'{where}, without the states of the random numbers: expected them, or one from the end of an epoch'
            )
        if other_epochs or len(states) != get_world_size():
            raise InputError(
                f'{where}, by {len(states)} processes: expected the same batch, number of processes and images until the '
                'epoch ends'
            )


def both_scale(runner, checkpoint: dict) -> bool:
    """Whether losses were scaled for half precision before, and are now: the checkpoint's scale then wins."""
    return 'loss_scaler' in checkpoint['optimizer'] and hasattr(runner.optim_wrapper, 'loss_scaler')


def continue_schedule(runner, checkpoint: dict) -> None:
    """Set the config's schedule forward to where the checkpoint is, and let it replace the checkpoint's; in place."""
    meta = checkpoint['meta']
    per_epoch = len(runner.train_dataloader) if isinstance(runner.train_loop, EpochBasedTrainLoop) else None
    with warnings.catch_warnings():
        # That the optimiser has made no step.
        warnings.simplefilter('ignore')
        for iteration in range(1, meta['iter'] + 1):
            step(runner.param_schedulers, by_epoch=False)
            # An epoch that has had all its batches may not have ended.
            if per_epoch and iteration % per_epoch == 0 and iteration // per_epoch <= meta['epoch']:
                step(runner.param_schedulers, by_epoch=True)
    for saved, wanted in zip(checkpoint['optimizer']['param_groups'], runner.optim_wrapper.param_groups, strict=True):
        saved.update({name: value for name, value in wanted.items() if name != 'params'})
    checkpoint['param_schedulers'] = [scheduler.state_dict() for scheduler in runner.param_schedulers]


def step(schedulers: list, by_epoch: bool) -> None:
    """One step of the schedulers of a kind, as mmengine's ``ParamSchedulerHook`` makes them."""
    for scheduler in schedulers:
        if scheduler.by_epoch == by_epoch:
            scheduler.step()
