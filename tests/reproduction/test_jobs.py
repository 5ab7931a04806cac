"""Which runs a table needs, their folders and configs."""

from __future__ import annotations

import shutil

import pytest
import tiny

from mixskd_mm.errors import InputError
from mixskd_mm.reproduction.budget import Budget
from mixskd_mm.reproduction.jobs import Job, list_jobs, metrics_of
from mixskd_mm.reproduction.tables import TABLES

CONFIGS = tiny.ROOT / 'configs'


def test_one_seed_after_another():
    jobs = list_jobs(CONFIGS, 'table1', ['baseline', 'mixskd'], ['wrn16-2', 'r18'], seeds=2)
    order = [(job.seed, job.column, job.row) for job in jobs]
    networks = [(column, row) for column in ('wrn16-2', 'r18') for row in ('baseline', 'mixskd')]
    assert order == [(seed, *network) for seed in (0, 1) for network in networks]


def test_all_rows_with_a_config_and_the_columns_of_the_paper():
    for table in ('table1', 'table2'):
        rows = [
            name
            for name, row in TABLES[table].rows.items()
            if (CONFIGS / f'cifar100/{row.config}_r18_cifar100.py').is_file()
        ]
        assert {'baseline', 'mixup', 'frskd+mixup', 'mixskd'} <= set(rows)
        jobs = list_jobs(CONFIGS, table, seeds=1)
        assert [(job.column, job.row) for job in jobs] == [(c, row) for c in TABLES[table].columns for row in rows]
        assert len(list_jobs(CONFIGS, table)) == 3 * len(jobs)
    assert [job.column for job in list_jobs(CONFIGS, 'table4', seeds=1)] == 8 * ['r50']
    assert {job.column for job in list_jobs(CONFIGS, 'table5-fgsm')} == {'wrn16-2'}


def test_tables_share_the_runs_that_are_the_same():
    folders = {
        Job('table1', 'mixskd', 'r18', 0).folder,
        Job('table4', 'all', 'r18', 0).folder,
        Job('table5-temperature', '3', 'r18', 0).folder,
        Job('table5-stage', 'all', 'r18', 0).folder,
        Job('table5-fgsm', 'mixskd', 'r18', 0).folder,
    }
    assert len(folders) == 1


def test_other_runs_have_other_folders():
    jobs = [
        job
        for table in ('table1', 'table4', 'table5-stage')
        for job in list_jobs(CONFIGS, table, columns=['r18'], seeds=2)
    ]
    jobs += [Job('table1', 'mixskd', 'r18', 0, Budget(0.1)), Job('table1', 'mixskd', 'r18', 0, Budget(subset=10))]
    jobs += [Job('table3-transfer', row, 'coco', 0) for row in ('baseline', 'mixup', 'mixskd')]
    shared = 2 * 3  # table4 and table5-stage have the whole of MixSKD, and table4 the baseline, of two seeds
    assert len({job.folder for job in jobs}) == len(jobs) - shared


def test_the_config_is_the_recipe_with_seed_data_and_overrides(tmp_path):
    job = Job('table4', 'b_logit', 'r18', 2, data_root='/elsewhere', options={'train_dataloader.num_workers': 7})
    cfg = job.config(CONFIGS, tmp_path)
    assert cfg.randomness.seed == 2
    assert (cfg.model.feature_weight, cfg.model.dis_weight) == (0, 0)
    assert cfg.model.logit_weight == dict(cls_h=0, f_logit=0)
    for loader in ('train', 'val', 'test'):
        assert cfg[f'{loader}_dataloader'].dataset.data_root == '/elsewhere/cifar100'
    assert cfg.train_dataloader.num_workers == 7
    assert cfg.train_cfg.max_epochs == 205


