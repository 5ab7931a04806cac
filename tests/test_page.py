"""An HTML report: complete in itself, and it shows what the text and the pictures say."""

import base64
import re
from html.parser import HTMLParser

import cv2
import numpy as np

from mixskd_mm.page import write_page


class Cells(HTMLParser):
    """The cells of the tables, and the tags that are open at the end."""

    def __init__(self):
        super().__init__()
        self.cells, self.open = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in ('meta', 'img'):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ('td', 'th'):
            self.cells.append(data)


def test_tables_and_pictures_are_inside(tmp_path):
    for name in ('one', 'two'):
        cv2.imwrite(str(tmp_path / f'{name}.png'), np.full((3, 4, 3), len(name), np.uint8))
    text = '# Table <1>\n\n| method | top-1 |\n|---|---|\n| A & B | 80.12 ± 0.21 |\n'
    write_page(tmp_path / 'a.html', 'T & U', text, {'Curves "x"': tmp_path / 'one.png'}, {'Run': tmp_path / 'two.png'})
    page = (tmp_path / 'a.html').read_text(encoding='utf-8')
    parser = Cells()
    parser.feed(page)
    assert not parser.open
    assert ''.join(parser.cells) == 'methodtop-1A & B80.12 ± 0.21'
    assert '<title>T &amp; U</title>' in page and '<h1>Table &lt;1&gt;</h1>' in page
    sources = re.findall(r'src="([^"]*)"', page)
    images = [base64.b64decode(source.removeprefix('data:image/png;base64,')) for source in sources]
    assert images == [(tmp_path / name).read_bytes() for name in ('one.png', 'two.png')]
    assert 'http' not in page.replace('</html>', '') and page.index('<details>') > page.index('<figure>')
