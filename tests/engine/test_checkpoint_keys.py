import pytest
import tiny
import torch

from mixskd_mm.checkpoints.load import check_keys
from mixskd_mm.errors import InputError

ONE_EPOCH = {'train_cfg.max_epochs': 1}


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('keys')
    tiny.train(tiny.make_config(work_dir, ONE_EPOCH))
    return work_dir / 'epoch_1.pth'


@pytest.fixture
def changed(trained, tmp_path):
    """Function: a copy of the checkpoint whose state dict ``change`` has changed."""

    def make(change):
        checkpoint = tiny.load(trained)
        checkpoint['state_dict'] = change(checkpoint['state_dict'])
        torch.save(checkpoint, tmp_path / 'changed.pth')
        return tmp_path / 'changed.pth'

    return make


def without(prefix):
    return lambda state: {name: value for name, value in state.items() if not name.startswith(prefix)}


def start_from(checkpoint, work_dir, resume=False, method='mixskd', **options):
    options = {'load_from': str(checkpoint), 'resume': resume, 'optim_wrapper.optimizer.lr': 0.0, **options}
    return tiny.train(tiny.make_config(work_dir, options, method=method))


def refusal(*args, **kwargs):
    with pytest.raises(InputError) as error:
        start_from(*args, **kwargs)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def test_names_counts_and_shapes_are_told():
    needed = {'a': (2,), 'b': (3, 1), 'c': (4,)}
    check_keys(needed, {**needed, 'more': (1,)}, 'file', 'Model')
    for found, told in [
        ({'b': (3, 1)}, 'file lacks 2 of the 3 tensors that Model expects (first: a)'),
        ({**needed, 'b': (3,), 'c': ()}, 'file has 2 of another shape (first: b, (3,) instead of (3, 1))'),
        (
            {'a': (2,), 'b': (1,)},
            'file lacks 1 of the 3 tensors that Model expects (first: c) and has 1 of another shape (first: b, (1,) '
            'instead of (3, 1))',
        ),
    ]:
        with pytest.raises(InputError) as error:
            check_keys(needed, found, 'file', 'Model')
        assert str(error.value) == told


def test_a_checkpoint_without_part_of_the_backbone_is_refused(changed, tmp_path):
    file = changed(without('backbone.layer4.1.'))
    missing = sum(name.startswith('backbone.layer4.1.') for name in tiny.load(changed(dict))['state_dict'])
    file = changed(without('backbone.layer4.1.'))
    message = refusal(file, tmp_path / 'run')
    assert message.startswith(f'checkpoint {file} lacks {missing} of the ')
    assert message.endswith('tensors that MixSKDClassifier expects (first: backbone.layer4.1.conv1.weight)')


def test_a_checkpoint_of_another_shape_is_refused(changed, tmp_path):
    file = changed(lambda state: {**state, 'head.fc.weight': torch.zeros(7, 64)})
    assert refusal(file, tmp_path / 'run') == (
        f'checkpoint {file} has 1 of another shape (first: head.fc.weight, (7, 64) instead of (10, 64)); '
        'default_hooks.checkpoint_keys.new_head=True lets the head start anew'
    )


def test_a_checkpoint_of_another_network_is_refused_before_training(tmp_path, trained):
    torch.save({'state_dict': {f'encoder.{i}': torch.ones(1) for i in range(3)}}, tmp_path / 'foreign.pth')
    message = refusal(tmp_path / 'foreign.pth', tmp_path / 'run')
    assert 'foreign.pth lacks' in message and 'first: backbone.conv1.weight' in message
    assert list((tmp_path / 'run').glob('*.pth')) == []


def assert_has_weights(runner, checkpoint, prefix):
    expected = tiny.load(checkpoint)['state_dict']
    # lr is 0: the parameters are those that were loaded.
    loaded = {name: value for name, value in runner.model.named_parameters() if name.startswith(prefix)}
    assert loaded
    for name, value in loaded.items():
        assert torch.equal(value, expected[name]), name


def test_what_only_training_needs_may_be_missing_to_start_from(changed, trained, tmp_path):
    plain = changed(lambda state: {k: v for k, v in state.items() if k.startswith(('backbone.', 'neck.', 'head.'))})
    runner = start_from(plain, tmp_path / 'run', **ONE_EPOCH)
    assert_has_weights(runner, trained, ('backbone.', 'head.'))


