"""What the scripts of tools/ make of their arguments, with recorders in the place of python and srun."""

import logging
import re

import pytest
import tiny
import yaml
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

TOOLS = tiny.ROOT / 'tools'
USAGE = {
    'dist_train.sh': 'CONFIG GPUS',
    'dist_test.sh': 'CONFIG CHECKPOINT GPUS',
    'slurm_train.sh': 'PARTITION JOB_NAME CONFIG',
}


@pytest.fixture
def record(tmp_path):
    """Function: run a script with a program replaced; returns the arguments that the program got."""

    def run(program, script, *args, **variables):
        recorder = tmp_path / 'bin' / program
        recorder.parent.mkdir()
        recorder.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/arguments\n')
        recorder.chmod(0o755)
        env = tiny.environment(**variables)
        env['PATH'] = f'{recorder.parent}:{env["PATH"]}'
        tiny.succeed(script, *args, cwd=tmp_path, env=env)
        return (tmp_path / 'arguments').read_text().splitlines()

    return run


@pytest.mark.parametrize(('variables', 'port'), [({}, 0), (dict(PORT='1234'), 1234), (dict(MASTER_PORT='1235'), 1235)])
def test_one_machine_by_default_on_a_free_port(record, variables, port):
    assert record('python', 'dist_train.sh', 'a.py', 8, **variables) == [
        *(str(TOOLS / 'launch.py'), '--nnodes=1', '--rdzv-backend=c10d', f'--rdzv-endpoint=localhost:{port}'),
        *('--max-restarts=0', '--nproc-per-node=8', str(TOOLS / 'train.py'), 'a.py', '--launcher', 'pytorch'),
    ]


def test_what_is_restarted_resumes(record):
    arguments = record('python', 'dist_train.sh', 'a.py', 8, '--work-dir', 'w', MAX_RESTARTS='3')
    assert '--max-restarts=3' in arguments
    assert arguments[-5:] == ['--launcher', 'pytorch', '--resume', '--work-dir', 'w']


@pytest.mark.parametrize('missing', ['NODE_RANK', 'MASTER_ADDR'])
def test_several_machines_need_to_know_each_other(missing, tmp_path):
    variables = {name: value for name, value in MACHINES.items() if name != missing}
    result = tiny.run_tool('dist_train.sh', 'a.py', 2, cwd=tmp_path, env=tiny.environment(**variables))
    assert result.returncode != 0 and f'{missing}: expected' in result.stderr.splitlines()[-1]


MACHINES = dict(NNODES='4', NODE_RANK='3', MASTER_ADDR='10.0.0.7', PORT='12345')
MEETING = (
    *(str(TOOLS / 'launch.py'), '--nnodes=4', '--rdzv-backend=c10d', '--rdzv-id=mixskd_mm'),
    *('--rdzv-endpoint=10.0.0.7:12345', '--rdzv-conf=is_host=0'),
)


def test_several_machines_and_options_for_training(record):
    options = ('--resume', '--work-dir', 'a folder', '--cfg-options', 'model.temperature=4', 'note=two words')
    assert record('python', 'dist_train.sh', 'a.py', 2, *options, **MACHINES) == [
        *MEETING,
        *('--max-restarts=0', '--nproc-per-node=2', str(TOOLS / 'train.py'), 'a.py', '--launcher', 'pytorch', *options),
    ]


def test_several_machines_and_options_for_testing(record):
    assert record('python', 'dist_test.sh', 'a.py', 'b c.pth', 2, '--out', 'm.json', **MACHINES) == [
        *MEETING,
        *('--nproc-per-node=2', str(TOOLS / 'test.py'), 'a.py', 'b c.pth', '--launcher', 'pytorch', '--out', 'm.json'),
    ]


@pytest.mark.parametrize(
    ('variables', 'expected'),
    [
        (dict(), ['--gres=gpu:8', '--ntasks=8', '--ntasks-per-node=8', '--cpus-per-task=5', '--kill-on-bad-exit=1']),
        (
            dict(GPUS='16', CPUS_PER_TASK='3'),
            ['--gres=gpu:8', '--ntasks=16', '--ntasks-per-node=8', '--cpus-per-task=3', '--kill-on-bad-exit=1'],
        ),
        # No more of a machine than the job needs.
        (
            dict(GPUS='2', SRUN_ARGS='--time=1:00 --exclusive'),
            ['--gres=gpu:2', '--ntasks=2', '--ntasks-per-node=2', '--cpus-per-task=5', '--kill-on-bad-exit=1']
            + ['--time=1:00', '--exclusive'],
        ),
    ],
)
def test_slurm(record, variables, expected):
    arguments = record('srun', 'slurm_train.sh', 'part', 'my job', 'a.py', '--resume', '--work-dir', 'w d', **variables)
    command = ['python', '-u', str(TOOLS / 'train.py'), 'a.py', '--launcher', 'slurm', '--resume', '--work-dir', 'w d']
    assert arguments == ['-p', 'part', '--job-name=my job', *expected, *command]