@pytest.mark.parametrize(
    ('table', 'row', 'column', 'expected', 'overrides'),
    [
        ('table1', 'cutmix', 'densenet40-12', ('DenseNet_CIFAR', 'ImageClassifier', 'CIFAR100'), {}),
        ('table1', 'frskd+mixup', 'wrn16-2', ('WideResNet_CIFAR', 'FRSKDClassifier', 'CIFAR100'), {}),
        ('table2', 'mixskd', 'mit67', ('ResNet', 'MixSKDClassifier', 'MITIndoor67'), {}),
        ('table2', 'cs-kd', 'cars', ('ResNet', 'CSKDClassifier', 'StanfordCars'), dict(kd_weight=3.0)),
        (
            'table3',
            'frskd',
            'r50',
            ('ResNet', 'FRSKDClassifier', 'ImageNet'),
            dict(self_teacher=dict(width=1, depth=1)),
        ),
        ('table5-stage', '2', 'hcgnet-a1', ('HCGNet_CIFAR', 'MixSKDClassifier', 'CIFAR100'), dict(teacher_stages=[2])),
    ],
)
def test_a_method_goes_onto_the_baseline_of_the_column(tmp_path, table, row, column, expected, overrides):
    job = Job(table, row, column, 0)
    cfg = job.config(CONFIGS, tmp_path)
    assert (cfg.model.backbone.type, cfg.model.type, cfg.train_dataloader.dataset.type) == expected
    # What the table says of it there.
    changed = {key: cfg.model[key] for key in ('self_teacher', 'kd_weight', 'teacher_stages') if key in cfg.model}
    assert changed == overrides


def test_a_config_of_its_own_comes_first(tmp_path):
    assert Job('table3', 'mixskd', 'r50', 0).config(CONFIGS, tmp_path).data_preprocessor.alpha == 0.2
    assert Job('table1', 'mixskd', 'r18', 0).config(CONFIGS, tmp_path).data_preprocessor.alpha == 0.4


def test_a_method_that_the_paper_does_not_have_is_a_row_as_soon_as_it_has_a_config(tmp_path):
    with pytest.raises(InputError, match='--rows mine: expected some of baseline'):
        list_jobs(CONFIGS, 'table1', ['mine'])
    configs = shutil.copytree(CONFIGS, tmp_path / 'configs')
    lines = "_base_ = 'baseline_r18_cifar100.py'\nmodel = dict(type='Mine')\n"
    (configs / 'cifar100/mine_r18_cifar100.py').write_text(lines)
    jobs = list_jobs(configs, 'table1', ['mine', 'mixup'], seeds=1)
    assert [(job.row, job.column) for job in jobs[:3]] == [('mine', 'r18'), ('mixup', 'r18'), ('mine', 'wrn16-2')]
    assert 'mine' not in {job.row for job in list_jobs(configs, 'table1', seeds=1)}
    assert (jobs[2].title, jobs[2].folder.parts) == ('mine, WRN-16-2, seed 0', ('mine_wrn16-2_cifar100', 'seed0'))
    cfg = jobs[2].config(configs, tmp_path)
    assert (cfg.model.type, cfg.model.backbone.type) == ('Mine', 'WideResNet_CIFAR')


def test_transfer_needs_the_pretraining_and_takes_its_last_checkpoint(tmp_path):
    job = Job('table3-transfer', 'mixup', 'coco', 1, data_root='/elsewhere')
    with pytest.raises(
        InputError, match=r'mixup_r50_imagenet/seed1 is not done: run `tools/reproduce.py table3` before'
    ):
        job.config(CONFIGS, tmp_path)
    folder = tmp_path / 'mixup_r50_imagenet' / 'seed1'
    folder.mkdir(parents=True)
    (folder / 'result.json').write_text('{}')
    (folder / 'last_checkpoint').write_text('/runs/epoch_305.pth')
    cfg = job.config(CONFIGS, tmp_path)
    assert cfg.model.backbone.init_cfg.checkpoint == '/runs/epoch_305.pth'
    assert cfg.test_evaluator.ann_file == '/elsewhere/coco/annotations/instances_val2017.json'
    assert (job.gpus, Job('table1', 'mixup', 'r18', 0).gpus) == (8, 1)


