import pytest

from mixskd_mm.checkpoints.config_text import literal_config
from mixskd_mm.errors import InputError


def test_reads_what_mmengine_writes():
    from mmengine.config import Config

    cfg = Config(dict(model=dict(type='A', layers=(1, -2.5), init_cfg=None, names=['x', 'y'], flag=True), lr=1e-4))
    assert literal_config(cfg.pretty_text) == cfg.to_dict()


def test_dict_displays_too():
    assert literal_config("model = {'a': dict(b={'c': [1]})}") == {'model': {'a': {'b': {'c': [1]}}}}


@pytest.mark.parametrize(
    'line',
    [
        "model = __import__('os').system('touch {file}')",
        "open('{file}', 'w')",
        "model = dict(a=open('{file}', 'w'))",
        "model = [open('{file}', 'w') for _ in range(1)]",
    ],
)
def test_executes_nothing(line, tmp_path):
    file = tmp_path / 'ran'
    assert literal_config(line.format(file=file) + '\nlr = 1') == {'lr': 1}
    assert not file.exists()


def test_text_that_is_no_python_is_refused():
    with pytest.raises(InputError, match='cannot be read'):
        literal_config('model = dict(')