@pytest.mark.parametrize(('status', 'requeued'), [(0, False), (1, False), (129, False), (143, True)])
def test_a_slurm_job_is_queued_again_if_it_was_told_to_end(tmp_path, status, requeued):
    for program, code in (('srun', status), ('scontrol', 0)):
        path = tmp_path / 'bin' / program
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\necho {program} "$@" >> {tmp_path}/calls\nexit {code}\n')
        path.chmod(0o755)
    env = tiny.environment(SLURM_JOB_ID='77')
    env['PATH'] = f'{tmp_path}/bin:{env["PATH"]}'
    result = tiny.run_tool('clusters/slurm_job.sh', 'a.py', '--work-dir', 'w', cwd=tmp_path, env=env)
    assert result.returncode == (0 if requeued else status)
    trained, *queued = (tmp_path / 'calls').read_text().splitlines()
    assert trained.endswith('python -u tools/train.py a.py --launcher slurm --resume --work-dir w')
    assert queued == (['scontrol requeue 77'] if requeued else [])


def test_a_slurm_job_gets_its_signal_before_its_time_is_over():
    options = re.findall(r'^#SBATCH --(\S+)', (TOOLS / 'clusters/slurm_job.sh').read_text(), re.MULTILINE)
    assert {'requeue', 'open-mode=append', 'signal=TERM@120'} <= set(options)


def test_the_kubernetes_job_starts_each_machine_and_starts_it_again():
    job = yaml.safe_load((TOOLS / 'clusters/pytorchjob.yaml').read_text())
    assert (job['apiVersion'], job['kind']) == ('kubeflow.org/v1', 'PyTorchJob')
    parts = job['spec']['pytorchReplicaSpecs']
    assert list(parts) == ['Master', 'Worker']
    for part in parts.values():
        assert part['restartPolicy'] == 'ExitCode'
        pod = part['template']['spec']
        (container,) = pod['containers']
        assert container['name'] == 'pytorch'
        shell, option, command = container['command']
        assert (shell, option) == ('bash', '-c')
        machines = sum(part['replicas'] for part in parts.values())
        gpus = container['resources']['limits']['nvidia.com/gpu']
        assert command.startswith(
            f'NNODES={machines} NODE_RANK=$RANK PORT=$MASTER_PORT exec tools/dist_train.sh configs/'
        )
        assert command.endswith(f'.py {gpus} --resume')
        assert (tiny.ROOT / re.search(r'configs/\S+', command)[0]).is_file()
        # torchrun gives its processes 30 s.
        assert pod['terminationGracePeriodSeconds'] > 30
        assert {mount['name'] for mount in container['volumeMounts']} == {volume['name'] for volume in pod['volumes']}


@pytest.mark.parametrize(
    ('code', 'status', 'line'), [(1, 1, ''), (143, 143, ''), (-9, 137, 'error: process 3 was ended by SIGKILL\n')]
)
def test_the_launcher_ends_as_the_process_that_failed_first(monkeypatch, capsys, code, status, line):
    launcher = tiny.load_tool('launch.py')
    failure = ProcessFailure(local_rank=1, pid=7, exitcode=code, error_file='none')

    def fail(arguments):
        assert arguments == ['--nnodes=1']
        raise ChildFailedError('train.py', {3: failure})

    monkeypatch.setattr(launcher, 'main', fail)
    disabled = logging.root.manager.disable
    try:
        assert launcher.launch(['--nnodes=1']) == status
    finally:
        logging.disable(disabled)
    assert capsys.readouterr().err == line


@pytest.mark.parametrize('script', USAGE)
@pytest.mark.parametrize('arguments', [[], ['a.py']])
def test_too_few_arguments_are_answered_with_the_usage(script, arguments, tmp_path):
    result = tiny.run_tool(script, *arguments, cwd=tmp_path)
    assert result.returncode == 2 and result.stdout == ''
    (line,) = result.stderr.splitlines()
    assert line.startswith('usage: ') and f'{script} {USAGE[script]}' in line


@pytest.mark.parametrize('option', ['--help', '-h'])
@pytest.mark.parametrize('script', USAGE)
def test_help_of_shell_scripts(script, option, tmp_path):
    result = tiny.succeed(script, option, cwd=tmp_path)
    assert result.stdout.startswith('usage: ') and USAGE[script] in result.stdout and result.stderr == ''


@pytest.mark.parametrize(
    'script',
    [
        'train.py',
        'test.py',
        'quickstart/make_digits.py',
        'quickstart/make_scenes.py',
        'checkpoints/export_backbone.py',
        'checkpoints/import_release.py',
    ],
)
def test_help_of_python_scripts(script, monkeypatch, capsys):
    with pytest.raises(SystemExit) as ended:
        tiny.run_script(f'tools/{script}', '--help', monkeypatch=monkeypatch)
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith('usage: ')


def test_help_of_the_quickstart_does_not_start_it(tmp_path):
    result = tiny.succeed('quickstart/run.py', '--help', cwd=tmp_path)
    assert result.stdout.startswith('usage: run.py') and 'work_dirs/quickstart' in result.stdout


def test_train_and_test_have_the_usual_options(monkeypatch, capsys):
    common = ['--work-dir', '--cfg-options', '--launcher']
    for script, options in (
        ('train.py', ['--resume', '--amp', '--no-validate', '--auto-scale-lr', *common]),
        ('test.py', ['--out', *common]),
    ):
        with pytest.raises(SystemExit):
            tiny.run_script(f'tools/{script}', '--help', monkeypatch=monkeypatch)
        text = capsys.readouterr().out
        assert [option for option in options if option not in text] == []


def test_scripts_can_be_executed():
    for script in (*USAGE, 'train.py', 'test.py', 'launch.py', 'clusters/slurm_job.sh'):
        assert (TOOLS / script).stat().st_mode & 0o111 == 0o111, script
        first = (TOOLS / script).read_text().splitlines()[0]
        assert first == f'#!/usr/bin/env {"python" if script.endswith("py") else "bash"}'