@pytest.mark.parametrize('prefix', ['branches.1.', 'self_teacher.', 'discriminators.3.'])
def test_to_resume_everything_has_to_be_there(changed, tmp_path, prefix):
    message = refusal(changed(without(prefix)), tmp_path / 'run', resume=True)
    assert 'lacks' in message and f'(first: {prefix}' in message


@pytest.mark.parametrize('lacking', [('meta', 'message_hub', 'optimizer'), ('optimizer',)])
def test_to_resume_the_state_of_the_training_has_to_be_there(trained, tmp_path, lacking):
    file = tmp_path / 'weights.pth'
    torch.save({part: value for part, value in tiny.load(trained).items() if part not in lacking}, file)
    message = refusal(file, tmp_path / 'run', resume=True)
    assert message.startswith(f'checkpoint {file} has no {", ".join(lacking)}: expected one that training wrote')


def test_the_latest_checkpoint_that_does_not_fit_is_named(trained, tmp_path):
    (tmp_path / 'last_checkpoint').write_text(str(trained))
    with pytest.raises(InputError, match=f'^checkpoint {trained} lacks '):
        tiny.train(tiny.make_config(tmp_path, {'resume': True, 'model.backbone.stem_channels': 16}))


def test_extra_tensors_are_fine(trained, tmp_path):
    runner = start_from(trained, tmp_path / 'run', method='baseline', **ONE_EPOCH)
    assert_has_weights(runner, trained, ('backbone.', 'head.'))
    assert not hasattr(runner.model, 'branches')


def test_names_of_a_wrapped_model_are_understood(changed, trained, tmp_path):
    wrapped = changed(lambda state: {f'module.{name}': value for name, value in state.items()})
    runner = start_from(wrapped, tmp_path / 'run', **ONE_EPOCH)
    assert_has_weights(runner, trained, '')


def test_bare_weights_are_understood(trained, tmp_path):
    torch.save(tiny.load(trained)['state_dict'], tmp_path / 'bare.pth')
    assert tiny.evaluate(tiny.make_config(tmp_path / 'a'), tmp_path / 'bare.pth') == tiny.evaluate(
        tiny.make_config(tmp_path / 'b'), trained
    )


def test_a_partial_start_is_counted_but_a_test_is_not_partial(changed, tmp_path, trained):
    hooks = {'default_hooks.checkpoint_keys.partial_start': True}
    partial = changed(without('head.'))
    runner = start_from(partial, tmp_path / 'start', **hooks)
    assert 'fits 120 of the 122 tensors of MixSKDClassifier' in tiny.log_text(tmp_path / 'start')
    del runner
    cfg = tiny.make_config(tmp_path / 'test', hooks)
    with pytest.raises(InputError, match='lacks 2 of the 122 tensors'):
        tiny.evaluate(cfg, partial)


@pytest.mark.parametrize(
    'value, told',
    [
        (torch.full((10,), float('nan')), 'holds NaN or an infinity: expected finite weights'),
        (torch.tensor([float('inf')] + 9 * [0.0]), 'holds NaN or an infinity: expected finite weights'),
        (torch.empty(10, device='meta'), 'has a shape but no values: expected weights'),
    ],
)
def test_weights_without_finite_values_start_and_test_nothing(changed, tmp_path, value, told):
    checkpoint = changed(lambda state: {**state, 'head.fc.bias': value})
    expected = f'checkpoint {checkpoint}: head.fc.bias {told}'
    assert refusal(checkpoint, tmp_path / 'run') == expected
    with pytest.raises(InputError) as error:
        tiny.evaluate(tiny.make_config(tmp_path / 'test'), checkpoint)
    assert str(error.value) == expected


def test_a_value_that_only_training_had_does_not_matter_to_a_test(changed, tmp_path):
    name = 'branches.0.head.fc.bias'
    checkpoint = changed(lambda state: {**state, name: torch.full((10,), float('nan'))})
    assert 'accuracy/top1' in tiny.evaluate(tiny.make_config(tmp_path / 'test'), checkpoint)
    assert refusal(checkpoint, tmp_path / 'run', resume=True) == (
        f'checkpoint {checkpoint}: {name} holds NaN or an infinity: expected finite weights'
    )
