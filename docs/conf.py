"""Settings of the documentation site: `make docs` writes it to docs/_build/html."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))

import mixskd_mm  # noqa: E402

project = 'mixskd_mm'
release = mixskd_mm.__version__
extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'sphinx.ext.viewcode', 'sphinx_copybutton']
exclude_patterns = ['_build']
html_theme = 'furo'
html_title = f'mixskd_mm {release}'
html_show_copyright = False

myst_heading_anchors = 4
myst_enable_extensions = ['dollarmath']
autodoc_typehints = 'none'
autodoc_member_order = 'bysource'
napoleon_use_rtype = False
copybutton_exclude = '.linenos, .gp'

TOOLS = [path for path in sorted((ROOT / 'tools').rglob('*.py')) if "'__main__'" in path.read_text(encoding='utf-8')]


def help_of(tool: Path) -> str:
    """What a tool says of itself."""
    command = [sys.executable, str(tool), '--help']
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()


def write_tools(app) -> None:
    """Write tools.md, which no commit has, from what the tools' ``--help`` says."""
    with ThreadPoolExecutor(2) as pool:
        texts = list(pool.map(help_of, TOOLS))
    lines = ['# Tools', '', 'What `--help` says.', '']
    for tool, text in zip(TOOLS, texts, strict=True):
        lines += [f'## {tool.relative_to(ROOT).as_posix()}', '', '```text', text, '```', '']
    (DOCS / 'tools.md').write_text('\n'.join(lines), encoding='utf-8')


def setup(app) -> None:
    app.connect('builder-inited', write_tools)
