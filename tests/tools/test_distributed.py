"""Two processes on CPUs with tools/dist_train.sh and tools/dist_test.sh: the ImageNet recipe on a tiny ImageNet."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from runs import iterations, probed, rows

RECIPE = tiny.ROOT / 'configs/mixskd_r50_imagenet.py'


def both(run):
    return [iterations(run.probe, rank) for rank in (0, 1)]


def test_each_rank_trains_on_its_half(two_processes):
    # 16 images, 2 per process: 4 iterations per epoch.
    assert [[row['iter'] for row in rank] for rank in both(two_processes)] == [list(range(12))] * 2
    assert all(len(row['images']) == 2 for rank in both(two_processes) for row in rank)


def test_the_model_is_wrapped_without_looking_for_unused_parameters(two_processes):
    for rank in (0, 1):
        first, *_ = rows(two_processes.probe, rank)
        assert first == dict(wrapped=True, unused=False)


def test_ranks_draw_different_mixtures(two_processes):
    lams = [row['lam'] for rank in both(two_processes) for row in rank]
    assert len(set(lams)) == 24
    indices = [[row['index'] for row in rank] for rank in both(two_processes)]
    assert all(sorted(index) == [0, 1] for rank in indices for index in rank)
    assert indices[0] != indices[1]


def test_ranks_augment_differently(two_processes):
    draws = [tuple(draw) for rank in both(two_processes) for row in rank for draw in row['draws']]
    # Three libraries, 48 images, none alike.
    assert all(len(set(library)) == 48 for library in zip(*draws, strict=True))
    assert len({image for rank in both(two_processes) for row in rank for image in row['images']}) == 48


def test_parameters_are_equal_across_ranks_and_finite_at_the_end(two_processes):
    ends = [rows(two_processes.probe, rank)[-1] for rank in (0, 1)]
    assert ends[0]['parameters'] == ends[1]['parameters']
    assert len(ends[0]['parameters']) > 100
    assert all(end['finite'] for end in ends)


def test_the_batch_is_said_not_to_be_the_recipes_once(two_processes):
    output = two_processes.output.stdout + two_processes.output.stderr
    line = (
        "The global batch is 4 (2 x 2), not the recipe's 256: the learning rate stays 0.01; --auto-scale-lr would make it "
        '0.00015625'
    )
    assert output.count('The global batch is') == 1 and line in output
    # Before it starts.
    assert output.index(line) < output.index('Epoch(train) [1]')


def test_terminated_processes_resume_to_the_bit(two_processes, two_processes_resumed):
    expected, resumed = two_processes.state(), two_processes_resumed.state()
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        tiny.assert_same_state(expected[part], resumed[part])
    assert tiny.history(expected, 'lam') == tiny.history(resumed, 'lam')
    assert tiny.history(expected, 'loss') == tiny.history(resumed, 'loss')


def test_a_resumed_rank_draws_and_sees_what_it_would_have(two_processes, two_processes_resumed):
    for expected, resumed in zip(both(two_processes), both(two_processes_resumed), strict=True):
        # Since the sixth or seventh iteration.
        assert len(resumed) in (5, 6) and resumed == expected[-len(resumed) :]


def test_dist_test_agrees_with_the_validation_in_training(distributed, two_processes, tmp_path):
    # Without --scale-schedule.
    options = distributed[1][1:]
    arguments = (RECIPE, two_processes.checkpoint, 2, '--out', tmp_path / 'test.json', *options)
    tiny.succeed('dist_test.sh', *arguments, cwd=tmp_path, env=probed(tmp_path / 'probe', PORT=tiny.free_port()))
    (validation,) = [row for row in tiny.scalars(two_processes.work_dir) if 'accuracy/top1' in row]
    metrics = json.loads((tmp_path / 'test.json').read_text())
    assert metrics == {key: validation[key] for key in ('accuracy/top1', 'accuracy/top5')}


# Table 4: which of the terms each column has. The first column is the plain baseline's own config.
TERMS = ('feature', 'dis', 'b_logit', 'cls_h', 'f_logit')
TABLE_4 = {
    'task': (),
    'feature': ('feature',),
    'feature + dis': ('feature', 'dis'),
    'b_logit': ('b_logit',),
    'cls_h + f_logit': ('cls_h', 'f_logit'),
    'logit': ('b_logit', 'cls_h', 'f_logit'),
    'all': TERMS,
}


def weights(terms):
    logit = {term: float(term in terms) for term in ('b_logit', 'cls_h', 'f_logit')}
    return dict(feature_weight=float('feature' in terms), dis_weight=float('dis' in terms), logit_weight=logit)


@pytest.fixture(scope='module')
def columns():
    # One start for all; beside the columns, the parts that never learn.
    options = [weights(terms) for terms in TABLE_4.values()]
    options.append(weights(('f_logit',)))
    options.append(dict(weights(TERMS), discriminator=dict(type='Discriminator', num_logits=2, frozen=True)))
    command = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2', f'--master_port={tiny.free_port()}']
    script = Path(__file__).parent / 'table4.py'
    command += [script, json.dumps(options)]
    output = subprocess.run(command, env=tiny.environment(), capture_output=True, text=True, timeout=tiny.PATIENCE)
    assert output.returncode == 0, output.stderr[-3000:]
    (results,) = [line for line in output.stdout.splitlines() if line.startswith('RESULTS ')]
    return dict(zip([*TABLE_4, 'f_logit alone', 'frozen discriminators'], json.loads(results[8:]), strict=True))


@pytest.mark.parametrize('column', TABLE_4)
def test_each_column_of_table_4_trains_all_that_it_builds(columns, column):
    result = columns[column]
    assert result['terms'] == sorted(['loss_cls', *(f'loss_{term}' for term in TABLE_4[column])])
    assert result['equal'] and result['finite']
    assert result['frozen'] == [] and result['unchanged'] == []
    assert result['lams'][0] != result['lams'][1]


@pytest.mark.parametrize(
    ('column', 'part'), [('f_logit alone', 'self_teacher.'), ('frozen discriminators', 'discriminators.')]
)
def test_parts_that_do_not_learn_do_not_disturb(columns, column, part):
    result = columns[column]
    assert result['equal'] and result['finite']
    assert result['frozen'] == result['unchanged'] != []
    assert all(name.startswith(part) for name in result['frozen'])
