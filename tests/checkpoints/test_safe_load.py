import functools
import http.server
import operator
import os
import pickle
import re
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import tiny
import torch
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModule
from mmengine.runner import CheckpointLoader, load_checkpoint
from mmengine.runner import checkpoint as checkpoint_loaders

from mixskd_mm.checkpoints import load_local_checkpoint
from mixskd_mm.checkpoints.safe_load import load_data_only
from mixskd_mm.errors import InputError


def load_fetched(file):
    """As mmengine reads a checkpoint from a store."""
    store = SimpleNamespace(get=lambda address: Path(file).read_bytes())
    with mock.patch.object(checkpoint_loaders, 'get_file_backend', lambda *args, **kwargs: store):
        return CheckpointLoader.load_checkpoint('s3://bucket/checkpoint.pth')


EMA = dict(type='EMAHook', momentum=0.1)


@pytest.fixture(scope='module')
def real(tmp_path_factory):
    """A checkpoint as a Runner writes it: log, optimiser, schedulers, averaged weights."""
    work_dir = tmp_path_factory.mktemp('real')
    cfg = tiny.make_config(work_dir, {'train_cfg.max_epochs': 1, 'train_cfg.val_interval': 1})
    cfg.custom_hooks = [EMA]
    tiny.train(cfg)
    return work_dir / 'epoch_1.pth'


class Runs:
    """Unpickled carelessly, it calls a function."""

    def __init__(self, function, *args):
        self.reduced = (function, args)

    def __reduce__(self):
        return self.reduced

    def __call__(self):
        """Pickle wants the functions that it notes to be callable."""


@pytest.fixture
def mark(tmp_path):
    """The file that the malicious checkpoints create."""
    return tmp_path / 'it_ran'


def touch(mark):
    return f'touch {mark}'


def system(mark):
    return Runs(os.system, touch(mark))


def evaluate(mark):
    return Runs(eval, f'__import__("os").system("{touch(mark)}")')


def open_file(mark):
    return Runs(open, str(mark), 'w')


def partial(mark):
    return Runs(functools.reduce, operator.mod, (functools.partial(os.system), system(mark)))


def getattr_chain(mark):
    """os.system through what an mmengine checkpoint may name: HistoryBuffer.__init__.__globals__['__builtins__']..."""
    namespace = Runs(getattr, Runs(getattr, HistoryBuffer, '__init__'), '__globals__')
    builtins = Runs(operator.getitem, namespace, '__builtins__')
    return Runs(Runs(operator.getitem, builtins, 'eval'), f'__import__("os").system("{touch(mark)}")')


def getattr_alone(mark):
    """The first step of the chain, with nothing else in it that is not allowed."""
    return Runs(getattr, HistoryBuffer, '__init__')


def in_numpy(mark):
    array = np.empty(1, dtype=object)
    array[0] = system(mark)
    return array


def in_log(mark):
    buffer = HistoryBuffer([0.0], [1])
    buffer._log_history = system(mark)
    return buffer


PAYLOADS = [system, evaluate, open_file, partial, getattr_chain, getattr_alone, in_numpy, in_log]


def assert_refused(load, mark, name):
    with pytest.raises(InputError) as error:
        load()
    assert not mark.exists()
    message = str(error.value)
    assert len(message.splitlines()) == 1
    assert str(name) in message
    assert 'was refused, since loading it would run code from it' in message


def test_the_payloads_would_run(tmp_path, mark):
    # Or else the tests below show nothing. Pickle itself cannot make a callable of the chain.
    for payload in (system, evaluate, open_file, in_numpy, in_log):
        mark.unlink(missing_ok=True)
        torch.save(payload(mark), tmp_path / 'evil.pth')
        tiny.load(tmp_path / 'evil.pth')
        assert mark.exists(), payload.__name__


@pytest.mark.parametrize('payload', PAYLOADS)
@pytest.mark.parametrize('new_format', [True, False])
def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path, mark, payload, new_format):
    file = tmp_path / 'evil.pth'
    state = {'backbone.conv1.weight': torch.ones(1)}
    torch.save({'state_dict': state, 'x': payload(mark)}, file, _use_new_zipfile_serialization=new_format)
    assert_refused(lambda: load_local_checkpoint(str(file)), mark, file)


