"""tools/analysis on tiny trained models: their numbers against a plain recomputation from images and checkpoint."""

import copy
import json

import cv2
import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from sklearn.linear_model import LogisticRegression

from mixskd_mm.checkpoints.export import export

EPSILONS = [0.0, 0.01, 0.1]
LAMS = [0.0, 0.3, 0.5, 1.0]
# Until some two thirds of the test images are right.
TRAINING = {
    'train_cfg.max_epochs': 16,
    'optim_wrapper.optimizer.lr': 0.1,
    'param_scheduler': [dict(type='CosineAnnealingLR', T_max=16, by_epoch=True, convert_to_iter_based=True)],
    'default_hooks.checkpoint.interval': 16,
}


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Config and checkpoint of a baseline and a MixSKD model, one after the other as the tools take them."""
    files = []
    for method in ('baseline', 'mixskd'):
        folder = tmp_path_factory.mktemp(method)
        tiny.train(tiny.make_config(folder, TRAINING, method=method))
        files += [tiny.write_config(folder, method=method), folder / 'epoch_16.pth']
    return files


@pytest.fixture(scope='module')
def networks(trained):
    """Backbone and head of both, built and loaded by hand."""
    networks = []
    for method, checkpoint in zip(('baseline', 'mixskd'), trained[1::2]):
        cfg = tiny.make_config('unused', method='baseline')
        model = MODELS.build(dict(cfg.model, data_preprocessor=None)).eval()
        state = tiny.load(checkpoint)['state_dict']
        auxiliary = ('branches.', 'self_teacher.', 'discriminators.')
        assert any(name.startswith(auxiliary) for name in state) == (method == 'mixskd')
        model.load_state_dict({name: value for name, value in state.items() if not name.startswith(auxiliary)})
        networks.append(model)
    return networks


@pytest.fixture(scope='module')
def data():
    """Test images in RGB from 0 to 255, float32, and their labels."""
    files = sorted((tiny.digits() / 'test').rglob('*.png'))
    images = np.stack([cv2.imread(str(file))[..., ::-1] for file in files]).transpose(0, 3, 1, 2)
    return torch.tensor(images.astype(np.float32)), torch.tensor([int(file.parent.name) for file in files])


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """Function: run a tool in this process; returns the folder that it wrote and what it printed."""

    def run(tool, *args, out=None):
        out = out or tmp_path_factory.mktemp(tool)
        with pytest.MonkeyPatch.context() as monkeypatch, tiny.running():
            monkeypatch.setenv('LOCAL_RANK', '0')
            tiny.run_script(
                f'tools/analysis/{tool}.py', *args, '--out', out, '--device', 'cpu', monkeypatch=monkeypatch
            )
        assert sorted(file.name for file in out.iterdir()) == [f'{tool}.json', f'{tool}.png']
        height, width, _ = cv2.imread(str(out / f'{tool}.png')).shape
        assert height > 300 and width > 500
        return json.loads((out / f'{tool}.json').read_text())

    return run


def normalise(images):
    return (images - 128) / 128


def accuracy(logits, labels):
    return 100 * (logits.argmax(1) == labels).float().mean().item()


def cells(text):
    """The tables that a tool printed, cell by cell."""
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in text.splitlines() if line.startswith('|')]


def test_fgsm(run, trained, networks, data, capsys):
    results = run('fgsm', *trained, '--names', 'Baseline', 'MixSKD', '--eps', *EPSILONS)
    printed, progress = capsys.readouterr()
    images, labels = data
    assert list(results['models']) == ['Baseline', 'MixSKD'] and results['images'] == 50
    assert results['epsilons'] == EPSILONS
    for model, network in zip(results['models'].values(), networks):
        expected = []
        for epsilon in EPSILONS:
            # In the network's own space, whose values are twice those from 0 to 1, less 1 (and 128 instead of 127.5).
            x = normalise(images).requires_grad_()
            gradient = torch.autograd.grad(F.cross_entropy(network(x), labels), x)[0]
            attacked = x + epsilon * 255 / 128 * gradient.sign()
            attacked = attacked.clamp(-1, 127 / 128)
            expected.append(accuracy(network(attacked), labels))
        # A sample on the boundary may fall to either side.
        assert model['top1'] == pytest.approx(expected, abs=2.01)
        assert model['top1'][0] == pytest.approx(expected[0])
        assert 20 < expected[0] <= 100 and expected[-1] < expected[0]
    for i, (config, checkpoint) in enumerate(zip(trained[::2], trained[1::2])):
        model = list(results['models'].values())[i]
        assert [model['config'], model['checkpoint']] == [str(config), str(checkpoint)]
    rows = cells(printed)
    assert rows[0] == ['eps', 'Baseline', 'MixSKD'] and rows[-1][0] == '0.1'
    assert [float(row[1]) for row in rows[2:]] == results['models']['Baseline']['top1']
    assert 'Baseline: 1/1, ' in progress and '/s, 0 s left\n' in progress


def test_fgsm_without_perturbation_is_the_test_accuracy(run, trained, tmp_path):
    results = run('fgsm', *trained[2:], '--eps', 0)
    metrics = tiny.evaluate(tiny.make_config(tmp_path, method='mixskd'), trained[3])
    assert results['models'] == {
        'tiny': dict(config=str(trained[2]), checkpoint=str(trained[3]), top1=[pytest.approx(metrics['accuracy/top1'])])
    }


def test_miss_rate(run, trained, networks, data, capsys):
    results = run('miss_rate', *trained, '--lams', *LAMS, '--seed', 4)
    images, labels = data
    partners = np.random.default_rng(4).permutation(50)
    assert list(results['models']) == ['tiny 1', 'tiny 2']
    assert results['lams'] == LAMS and results['seed'] == 4
    for model, network in zip(results['models'].values(), networks):
        expected = []
        for lam in LAMS:
            predicted = network(normalise(lam * images + (1 - lam) * images[partners])).argmax(1)
            expected.append(100 * ((predicted != labels) & (predicted != labels[partners])).float().mean().item())
        assert model['miss_rate'] == pytest.approx(expected, abs=2.01)
        assert model['miss_rate'][-1] == pytest.approx(expected[-1])
        assert 0 < max(expected) < 100
    assert cells(capsys.readouterr().out)[0] == ['lam', 'tiny 1', 'tiny 2']
    other = run('miss_rate', *trained[:2], '--lams', *LAMS, '--seed', 5)
    assert other['models']['tiny']['miss_rate'] != results['models']['tiny 1']['miss_rate']


def test_log_probabilities(run, trained, networks, data, capsys, tmp_path):
    # Neither answers 0, so that they have errors in common whatever they have learnt on this machine.
    networks, files = copy.deepcopy(networks), list(trained)
    for i, network in enumerate(networks):
        checkpoint = tiny.load(trained[2 * i + 1])
        for bias in (checkpoint['state_dict']['head.fc.bias'], network.head.fc.bias.data):
            bias[0] -= 20
        files[2 * i + 1] = tmp_path / f'{i}.pth'
        torch.save(checkpoint, files[2 * i + 1])
    results = run('log_probabilities', *files, '--names', 'a', 'b')
    images, labels = data
    log_p = [F.log_softmax(network(normalise(images)), 1) for network in networks]
    wrong = (log_p[0].argmax(1) != labels) & (log_p[1].argmax(1) != labels)
    assert results['common_errors'] == wrong.sum() > 0
    for model, logs in zip(results['models'].values(), log_p):
        values = dict(predicted=logs.max(1).values[wrong], true=logs[range(50), labels][wrong])
        for panel, expected in values.items():
            edges = results['bin_edges'][panel]
            assert len(edges) == 31 and edges[-1] == 0 and edges[0] <= expected.min()
            assert model[panel]['mean'] == pytest.approx(expected.mean().item(), rel=1e-4)
            assert model[panel]['counts'] == np.histogram(expected.detach().numpy(), edges)[0].tolist()
    rows = cells(capsys.readouterr().out)
    assert [row[0] for row in rows] == ['model', '---', 'a', 'b']
    assert float(rows[2][2]) == pytest.approx(results['models']['a']['true']['mean'], rel=1e-3)


def test_linearity(run, trained, networks, data, capsys):
    results = run('linearity', *trained, '--lams', *LAMS, '--seed', 4)
    images, _ = data
    images = normalise(images)
    partners = np.random.default_rng(4).permutation(50)
    for model, network in zip(results['models'].values(), networks):
        assert list(model['stages']) == ['phi_1', 'phi_2', 'phi_3', 'F_K']
        for n, lam in enumerate(LAMS):
            clean, clean_logits = forward(network, images)
            mixed, mixed_logits = forward(network, lam * images + (1 - lam) * images[partners])
            for stage, one, other in zip(model['stages'].values(), clean, mixed, strict=True):
                between = lam * one + (1 - lam) * one[partners]
                mean_squared = np.mean((between - other) ** 2)
                relative = np.linalg.norm(between - other) / np.linalg.norm(between)
                assert stage['mean_squared'][n] == pytest.approx(mean_squared, rel=1e-3, abs=1e-9)
                assert stage['relative'][n] == pytest.approx(relative, rel=1e-3, abs=1e-5)
            p = softmax(lam * clean_logits + (1 - lam) * clean_logits[partners])
            q = softmax(mixed_logits)
            kl = [np.mean(np.sum(a * np.log(a / b), axis=1)) for a, b in ((p, q), (q, p))]
            found = [model['kl_interpolated_mixed'][n], model['kl_mixed_interpolated'][n]]
            assert found == pytest.approx(kl, rel=1e-3, abs=1e-6)
        # It vanishes at the ends, and only there.
        assert min(model['stages']['F_K']['relative'][1:3]) > 0.05 and min(model['kl_mixed_interpolated'][1:3]) > 1e-3
    rows = cells(capsys.readouterr().out)
    assert [row[0] for row in rows[2:]] == [
        *('phi_1, relative', 'phi_2, relative', 'phi_3, relative', 'F_K, relative'),
        *('KL(interpolated ‖ mixed), nats', 'KL(mixed ‖ interpolated), nats'),
    ]
    means = [np.mean(model['kl_mixed_interpolated']) for model in results['models'].values()]
    assert [float(cell) for cell in rows[-1][1:]] == pytest.approx(means, rel=1e-3)


def forward(network, images):
    """Outputs of the stages and logits, float64."""
    with torch.no_grad():
        backbone = network.backbone
        x = backbone.relu(backbone.norm1(backbone.conv1(images)))
        stages = []
        for layer in (backbone.layer1, backbone.layer2, backbone.layer3, backbone.layer4):
            stages.append(x := layer(x))
        logits = network.head.fc(x.mean((2, 3)))
    return [stage.double().numpy() for stage in stages], logits.double().numpy()


def softmax(logits):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def pooled(network, files):
    """Features of images, float64 ``(N, D)``."""
    images = np.stack([cv2.imread(str(file))[..., ::-1] for file in files]).transpose(0, 3, 1, 2).astype(np.float32)
    with torch.no_grad():
        return network.backbone(normalise(torch.tensor(images)))[-1].mean((2, 3)).double().numpy()


def test_calibration(run, trained, networks, data, capsys):
    results = run('calibration', *trained, '--bins', 10)
    images, labels = data
    for model, network in zip(results['models'].values(), networks):
        p = softmax(network(normalise(images)).detach().double().numpy())
        confidence, correct = p.max(axis=1), p.argmax(axis=1) == labels.numpy()
        index = np.minimum((confidence * 10).astype(int), 9)
        gaps = [abs(correct[index == k].sum() - confidence[index == k].sum()) for k in range(10)]
        assert model['ece'] == pytest.approx(100 * sum(gaps) / 50, abs=1e-2)
        assert model['top1'] == pytest.approx(100 * correct.mean()) and sum(model['counts']) == 50
        assert model['nll'] == pytest.approx(-np.log(p[range(50), labels]).mean(), rel=1e-3)
    rows = cells(capsys.readouterr().out)
    assert rows[0] == ['model', 'top-1 (%)', 'mean confidence (%)', 'ECE (%)', 'NLL (nats)']
    assert float(rows[2][3]) == pytest.approx(results['models']['tiny 1']['ece'], rel=1e-3)


@pytest.fixture(scope='module')
def probed(networks):
    """Of both networks: top-1 of 3 nearest neighbours and of scikit-learn's logistic regression."""
    files = [sorted((tiny.digits() / split).rglob('*.png')) for split in ('train', 'test')]
    expected = []
    for network in networks:
        (train, test), (labels, true) = zip(
            *((pooled(network, some), np.array([int(file.parent.name) for file in some])) for some in files)
        )
        a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (train, test))
        knn = []
        for similarity in b @ a.T:
            votes = np.zeros(10)
            for n in np.argsort(-similarity)[:3]:
                votes[labels[n]] += np.exp(similarity[n] / 0.07)
            knn.append(votes.argmax())
        mean, std = train.mean(axis=0), train.std(axis=0, ddof=1)
        linear = LogisticRegression(tol=1e-8, max_iter=10_000).fit((train - mean) / std, labels)
        expected.append([100 * np.mean(knn == true), 100 * linear.score((test - mean) / std, true)])
    return expected


