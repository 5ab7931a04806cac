import math

import pytest
from mmengine.config import Config
from mmpretrain.registry import MODELS

from mixskd_mm.checkpoints.config_text import UNTRUSTED, harmless_text, literal_config, make_configs_harmless
from mixskd_mm.errors import InputError


class Registered:
    pass


def test_reads_what_mmengine_writes():
    cfg = Config(
        dict(
            model=dict(type='A', layers=(1, -2.5), init_cfg=None, names=['x', 'y'], flag=True),
            lr=1e-4,
            keys={'.norm': {'a b': 0}, 1: 2},
        )
    )
    assert literal_config(cfg.pretty_text) == cfg.to_dict()


def test_dict_displays_too():
    assert literal_config("model = {'a': dict(b={'c': [1]})}") == {'model': {'a': {'b': {'c': [1]}}}}


@pytest.mark.parametrize(
    'text, value', [('x = inf', math.inf), ('x = -inf', -math.inf), ("x = dict(**{'a b': 1})", {'a b': 1})]
)
def test_reads_what_mmengine_writes_for_rare_values(text, value):
    assert literal_config(text) == {'x': value}


@pytest.mark.parametrize(
    'line',
    [
        "model = __import__('os').system('touch {file}')",
        "open('{file}', 'w')",
        "model = dict(a=open('{file}', 'w'))",
        "model = dict(**open('{file}', 'w'))",
        "model = dict(open('{file}', 'w'))",
        "model = [open('{file}', 'w') for _ in range(1)]",
        "model = {{**open('{file}', 'w')}}",
        'import os',
        'from mmengine.config import read_base',
        '_base_ = "{file}.py"',
        'a = b = 1',
        'a.b = 1',
        'del a',
        'a: int = open("{file}", "w")',
        'def f(): pass',
        "x = f'{{1}}'",
    ],
)
def test_anything_but_literals_is_refused_and_not_executed(line, tmp_path):
    file = tmp_path / 'ran'
    with pytest.raises(InputError, match=r'^holds more than settings in line 2 \('):
        literal_config('lr = 1\n' + line.format(file=file))
    assert not file.exists()


@pytest.mark.parametrize('text', ['model = dict(', 'x = ' + '(' * 5000, 'x\0'])
def test_text_that_is_no_python_is_refused(text):
    with pytest.raises(InputError, match=r'^(cannot be read as Python|holds more) '):
        literal_config(text)


@pytest.mark.parametrize(
    'model',
    [
        dict(type='os.system', command='x'),
        dict(type='subprocess.Popen', args=['x']),
        dict(type='torch.hub.load'),
        dict(type='torch.load', f='x'),
        dict(type='mmengine.load', file='x.pkl'),
        dict(type='antigravity.webbrowser'),
        dict(type='A', backbone=[dict(type='pip.main')]),
        dict(type='CameraMotionCompensation', warp_mode='__import__("os").system("x")'),
        dict(type='torchvision/ConvertImageDtype', dtype='hub.load("x", "y")'),
        dict(type='A', dtype=' float or [].append(open("x", "w"))'),
        dict(type='HFAutoModel', trust_remote_code=True),
        dict(type='RandomResize', scale=(1, 1), resize_type='torch.hub.load', repo_or_dir='x', model='x'),
        dict(type='A', constructor='os.system'),
        dict(type='antigravity.A'),
        dict(type='.A'),
        dict(type='A', _scope_='antigravity'),
        dict(type='A', backbone=[dict(_scope_='antigravity.x')]),
    ],
)
def test_what_would_run_code_is_not_built(model):
    text = harmless_text(f'a = 1\nmodel = {model}')
    built = Config.fromstring(text, '.py').model
    assert set(built) == set(model) and built != model
    assert text.count(UNTRUSTED) == 1 or built.trust_remote_code is False
    # Nor does reading it once more change it.
    assert harmless_text(text) == text