@pytest.mark.parametrize('payload', [system, getattr_chain, in_log])
def test_code_hidden_in_a_real_checkpoint_is_refused_and_not_run(real, tmp_path, mark, payload):
    checkpoint = tiny.load(real)
    checkpoint['message_hub']['log_scalars']['train/loss'] = payload(mark)
    file = tmp_path / 'epoch_1.pth'
    torch.save(checkpoint, file)
    assert_refused(lambda: CheckpointLoader.load_checkpoint(str(file)), mark, file)


def test_a_plain_pickle_is_refused_and_not_run(tmp_path, mark):
    file = tmp_path / 'evil.pkl'
    file.write_bytes(pickle.dumps(system(mark)))
    with pytest.raises(InputError, match=str(file)):
        load_local_checkpoint(str(file))
    assert not mark.exists()


@pytest.fixture
def evil(tmp_path, mark):
    file = tmp_path / 'evil.pth'
    torch.save({'state_dict': {}, 'x': system(mark)}, file)
    return file


@pytest.mark.parametrize('resume', [False, True])
def test_load_from_and_resume_do_not_run_code(evil, tmp_path, mark, resume):
    cfg = tiny.make_config(tmp_path / 'run', {'load_from': str(evil), 'resume': resume})
    assert_refused(lambda: tiny.train(cfg), mark, evil)


def test_testing_does_not_run_code(evil, tmp_path, mark):
    assert_refused(lambda: tiny.evaluate(tiny.make_config(tmp_path / 'run'), evil), mark, evil)


def test_pretrained_weights_do_not_run_code(evil, tmp_path, mark):
    cfg = tiny.make_config(tmp_path / 'run')
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=str(evil), prefix='backbone.')
    assert_refused(lambda: tiny.train(cfg), mark, evil)


def test_mmengines_own_function_does_not_run_code(evil, mark):
    assert_refused(lambda: load_checkpoint(BaseModule(), str(evil)), mark, evil)