def test_probe(run, trained, probed):
    results = run('probe', *trained, '--k', 3)
    for model, expected in zip(results['models'].values(), probed):
        # A sample between two classes may fall to either side.
        assert [model['knn'], model['linear_probe']] == pytest.approx(expected, abs=2.01)
        assert min(expected) > 30


def test_probe_of_exports_and_of_weights_without_a_head(run, trained, tmp_path):
    """All forms of the same backbone, also with the head of other classes."""
    config, checkpoint = trained[2:]
    forms = [tmp_path / name for name in ('mm.pth', 'mm.safetensors', 'torchvision.pth')]
    for file in forms[:2]:
        export(str(checkpoint), str(file), 'safetensors' if file.suffix == '.safetensors' else 'mm')
    state = tiny.load(forms[0])['state_dict']
    # As torchvision names and older ones leave out, with 1000 classes.
    weights = {
        name.removeprefix('backbone.'): value
        for name, value in state.items()
        if name.startswith('backbone.') and not name.endswith('num_batches_tracked')
    }
    torch.save({**weights, 'fc.weight': torch.zeros(1000, 64), 'fc.bias': torch.zeros(1000)}, forms[2])
    models = [str(one) for form in (checkpoint, *forms) for one in (config, form)]
    results = run('probe', *models, '--k', 3, '--images', 25)['models']
    numbers = [(model['knn'], model['linear_probe']) for model in results.values()]
    assert len(numbers) == 4 and len(set(numbers)) == 1
    # Their heads fit or are refused where they count.
    assert run('calibration', *models[:6], '--images', 10)['models']['tiny 3']['nll'] > 0


