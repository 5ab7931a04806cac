"""The notebook: its cells run one after the other, with one epoch instead of sixty."""

import ast
import json

import cv2
import pytest
import tiny
import torch

NOTEBOOK = tiny.ROOT / 'notebooks' / 'images_to_backbone.ipynb'
SHORTER = {"root / 'work_dirs/notebook'": 'Path.cwd()', 'epochs = 60': 'epochs = 1'}


@pytest.fixture(scope='module')
def notebook():
    return json.loads(NOTEBOOK.read_text(encoding='utf-8'))


def test_it_is_stored_without_outputs(notebook):
    assert notebook['nbformat'] == 4
    assert len({cell['id'] for cell in notebook['cells']}) == len(notebook['cells'])
    for cell in notebook['cells']:
        if cell['cell_type'] == 'code':
            assert cell['outputs'] == [] and cell['execution_count'] is None


def test_from_images_to_a_backbone(notebook, tmp_path, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', str(tiny.ROOT))
    code = [''.join(cell['source']) for cell in notebook['cells'] if cell['cell_type'] == 'code']
    for old, new in SHORTER.items():
        assert code[0].count(old) == 1
        code[0] = code[0].replace(old, new)
    code[0] = code[0].replace('(Path.cwd(), *Path.cwd().parents)', f'[Path({str(tiny.ROOT)!r})]')
    monkeypatch.chdir(tmp_path)
    names, shown = {}, []
    with tiny.running():
        for cell in code:
            tree = ast.parse(cell)
            # As in a notebook, the value of the last line is shown.
            last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, str(NOTEBOOK), 'exec'), names)
            if last is not None:
                shown.append(eval(compile(ast.Expression(last.value), str(NOTEBOOK), 'eval'), names))
    digit, _, picture, numbers, tensors, shape = shown
    assert digit.size == (128, 128) and picture.size[0] > 1000
    assert len(list((tmp_path / 'digits' / 'train').rglob('*.png'))) == 200
    assert 0 < numbers['top1'] <= 100 and 0 <= numbers['ece'] <= 100 and numbers['nll'] > 0
    assert shape == (1, 128, 2, 2)
    # What was loaded at the end is what was trained.
    state = tiny.load(tmp_path / 'mixskd' / 'epoch_1.pth')['state_dict']
    exported = tiny.load(tmp_path / 'backbone.pth')['state_dict']
    backbone = names['backbone'].state_dict()
    assert tensors == len(exported) > len(backbone) > 100
    assert all(torch.equal(value, state[f'backbone.{name}']) for name, value in backbone.items())
    assert cv2.imread(str(names['first'])).shape == (16, 16, 3)