@pytest.fixture
def url_of(tmp_path, monkeypatch):
    """Function: address under which a file of ``tmp_path`` can be downloaded."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, 'log_message', lambda *args: None)
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield lambda file: f'http://127.0.0.1:{server.server_port}/{Path(file).name}'
        server.shutdown()
        thread.join()


def test_downloaded_checkpoints_do_not_run_code(evil, mark, url_of):
    assert_refused(lambda: CheckpointLoader.load_checkpoint(url_of(evil)), mark, url_of(evil))


def test_checkpoints_of_a_store_do_not_run_code(evil, mark):
    assert_refused(lambda: load_fetched(evil), mark, '')


def test_downloaded_checkpoints_load(tmp_path, url_of):
    torch.save({'state_dict': {'w': torch.arange(3)}}, tmp_path / 'fine.pth')
    assert CheckpointLoader.load_checkpoint(url_of('fine.pth'))['state_dict']['w'].tolist() == [0, 1, 2]


def test_a_download_that_was_damaged_later_is_noticed(tmp_path, url_of):
    torch.save({'state_dict': {'w': torch.arange(300)}}, tmp_path / 'fine.pth')
    url = url_of('fine.pth')
    CheckpointLoader.load_checkpoint(url)
    cached = tmp_path / 'cache/hub/checkpoints/fine.pth'
    content = bytearray(cached.read_bytes())
    content[content.index(torch.arange(300).numpy().tobytes()) + 8] ^= 1
    cached.write_bytes(content)
    with pytest.raises(InputError, match=rf'^checkpoint {url}, downloaded to {cached}, is damaged: the checksum of '):
        CheckpointLoader.load_checkpoint(url)


@pytest.mark.parametrize('part, name', [('meta', 'config'), ('meta', 'cfg'), ('message_hub', 'cfg')])
def test_a_config_that_would_be_executed_is_refused(real, tmp_path, mark, part, name):
    checkpoint = tiny.load(real)
    holder = checkpoint['meta'] if part == 'meta' else checkpoint['message_hub']['runtime_info']
    # mmengine executes these texts as config files, to resume (config) or in its inferencers.
    holder[name] = f'import os\nos.system("{touch(mark)}")\ngpu_ids = [0]\n'
    torch.save(checkpoint, tmp_path / 'epoch_1.pth')
    cfg = tiny.make_config(tmp_path / 'run', {'load_from': str(tmp_path / 'epoch_1.pth'), 'resume': True})
    with pytest.raises(InputError, match=f'epoch_1.pth was refused, since its {part}.*{name} holds more than settings'):
        tiny.train(cfg)
    assert not mark.exists()


def test_a_config_of_another_library_resumes(real, tmp_path):
    checkpoint = tiny.load(real)
    checkpoint['meta']['config'] = 'gpu_ids = [0]\n'
    torch.save(checkpoint, tmp_path / 'epoch_1.pth')
    cfg = tiny.make_config(tmp_path / 'run', {'load_from': str(tmp_path / 'epoch_1.pth'), 'resume': True})
    assert tiny.train(cfg).iter == 8


def test_a_runners_checkpoint_loads_whole(real):
    expected, loaded = tiny.load(real), load_local_checkpoint(str(real), map_location='cpu')
    assert {'state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers', 'message_hub', 'meta'} <= set(loaded)
    for part in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers', 'meta'):
        tiny.assert_same_state(expected[part], loaded[part])
    logs = [checkpoint['message_hub']['log_scalars'] for checkpoint in (expected, loaded)]
    assert list(logs[0]) == list(logs[1])
    for key in logs[0]:
        assert logs[0][key].data[0].tolist() == logs[1][key].data[0].tolist()
        assert logs[0][key].mean() == logs[1][key].mean()
    assert tiny.history(loaded, 'lam') == tiny.history(expected, 'lam')


@pytest.mark.parametrize('name', ['numpy.core', 'numpy._core'])
def test_the_log_of_a_run_with_another_numpy_loads(real, tmp_path, name):
    """NumPy 2 writes its arrays by another name than NumPy 1; each reads both."""
    with zipfile.ZipFile(real) as archive, zipfile.ZipFile(tmp_path / 'epoch_1.pth', 'w') as renamed:
        for record in archive.infolist():
            content = archive.read(record)
            if record.filename.endswith('/data.pkl'):
                content, count = re.subn(rb'cnumpy\._?core\.multiarray\n', f'c{name}.multiarray\n'.encode(), content)
                assert count
            renamed.writestr(record.filename, content)
    assert tiny.history(load_local_checkpoint(str(tmp_path / 'epoch_1.pth')), 'lam') == tiny.history(
        tiny.load(real), 'lam'
    )


def test_plain_weights_load(tmp_path):
    torch.save({'w': torch.eye(2), 'n': torch.tensor(3)}, tmp_path / 'weights.pth')
    assert load_local_checkpoint(str(tmp_path / 'weights.pth'))['w'].tolist() == [[1, 0], [0, 1]]


def test_names_of_a_wrapped_model_are_those_of_the_model(tmp_path):
    torch.save({'state_dict': {'module.backbone.w': torch.eye(2)}, 'meta': {}}, tmp_path / 'wrapped.pth')
    assert list(load_local_checkpoint(str(tmp_path / 'wrapped.pth'))['state_dict']) == ['backbone.w']
    # Not of a module that has this name itself.
    torch.save({'state_dict': {'module.w': torch.eye(2), 'head.w': torch.eye(2)}}, tmp_path / 'own.pth')
    assert list(load_local_checkpoint(str(tmp_path / 'own.pth'))['state_dict']) == ['module.w', 'head.w']


def test_a_file_that_cannot_be_opened_is_not_called_damaged(tmp_path, monkeypatch):
    file = tmp_path / 'private.pth'
    file.touch()

    def refuse(*args, **kwargs):
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr('builtins.open', refuse)
    with pytest.raises(InputError) as error:
        load_local_checkpoint(str(file))
    assert str(error.value) == f'checkpoint {file} cannot be read: Permission denied'


def test_the_allowances_end_with_the_load(real):
    before = set(torch.serialization.get_safe_globals())
    load_local_checkpoint(str(real))
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(pickle.UnpicklingError):
        torch.load(real, weights_only=True)


DAMAGED = {
    'empty': lambda content: b'',
    'a_few_bytes': lambda content: content[:10],
    'half': lambda content: content[: len(content) // 2],
    'all_but_the_end': lambda content: content[:-10],
    'text': lambda content: b'epoch,loss\n1,2.5\n' * 20,
    'other_text': lambda content: b'(this is no checkpoint)\n',
    'html': lambda content: b'<!DOCTYPE html><html><body>404</body></html>',
    'zeros': lambda content: bytes(1000),
}


@pytest.mark.parametrize('damage', DAMAGED)
def test_a_damaged_file_is_named_in_one_line(real, tmp_path, damage):
    file = tmp_path / f'{damage}.pth'
    file.write_bytes(DAMAGED[damage](real.read_bytes()))
    with pytest.raises(InputError) as error:
        load_local_checkpoint(str(file))
    message = str(error.value)
    assert message.startswith(f'checkpoint {file} is damaged, cut short or no checkpoint (')
    assert len(message.splitlines()) == 1 and '()' not in message


@pytest.mark.parametrize('damage', ['zeros', 'one_bit', 'directory'])
@pytest.mark.parametrize('load', [load_local_checkpoint, load_fetched], ids=['local', 'fetched'])
def test_changed_weights_are_noticed(real, tmp_path, damage, load):
    content = bytearray(real.read_bytes())
    with zipfile.ZipFile(real) as archive:
        record = max(archive.infolist(), key=lambda record: record.file_size)
    start = record.header_offset + 200
    if damage == 'zeros':
        content[start : start + 100] = bytes(100)
    elif damage == 'one_bit':
        content[start] ^= 1
    else:
        content[content.rindex(b'PK\x01\x02') + 30] ^= 0xFF
    file = tmp_path / 'changed.pth'
    file.write_bytes(content)
    with pytest.raises(InputError) as error:
        load(str(file))
    assert re.match('checkpoint .* is damaged.*\\(?.', str(error.value)) and len(str(error.value).splitlines()) == 1
    if damage != 'directory':
        assert str(error.value).endswith(f'is damaged: the checksum of {record.filename} differs')


@pytest.mark.parametrize('content', [[torch.ones(1)], torch.ones(2), 3, None])
def test_a_file_without_names_is_no_checkpoint(tmp_path, content):
    torch.save(content, tmp_path / 'list.pth')
    with pytest.raises(InputError, match=rf'list\.pth holds a {type(content).__name__}: expected a dict of tensors'):
        load_local_checkpoint(str(tmp_path / 'list.pth'))


def test_a_state_dict_is_a_dict(tmp_path):
    torch.save({'state_dict': [torch.ones(1)], 'meta': {}}, tmp_path / 'odd.pth')
    with pytest.raises(InputError, match=r'odd\.pth holds a list: expected a dict of tensors'):
        load_local_checkpoint(str(tmp_path / 'odd.pth'))


def test_names_of_tensors_are_text(tmp_path):
    torch.save({'state_dict': {1: torch.ones(1)}}, tmp_path / 'a.pth')
    with pytest.raises(InputError, match=r'a\.pth has a tensor named 1: expected names'):
        load_local_checkpoint(str(tmp_path / 'a.pth'))


def test_a_folder_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=f'^checkpoint {tmp_path} cannot be read: Is a directory$'):
        load_local_checkpoint(str(tmp_path))


def test_checksums_are_compared_once_while_the_file_stays_the_same(tmp_path, monkeypatch):
    path = tmp_path / 'a.pth'
    torch.save({'state_dict': {'w': torch.ones(1)}}, path)
    read = []
    testzip = zipfile.ZipFile.testzip
    monkeypatch.setattr(zipfile.ZipFile, 'testzip', lambda self: read.append(self.filename) or testzip(self))
    for _ in range(2):
        load_local_checkpoint(str(path))
    assert read == [str(path)]
    torch.save({'state_dict': {'w': torch.ones(2)}}, path)
    assert load_local_checkpoint(str(path))['state_dict']['w'].shape == (2,)
    assert read == [str(path)] * 2


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=f'^checkpoint {tmp_path}/nosuch.pth does not exist$'):
        load_local_checkpoint(str(tmp_path / 'nosuch.pth'))


def test_a_download_that_fails_is_reported_as_such(tmp_path, url_of):
    with pytest.raises(OSError, match='404'):
        CheckpointLoader.load_checkpoint(url_of('nosuch.pth'))


def test_home_is_expanded(tmp_path, monkeypatch):
    torch.save({'w': torch.ones(1)}, tmp_path / 'weights.pth')
    monkeypatch.setenv('HOME', str(tmp_path))
    assert load_local_checkpoint('~/weights.pth')['w'].item() == 1


def test_only_input_errors_leave():
    def fail():
        raise IndexError('pop from empty list')

    with pytest.raises(InputError, match=r'checkpoint somewhere is damaged.*\(pop from empty list\)'):
        load_data_only('somewhere', fail)