def test_confusion_matrix(run, trained, networks, data, capsys):
    results = run('confusion_matrix', *trained)
    images, labels = data
    assert results['classes'] == [str(digit) for digit in range(10)]
    for model, network in zip(results['models'].values(), networks):
        expected = np.zeros((10, 10), int)
        for label, predicted in zip(labels, network(normalise(images)).argmax(1)):
            expected[label, predicted] += 1
        assert model['matrix'] == expected.tolist()
        np.fill_diagonal(expected, 0)
        first = model['most_confused'][0]
        assert first['images'] == expected.max() == expected[int(first['label']), int(first['predicted'])] > 0
    assert cells(capsys.readouterr().out)[0] == ['model', 'label', 'predicted', 'images']


@pytest.fixture(scope='module')
def archive(tmp_path_factory):
    """In ImageNet-C's layout: severity s of fog is the image, s times 30 brighter."""
    folder = tmp_path_factory.mktemp('digits-c')
    for severity in (1, 2, 3, 4, 5):
        for file in (tiny.digits() / 'test').rglob('*.png'):
            target = folder / 'fog' / str(severity) / file.parent.name / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(target), cv2.add(cv2.imread(str(file)), (30 * severity,) * 4))
    return folder


def test_corruptions_and_compare(run, trained, networks, data, probed, archive, capsys):
    images, labels = data
    options = ('--archive', archive, '--corruptions', 'fog', '--severities', 5, 2)
    expected = [
        [100 - accuracy(network(normalise((images + 30 * s).clamp(max=255))), labels) for s in (2, 5)]
        for network in networks
    ]
    results = run('corruptions', *trained, *options)
    assert results['severities'] == [2, 5] and results['archive'] == str(archive)
    found = [model['errors']['fog'] for model in results['models'].values()]
    assert np.array(found) == pytest.approx(np.array(expected), abs=2.01)
    assert all(model['mce'] is None for model in results['models'].values())
    assert np.mean(expected) > 10
    capsys.readouterr()

    measures = ('--measures', 'corruptions', 'calibration', 'probe', '--k', 3)
    compared = run('compare', *trained, *options, *measures, '--names', 'Baseline', 'MixSKD')['models']
    for model, errors, numbers, network in zip(compared.values(), found, probed, networks):
        assert model['corruption_error'] == pytest.approx(np.mean(errors))
        assert [model['knn'], model['linear_probe']] == pytest.approx(numbers, abs=2.01)
        assert model['top1'] == pytest.approx(accuracy(network(normalise(images)), labels))
    rows = cells(capsys.readouterr().out)
    columns = ['top-1 (%)', 'ECE (%)', 'NLL (nats)', 'kNN top-1 (%)', 'linear probe top-1 (%)', 'corruption error (%)']
    assert rows[0] == ['model', *columns] and [row[0] for row in rows[2:]] == ['Baseline', 'MixSKD']


