"""Train and test one cell of a table, through the ordinary tools."""

from __future__ import annotations

import json
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import CheckpointLoader

from mixskd_mm.checkpoints.write import write_text
from mixskd_mm.configs import read_config
from mixskd_mm.errors import InputError, last_line
from mixskd_mm.locks import locked
from mixskd_mm.tool_runs import last_checkpoint, run_tool

from .budget import Budget
from .jobs import Job
from .tables import TABLES


def result_file(job: Job, runs: Path) -> Path:
    """Where what was measured is kept. An attack's numbers lie beside those of the same network's test."""
    return runs / job.folder / ('fgsm.json' if TABLES[job.table].attack else 'result.json')


def read_result(job: Job, root: Path, runs: Path) -> dict | None:
    """What :func:`run_job` left of a job that is done, or None.

    Raises:
        InputError: if it was another run, with other settings, or the file is damaged.
    """
    if not result_file(job, runs).is_file():
        return None
    check_same_run(job, job.config(root / 'configs', runs), runs)
    return load_result(result_file(job, runs))


def load_result(file: Path) -> dict | None:
    """What a result file holds, or None if there is none. Raises InputError if it is damaged."""
    if not file.is_file():
        return None
    try:
        result = json.loads(file.read_text(encoding='utf-8'))
        if not all(isinstance(value, int | float) for value in result['metrics'].values()):
            raise ValueError('metrics that are no numbers')
        return result
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f'{file} is no result of a run ({last_line(error)}): remove it to test again') from error


def check_same_run(job: Job, cfg: Config, runs: Path) -> None:
    """Raise InputError if the job's folder has a checkpoint or result of a run with another config."""
    folder, config = runs / job.folder, runs / job.config_file
    started = any((folder / name).is_file() for name in ('last_checkpoint', 'result.json', 'fgsm.json'))
    if started and not (config.is_file() and read_config(str(config)).to_dict() == cfg.to_dict()):
        raise InputError(
            f'{folder} holds a run with other settings, those of {config.name} beside it: give the same, remove the folder, '
            'or give another --work-dir'
        )


def run_job(job: Job, root: Path, runs: Path, gpus: int) -> dict:
    """Train and test ``job`` unless that is done; go on where an earlier run was cut off.

    Args:
        job (Job): What to run.
        root (Path): The repository.
        runs (Path): Where the work directories of all runs are.
        gpus (int): GPUs of one run; 1 also runs on a CPU.

    Returns:
        dict: ``metrics`` (all that the test reports), ``seed``, ``gpus``, and ``code``: what trained the checkpoint.

    Raises:
        InputError: if the folder holds a run with other settings, if another process is at it, or if a tool fails.
    """
    folder, config = runs / job.folder, runs / job.config_file
    cfg = job.config(root / 'configs', runs)
    check_same_run(job, cfg, runs)
    with locked(folder):
        done = load_result(result_file(job, runs))
        if done is not None:
            return done
        if not (folder / 'result.json').is_file():
            write_text(str(config), cfg.pretty_text)
            train(config, folder, root, gpus, validate=job.budget == Budget())
        checkpoint = last_checkpoint(folder)
        measure = attack if TABLES[job.table].attack else test
        metrics = measure(job, root, config, checkpoint, folder)
        code = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')['meta'].get('mixskd_mm', 'unknown')
        result = dict(metrics=metrics, seed=job.seed, gpus=gpus, code=code)
        write_text(str(result_file(job, runs)), json.dumps(result, indent=2) + '\n')
    return result


def train(config: Path, folder: Path, root: Path, gpus: int, validate: bool) -> None:
    """Train through the ordinary tools, from the last checkpoint in ``folder`` if there is one."""
    options = ['--work-dir', folder, '--resume', *([] if validate else ['--no-validate'])]
    if gpus == 1:
        run_tool(folder / 'train.log', 'python', root / 'tools/train.py', config, *options)
    else:
        run_tool(folder / 'train.log', 'bash', root / 'tools/dist_train.sh', config, gpus, *options)


def test(job: Job, root: Path, config: Path, checkpoint: str, folder: Path) -> dict[str, float]:
    """All metrics of the config's test."""
    out = folder / 'test.json'
    command = [root / 'tools/test.py', config, checkpoint, '--out', out, '--work-dir', folder / 'test']
    run_tool(folder / 'test.log', 'python', *command)
    return json.loads(out.read_text(encoding='utf-8'))


def attack(job: Job, root: Path, config: Path, checkpoint: str, folder: Path) -> dict[str, float]:
    """Accuracy in percent at each eps of the table (Table 5, left)."""
    epsilons = list(TABLES[job.table].numbers.values())
    command = [root / 'tools/analysis/fgsm.py', config, checkpoint, '--eps', *epsilons, '--out', folder / 'fgsm']
    run_tool(folder / 'fgsm.log', 'python', *command)
    (model,) = json.loads((folder / 'fgsm' / 'fgsm.json').read_text(encoding='utf-8'))['models'].values()
    return dict(zip(epsilons, model['top1'], strict=True))
