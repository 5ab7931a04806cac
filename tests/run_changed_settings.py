#!/usr/bin/env python
"""Run changed settings of the recipes through tools/train.py, each in a process of its own, and count how they end.

line       one line that names the setting and what was expected
vague      one line that does not
file       one line that names the file with the traceback
traceback  a traceback on the terminal
silent     trained, though wrong, without a word about the setting
said       trained, with a line about the setting
memory     took more than the limit
hang       took longer than the limit
passed, refused  harmless settings
"""

import argparse
import collections
import contextlib
import os
import re
import resource
import runpy
import shutil
import signal
import sys
import tempfile
import traceback
from pathlib import Path

import changed_settings as generator
import tiny
import torch

import mixskd_mm  # noqa: F401
from mixskd_mm.cli import exit_on_input_error

MEMORY = 3 << 30
SECONDS = 90
ENDS = dict(begin=0, end=2, T_max=2, milestones=[1, 1])


def make_data(folder: Path) -> None:
    """Digits and scenes where the recipes look for them."""
    root = folder / 'work_dirs/quickstart'
    tiny.write_digits(root / 'digits', 2, 1)
    script = str(tiny.ROOT / 'tools/quickstart/make_scenes.py')
    sys.path.insert(0, os.path.dirname(script))
    sys.argv = [script, str(root / 'scenes'), '--train', '4', '--test', '2']
    with contextlib.redirect_stdout(None):
        runpy.run_path(script, run_name='__main__')


def tiny_recipe(recipe: str) -> dict:
    """The recipe's config with two iterations and a validation, and few parameters."""
    config = generator.read_recipe(recipe)
    config['train_cfg'].update(val_interval=1, **{'max_iters' if recipe == 'segmentation' else 'max_epochs': 2})
    # The schedule ends with the training.
    for scheduler in config['param_scheduler']:
        scheduler.update({key: ENDS[key] for key in ENDS if key in scheduler})
    config['train_dataloader']['batch_size'] = 10 if recipe == 'classification' else 2
    config['model']['backbone'].update(stem_channels=8, base_channels=8)
    if recipe == 'classification':
        config['model']['head']['in_channels'] = 64
    elif recipe == 'detection':
        config['model']['neck']['in_channels'] = [32, 64]
    else:
        config['model']['decode_head']['in_channels'] = 64
        config['model']['auxiliary_head']['in_channels'] = 32
    config['auto_scale_lr']['base_batch_size'] = config['train_dataloader']['batch_size']
    return config


def run(change: generator.Change, folder: Path) -> None:
    """In the child: what a user does, with limits."""
    os.setsid()
    torch.set_num_threads(1)
    size = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(SECONDS)
    config = tiny_recipe(change.recipe)
    if change.option is None:
        config = generator.apply(config, change)
    path = folder / 'changed.py'
    path.write_text(generator.config_text(config))
    sys.argv = [str(tiny.ROOT / 'tools/train.py'), str(path), '--work-dir', str(folder / 'run')]
    sys.argv += ['--cfg-options', change.option] if change.option is not None else []
    with tiny.running():
        exit_on_input_error(tiny.load_tool('train.py').main)


def fork(change: generator.Change, folder: Path, data: Path) -> tuple[int, int, str]:
    """Exit status (negative: the signal), peak memory in bytes and output of a change's run."""
    folder.mkdir()
    (folder / 'work_dirs').symlink_to(data / 'work_dirs')
    output = folder / 'output.txt'
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        status = 0
        try:
            file = os.open(output, os.O_WRONLY | os.O_CREAT)
            os.dup2(file, 1)
            os.dup2(file, 2)
            os.chdir(folder)
            run(change, folder)
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 1
            if isinstance(ended.code, str):
                sys.stderr.write(ended.code + '\n')
        except BaseException:
            status = 1
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    _, status, usage = os.wait4(child, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024, output.read_text(errors='replace')


def names(change: generator.Change, line: str) -> bool:
    """Whether a line names the setting, by its own key or, if that is an index or gone, what it belongs to."""
    keys = [part for part in change.name.split('.') if not part.isdigit()]
    return any(re.search(rf'(?<![A-Za-z]){re.escape(key)}(?![A-Za-z])', line) for key in keys[-2:] if len(key) > 1)


def judge(change: generator.Change, status: int, memory: int, output: str) -> str:
    lines = output.strip().splitlines() or ['']
    if status == -signal.SIGALRM:
        return 'hang'
    if status < 0 or memory > MEMORY:
        return 'memory'
    if status == 0:
        if not change.wrong:
            return 'passed'
        about = [line for line in lines if re.search('warning', line, re.I) and names(change, line)]
        return 'said' if about else 'silent'
    if not change.wrong:
        return 'refused'
    if 'Traceback (most recent call last)' in output or not lines[-1].startswith('error: '):
        return 'traceback'
    # A line that names half of the config names nothing.
    few = lines[-1].partition(': expected')[0].count('=') <= 3
    if names(change, lines[-1]) and 'expected' in lines[-1] and few:
        return 'line'
    return 'file' if 'traceback in ' in lines[-1] else 'vague'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--count', type=int, default=500)
    parser.add_argument('--part', default='0/1', metavar='I/N', help='every N-th change, from the I-th on')
    parser.add_argument('--grep', default='', help='only changes that this expression finds')
    parser.add_argument('--show', default='', help='comma-separated outcomes to show in full')
    args = parser.parse_args()

    # What a run imports, once for all of them.
    import mmdet.apis  # noqa: F401
    import mmseg.apis  # noqa: F401

    with contextlib.suppress(ImportError):
        from mixskd_mm.settings.keys import LIBRARIES, words_of

        # Read once for all of them.
        for library in LIBRARIES:
            words_of(library)

    counts = collections.Counter()
    index, parts = map(int, args.part.split('/'))
    with tempfile.TemporaryDirectory(prefix='mixskd_settings_') as folder:
        make_data(Path(folder))
        for i, change in enumerate(generator.changes(args.seed, args.count)[index::parts]):
            if not re.search(args.grep, str(change)):
                continue
            where = Path(folder) / str(i)
            status, memory, output = fork(change, where, Path(folder))
            verdict = judge(change, status, memory, output)
            counts[verdict] += 1
            last = (output.strip().splitlines() or [''])[-1]
            print(f'{verdict}\t{change.kind}\t{change}\t{last[:300]}', flush=True)
            if verdict in args.show.split(','):
                print(output[-4000:])
            shutil.rmtree(where)
    print('\n'.join(f'{verdict:10} {number}' for verdict, number in counts.most_common()))


if __name__ == '__main__':
    main()
