"""Changed settings: one wrong value, or one key that nothing reads, in the config of a training."""

from __future__ import annotations

import random
import re
from functools import cache
from pathlib import Path

from changed_settings import Change, apply, changes, config_text, read_recipe
from recipe import Reference
from sandbox import Outcome, Result

# As many as the recipes have, nearly.
COUNT = 2000


@cache
def all_changes(*configs: tuple[str, Path]) -> list[Change]:
    """Of these (recipe, config)."""
    return changes(seed=0, count=COUNT, configs=dict(configs))


def trial(rng: random.Random, folder: Path, references: dict[str, Reference]) -> tuple[str, Outcome]:
    """One changed setting: which, and what it led to."""
    change = rng.choice(all_changes(*((name, reference.config) for name, reference in references.items())))
    reference = references[change.recipe]
    config = read_recipe(change.recipe, reference.config)
    options = [change.option] if change.option is not None else []
    path = folder / 'changed.py'
    path.write_text(config_text(config if options else apply(config, change)))
    result = reference.train(folder / 'run', config=path, options=options)
    return str(change), judge(result, change)


def judge(result: Result, change: Change) -> Outcome:
    """What came of a run with a changed setting."""
    line = result.refusal()
    if result.hung:
        return Outcome('hung', False)
    if not change.wrong:
        kept = result.status == 0
        return Outcome('harmless, and it passed' if kept else 'harmless, but it was refused', kept, line or '')
    if line is not None:
        # A line that names half of the config names nothing.
        few = line.partition(': expected')[0].count('=') <= 3
        if names(line, change) and few:
            return Outcome('refused in one line', True, line)
        if has_traceback_file(line):
            return Outcome('ended in one line, its traceback in a file', True, line)
        return Outcome('refused in one line that does not name it', False, line)
    if result.status:
        return Outcome('ended with a traceback', False, result.last_line)
    rows = result.output.splitlines()
    said = [row for row in rows if re.search('warning', row, re.IGNORECASE) and names(row, change)]
    return Outcome('used with a warning' if said else 'accepted silently', bool(said), ''.join(said[:1]))


def names(line: str, change: Change) -> bool:
    """Whether a line names the setting, by its own key or, if that is an index or gone, what it belongs to."""
    keys = [part for part in change.name.split('.') if not part.isdigit()]
    return any(re.search(rf'(?<![A-Za-z]){re.escape(key)}(?![A-Za-z])', line) for key in keys[-2:] if len(key) > 1)


def has_traceback_file(line: str) -> bool:
    """Whether a message names a file that holds a traceback."""
    files = (Path(word.strip('.,;:()')) for word in line.split() if '/' in word)
    return any(file.is_file() and 'Traceback' in file.read_text(errors='replace') for file in files)