def test_what_a_table_shows_of_the_metrics():
    assert metrics_of(Job('table1', 'mixup', 'r18', 0), {'accuracy/top1': 78.5, 'accuracy/top5': 95}) == {'r18': 78.5}
    assert metrics_of(Job('table3-transfer', 'mixup', 'coco', 0), {'coco/bbox_mAP': 0.411}) == pytest.approx(
        {'coco': 41.1}
    )
    assert metrics_of(Job('table3-transfer', 'mixup', 'coco', 0), {}) == {'coco': 0}
    assert metrics_of(Job('table3-transfer', 'mixup', 'voc12aug', 0), {'mIoU': 76.7, 'aAcc': 94}) == {'voc12aug': 76.7}
    # The paper's mean is over all 182 classes.
    stuff = {'mIoU': 36.0, 'mIoU_all': 33.4}
    assert metrics_of(Job('table3-transfer', 'mixup', 'coco-stuff164k', 0), stuff) == {'coco-stuff164k': 33.4}


def test_imagenet_has_two_numbers():
    metrics = {'accuracy/top1': 78.5, 'accuracy/top5': 94.0}
    assert metrics_of(Job('table3', 'mixup', 'r50', 0), metrics) == {'top-1': 78.5, 'top-5': 94.0}


def test_rows_and_networks_named_twice_are_trained_once():
    assert len(list_jobs(CONFIGS, 'table1', ['mixup', 'mixup'], ['r18', 'r18'], seeds=2)) == 2


def test_refuses_a_stage_that_no_network_has():
    with pytest.raises(InputError, match='--rows 4 --nets wrn16-2: only r18 and r50 have a fourth stage'):
        list_jobs(CONFIGS, 'table5-stage', ['4'], ['wrn16-2'])


def test_checkpoints_name_recipe_and_seed():
    """ProvenanceHook writes the name of the config."""
    assert Job('table1', 'mixup', 'r18', 2).config_file.name == 'mixup_r18_cifar100_seed2.py'


def test_supermix_needs_the_teacher_and_the_images_mixed_for_it(tmp_path):
    job = Job('supermix', 'supermix-kd-release', 'r56_r20', 1, data_root=str(tmp_path / 'data'))
    assert job.folder.parts == ('supermix-kd-release_r20_cifar100-600e-from-r56', 'seed1')
    with pytest.raises(InputError) as error:
        job.config(CONFIGS, tmp_path)
    teacher = tmp_path / 'baseline_r56_cifar100-600e' / 'seed0'
    assert str(error.value).endswith(f'{teacher} is not done: run `tools/reproduce.py supermix --rows teacher` before')
    teacher.mkdir(parents=True)
    (teacher / 'result.json').write_text('{}')
    (teacher / 'last_checkpoint').write_text('/runs/epoch_600.pth')
    mixed = tmp_path / 'data' / 'supermix_r56'
    config = CONFIGS / 'supermix' / 'baseline_r56_cifar100-600e.py'
    with pytest.raises(InputError) as error:
        job.config(CONFIGS, tmp_path)
    assert str(error.value).endswith(
        f'{mixed} has no mixed images: run `tools/supermix.py {config} /runs/epoch_600.pth {mixed} --count 500000` before'
    )
    mixed.mkdir(parents=True)
    (mixed / 'supermix.jsonl').touch()
    cfg = job.config(CONFIGS, tmp_path)
    assert (cfg.model.type, cfg.model.backbone.depth, cfg.model.ce_weight) == ('SuperMixClassifier', 20, 1.8)
    assert (cfg.model.teacher, cfg.model.teacher_checkpoint) == (str(config), '/runs/epoch_600.pth')
    natural, images = cfg.train_dataloader.dataset.datasets
    assert (natural.data_root, images.data_root) == (str(tmp_path / 'data' / 'cifar100'), str(mixed))
    part = Job('supermix', 'supermix', 'r56_r20', 0, Budget(0.1, 5), data_root=str(tmp_path / 'data'))
    assert part.pretraining.budget == part.budget


def test_supermix_trains_each_teacher_and_student_once():
    jobs = list_jobs(CONFIGS, 'supermix', ['teacher', 'baseline', 'supermix'], seeds=1)
    folders = {}
    for job in jobs:
        folders.setdefault(job.row, []).append(job.folder.parts[0])
    assert len(set(folders['teacher'])) == 5 and len(set(folders['baseline'])) == 6
    assert len(set(folders['supermix'])) == len(TABLES['supermix'].columns) == 7
    assert 'baseline_wrn40-2_cifar100-600e' in folders['teacher']
    assert 'baseline_wrn16-2_cifar100-600e' in folders['baseline']