def test_compare_without_options_is_what_the_other_tools_say(run, trained):
    few = (*trained[:2], '--images', 20)
    (model,) = run('compare', *few)['models'].values()
    (attacked,) = run('fgsm', *few, '--eps', 0.01)['models'].values()
    (missed,) = run('miss_rate', *few, '--lams', 0.5)['models'].values()
    assert [model['fgsm'], model['miss_rate']] == [attacked['top1'][0], missed['miss_rate'][0]]
    assert {'top1', 'ece', 'nll', 'knn', 'linear_probe'} <= set(model) and 'corruption_error' not in model


@pytest.mark.parametrize('tool', ['fgsm', 'linearity'])
def test_a_second_run_writes_the_same(run, tool, trained, tmp_path):
    few = (*trained[:2], '--images', 20)
    outs = [tmp_path / name for name in ('one', 'two')]
    for out in outs:
        assert run(tool, *few, out=out)['images'] == 20
    for kind in ('json', 'png'):
        one, two = ((out / f'{tool}.{kind}').read_bytes() for out in outs)
        assert one == two


def test_options_reach_the_config(run, trained):
    options = ('test_dataloader.dataset.data_prefix=train', 'test_dataloader.batch_size=9')
    assert run('miss_rate', *trained[:2], '--lams', 0.5, '--cfg-options', *options)['images'] == 40