def test_no_host_runs_what_was_marked():
    with pytest.raises(KeyError, match='not in the'):
        MODELS.build(dict(type=f'{UNTRUSTED}os.system', command='x'))
    for prefix in ('', 'torch.'):
        with pytest.raises(SyntaxError):
            eval(f'{prefix}{UNTRUSTED}print(1)')


@pytest.mark.parametrize(
    'value',
    [
        dict(type='mmpretrain.models.backbones.resnet.ResNet', depth=50),
        dict(type='torch.optim.SGD', lr=0.1),
        dict(type='mmdet.ResNet'),
        dict(type='mmnothere.ResNet', _scope_='mmnothere'),
        dict(default_scope='mmpretrain', monitor='test.json', dtype='torch.float32'),
        dict(classes=('dog (breed)', 'crane (bird)')),
        dict(data_root='/data/a (copy)/b', work_dir='runs/set(1)/a', filename_tmpl='epoch_{}.pth'),
    ],
)
def test_ordinary_settings_stay_as_they_are(value):
    assert harmless_text(f'x = {value}') == f'x = {value}'


def test_a_registered_class_of_any_imported_module_stays():
    text = f"x = dict(type='{__name__}.Registered')"
    assert UNTRUSTED in harmless_text(text)
    MODELS.register_module(module=Registered)
    try:
        assert harmless_text(text) == text
    finally:
        MODELS.module_dict.pop('Registered')


@pytest.mark.parametrize(
    'imports, left',
    [
        ('planted', []),
        (['mixskd_mm', 'planted', 'mmdet.models', 'json', 3], ['mixskd_mm', 'mmdet.models', 'json']),
        (['mixskd_mm'], ['mixskd_mm']),
    ],
)
def test_only_libraries_and_what_is_imported_already_is_imported(imports, left, tmp_path, monkeypatch):
    (tmp_path / 'planted.py').write_text(f"open('{tmp_path}/ran', 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    text = harmless_text(f'custom_imports = dict(imports={imports!r}, allow_failed_imports=True)\nlr = 1\n')
    cfg = Config.fromstring(text, '.py')
    assert cfg.custom_imports == dict(imports=left, allow_failed_imports=True) and cfg.lr == 1
    assert not (tmp_path / 'ran').exists()


def test_a_scope_that_would_be_imported_is_marked():
    assert Config.fromstring(harmless_text("default_scope = 'antigravity'"), '.py').default_scope.startswith(UNTRUSTED)


def test_nothing_in_a_string_is_replaced_when_it_is_executed(tmp_path, monkeypatch):
    monkeypatch.setenv('PLANTED', f'"); open("{tmp_path}/ran", "w"); ("')
    value = '{{ $PLANTED:x }} {{ fileDirname }} {{ _base_.x }}'
    text = harmless_text(Config(dict(name=value)).pretty_text)
    assert Config.fromstring(text, '.py').name == value
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize('where', ['meta.cfg', 'meta.config', 'message_hub.runtime_info.cfg', 'meta.a.0.cfg'])
def test_each_text_of_a_checkpoint_is_looked_at(where):
    def checkpoint(text):
        *path, name = where.split('.')
        holder = {name: text}
        for part in reversed(path):
            holder = [holder] if part == '0' else {part: holder}
        return holder

    make_configs_harmless(checkpoint('lr = 1'), 'a.pth')
    with pytest.raises(
        InputError, match=rf'^checkpoint a\.pth was refused, since its {where} holds more than settings'
    ):
        make_configs_harmless(checkpoint('import os'), 'a.pth')


def test_a_container_that_holds_itself_is_looked_at_once():
    meta = {'cfg': 'lr = 1'}
    meta['self'] = [meta, meta]
    make_configs_harmless({'meta': meta}, 'a.pth')
    meta['self'].append({'cfg': 'import os'})
    with pytest.raises(InputError, match=r'its meta\.self\.2\.cfg holds more'):
        make_configs_harmless({'meta': meta}, 'a.pth')
