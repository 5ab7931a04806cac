"""Running tools one after another."""

import re
import sys

import pytest

from mixskd_mm.errors import InputError
from mixskd_mm.tool_runs import run_tool


def test_a_tool_that_fails_is_quoted_whole(tmp_path):
    reason = 'x' * 500 + ' is wrong'
    with pytest.raises(InputError) as failed:
        run_tool(tmp_path / 'a.log', 'python', '-c', f"print('fine'); raise SystemExit('error: {reason}')")
    command = re.escape(f'{sys.executable} -c ')
    assert re.fullmatch(rf'{reason} \(from `{command}.*`, whose output is in {tmp_path}/a\.log\)', str(failed.value))


def test_a_tool_that_fails_without_a_word_has_its_status_quoted(tmp_path):
    with pytest.raises(InputError, match=r'^status 3 \(from `'):
        run_tool(tmp_path / 'a.log', 'python', '-c', 'raise SystemExit(3)')