@pytest.mark.parametrize(
    'tool',
    [
        *('fgsm', 'miss_rate', 'log_probabilities', 'linearity'),
        *('calibration', 'probe', 'corruptions', 'confusion_matrix', 'compare'),
    ],
)
def test_help(tool, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        tiny.run_script(f'tools/analysis/{tool}.py', '--help', monkeypatch=monkeypatch)
    text = capsys.readouterr().out
    assert 'CONFIG CHECKPOINT [CONFIG CHECKPOINT ...]' in text and f'work_dirs/analysis/{tool}' in text
    path = tiny.ROOT / 'tools/analysis' / f'{tool}.py'
    assert path.stat().st_mode & 0o111 == 0o111 and path.read_text().startswith('#!/usr/bin/env python\n"""')


@pytest.fixture
def error_of(monkeypatch, tmp_path):
    def error_of(tool, *args):
        options = ('--out', tmp_path / 'out', '--device', 'cpu')
        message = tiny.error_of(f'analysis/{tool}.py', *args, *options, monkeypatch=monkeypatch)
        assert not list(tmp_path.glob('out/*'))
        return message

    return error_of


@pytest.mark.parametrize('eps', ['-0.1', 'nan', 'inf', 'a'])
def test_eps_that_is_none(error_of, trained, eps):
    message = error_of('fgsm', *trained, '--eps', 0.1, eps)
    assert message == f'error: --eps {eps}: expected finite numbers >= 0'


@pytest.mark.parametrize('tool', ['miss_rate', 'linearity'])
@pytest.mark.parametrize('lam', ['-0.1', '1.01', 'nan', 'half'])
def test_lam_outside_0_to_1(error_of, trained, tool, lam):
    assert error_of(tool, *trained, '--lams', lam) == f'error: --lams {lam}: expected numbers in [0, 1]'


@pytest.mark.parametrize('tool', ['fgsm', 'miss_rate', 'linearity'])
def test_a_config_without_a_checkpoint(error_of, trained, tool):
    message = error_of(tool, *trained[:3])
    assert message.startswith('error: got 3 files, ') and message.endswith(': expected CONFIG CHECKPOINT pairs')


@pytest.mark.parametrize('count', [2, 3])
def test_log_probabilities_compare_two(error_of, trained, count):
    message = error_of('log_probabilities', *trained[:count])
    assert message == f'error: got {count} files: expected CONFIG CHECKPOINT of two models'


@pytest.mark.parametrize('names', [['one'], ['one', 'one'], ['one', 'two', 'three']])
def test_names_that_do_not_tell_models_apart(error_of, trained, names):
    message = error_of('fgsm', *trained, '--names', *names)
    assert message == f'error: --names {" ".join(names)}: expected 2 different names, one a checkpoint'


def test_values_of_the_other_tools(error_of, trained):
    message = error_of('corruptions', *trained[:2], '--severities', '6')
    assert message == 'error: --severities 6: expected some of 1 2 3 4 5'
    message = error_of('compare', *trained[:2], '--corruptions', 'rain')
    assert message.startswith('error: --corruptions rain: expected some of gaussian_noise shot_noise ')
    message = error_of('probe', *trained[:2], '--k', '41')
    assert message == 'error: k=41 neighbours: expected 1 to 40, as many as there are training images'
    message = error_of('probe', *trained[:2], '--train-images', '41')
    assert message == 'error: 41 training images asked for: expected 1 to 40, as many as tiny has'
    assert error_of('calibration', *trained[:2], '--bins', '0') == 'error: --bins 0: expected a number > 0'
    # 16 x 16 pixels.
    message = error_of('corruptions', *trained[:2])
    assert message.startswith(
        'error: corruptions got an image (3, 16, 16) of type torch.uint8: expected torch.uint8 and'
    )


def test_missing_files(error_of, trained, tmp_path):
    assert error_of('fgsm', trained[0], tmp_path / 'no.pth') == f'error: checkpoint {tmp_path}/no.pth does not exist'
    assert error_of('fgsm', tmp_path / 'no.py', trained[1]) == f'error: config {tmp_path}/no.py does not exist'


def test_the_checkpoint_of_another_model(error_of, trained):
    message = error_of('fgsm', *trained[:2], '--cfg-options', 'model.head.num_classes=12')
    assert message.startswith(f'error: checkpoint {trained[1]} has 2 of another shape (first: head.fc.weight, (10, 64)')


def test_models_with_other_test_data(error_of, trained, tmp_path):
    other = tiny.write_config(tmp_path, extra="test_dataloader['dataset']['data_prefix'] = 'train'\n")
    message = error_of('miss_rate', *trained[:2], other, trained[3], '--names', 'a', 'b')
    assert message == 'error: a and b have different test data: expected configs with the same'


def test_a_device_that_is_none(trained, tmp_path, monkeypatch):
    args = (*trained, '--out', tmp_path / 'out', '--device', 'nosuch')
    message = tiny.error_of('analysis/fgsm.py', *args, monkeypatch=monkeypatch)
    assert message.startswith('error: --device nosuch cannot be used (')


def test_a_folder_that_cannot_be_made(trained, tmp_path, monkeypatch):
    (tmp_path / 'out').write_text('a file')
    message = tiny.error_of('analysis/fgsm.py', *trained, '--out', tmp_path / 'out', monkeypatch=monkeypatch)
    assert message == f'error: --out {tmp_path}/out cannot be made: File exists'


@pytest.mark.parametrize('tool', ['miss_rate', 'linearity'])
def test_a_negative_seed(trained, error_of, tool):
    assert error_of(tool, *trained, '--seed', '-1') == 'error: --seed -1: expected a number >= 0'
