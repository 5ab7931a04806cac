"""tools/preview.py: the picture of a recipe's first mixed batch."""

import cv2
import pytest
import tiny
import torch
from matplotlib.figure import Figure

from mixskd_mm.models import MaskMixture, Mixture


@pytest.mark.parametrize('mixture', ["dict(type='CutMix', alpha=1.0)", "dict(type='Mixup', alpha=1.0)"])
@pytest.mark.parametrize('method', ['mixskd', 'mixup'])
def test_draws_what_is_mixed(method, mixture, tmp_path, monkeypatch, capsys):
    config = tiny.write_config(
        tmp_path, method=method, extra=f'data_preprocessor = dict(alpha=None, mixture={mixture})\n'
    )
    monkeypatch.chdir(tmp_path)
    tiny.run_script('tools/preview.py', config, 'mixed.png', '--images', 3, monkeypatch=monkeypatch)
    picture = cv2.imread(str(tmp_path / 'mixed.png'))
    assert picture.shape[0] > 500 and picture.std() > 10
    kind = 'MaskMixture' if 'CutMix' in mixture else 'Mixture'
    assert f'{kind}, lam 0.' in capsys.readouterr().out


def drawn(mixture, images):
    """The pictures of the row of image 0, as the tool puts them into the figure."""
    module = tiny.load_tool('preview.py')
    figure = module.draw(images, mixture, ['cat', 'dog'], 1)
    assert isinstance(figure, Figure)
    rows = [axis.images[0].get_array() for axis in figure.axes]
    return [torch.tensor(row.data) for row in rows], [axis.get_xlabel() for axis in figure.axes]


def test_each_row_is_image_partner_share_and_mixed():
    images = torch.stack([torch.full((3, 4, 4), 0.25), torch.full((3, 4, 4), 0.75)])
    (clean, partner, share, mixed), labels = drawn(Mixture(0.3, [1, 0]), images)
    assert torch.equal(clean, images[0].permute(1, 2, 0)) and torch.equal(partner, images[1].permute(1, 2, 0))
    torch.testing.assert_close(share, torch.full((4, 4), 0.3, dtype=share.dtype))
    torch.testing.assert_close(mixed, torch.full((4, 4, 3), 0.3 * 0.25 + 0.7 * 0.75))
    assert labels == ['cat', 'dog', 'lam = 0.30', '0.30 of cat, 0.70 of dog']


def test_a_mask_is_drawn_as_it_is():
    images = torch.rand(2, 3, 4, 4)
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2, :] = 1
    (_, _, share, mixed), labels = drawn(MaskMixture(mask, [1, 0]), images)
    assert torch.equal(share, mask[0, 0])
    assert torch.equal(mixed[:2], images[0].permute(1, 2, 0)[:2]) and torch.equal(
        mixed[2:], images[1].permute(1, 2, 0)[2:]
    )
    assert labels[2] == 'lam = 0.50'


def test_a_recipe_that_mixes_nothing_ends_in_one_line(tmp_path, monkeypatch):
    config = tiny.write_config(tmp_path, method='baseline')
    message = tiny.error_of('preview.py', config, tmp_path / 'mixed.png', monkeypatch=monkeypatch)
    assert 'has data_preprocessor.type=ClsDataPreprocessor: expected a recipe that mixes images' in message


def test_more_images_than_a_batch_end_in_one_line(tmp_path, monkeypatch):
    config = tiny.write_config(tmp_path)
    message = tiny.error_of('preview.py', config, tmp_path / 'mixed.png', '--images', 11, monkeypatch=monkeypatch)
    assert message == 'error: --images 11: expected 1 to 10, the images of a batch'
