"""Tables and pictures as one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping
from pathlib import Path

from mixskd_mm.checkpoints.write import write_text

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
.table { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { border-bottom: 1px solid #8888; padding: .3rem .8rem; text-align: left; font-variant-numeric: tabular-nums; }
img { max-width: 100%; height: auto; background: white; }
code { font-size: .9em; overflow-wrap: anywhere; }
figure { margin: 1.5rem 0; }
figcaption, summary { font-weight: 600; }
"""


def write_page(
    out: Path, title: str, markdown: str, pictures: Mapping[str, Path], folded: Mapping[str, Path] | None = None
) -> None:
    """Write a page: the text, then the pictures, inside the file.

    Args:
        out (Path): File to write.
        title (str): Of the browser's tab.
        markdown (str): Headings, paragraphs and tables.
        pictures (Mapping[str, Path]): PNG files by what is said of them.
        folded (Mapping[str, Path], optional): More of them, which a click shows. Defaults to None: none.

    Raises:
        InputError: as ``write_file``.
    """
    # Not at import: what only imports this package has no use for it. rich, which mmengine needs, brings it.
    from markdown_it import MarkdownIt

    body = MarkdownIt('commonmark', dict(html=False)).enable('table').render(markdown)
    body = body.replace('<table>', '<div class="table"><table>').replace('</table>', '</table></div>')
    shown = ''.join(
        f'<figure><figcaption>{html.escape(text)}</figcaption>{image(f, text)}</figure>\n'
        for text, f in pictures.items()
    )
    more = ''.join(
        f'<details><summary>{html.escape(text)}</summary>{image(f, text)}</details>\n'
        for text, f in (folded or {}).items()
    )
    write_text(
        str(out),
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}{shown}{more}</body>\n</html>\n',
    )


def image(file: Path, text: str) -> str:
    """A PNG file as an HTML element that holds it."""
    data = base64.b64encode(file.read_bytes()).decode()
    return f'<img alt="{html.escape(text, quote=True)}" src="data:image/png;base64,{data}">'
