"""The authors' released ResNet-50: how its state-dict keys map to ours."""

from __future__ import annotations

import re

# (their prefix, ours), first match wins. Branch b_k continues stage k, so its i-th extractor is a copy of stage k + 1 + i.
_RULES = (
    (re.compile(r'backbone\.fc\.(.*)'), lambda m: f'head.fc.{m[1]}'),
    (re.compile(r'backbone\.(.*)'), lambda m: f'backbone.{m[1]}'),
    (
        re.compile(r'auxiliary_classifier\.block_extractor(\d+)\.(\d+)\.(.*)'),
        lambda m: f'branches.{int(m[1]) - 1}.stages.layer{int(m[1]) + 1 + int(m[2])}.{m[3]}',
    ),
    (re.compile(r'auxiliary_classifier\.fc(\d+)\.(.*)'), lambda m: f'branches.{int(m[1]) - 1}.head.fc.{m[2]}'),
    (re.compile(r'final_aux_classifier\.(.*)'), lambda m: f'self_teacher.{m[1]}'),
)


def release_key(key: str) -> str | None:
    """Our name of the released network's tensor ``key``, or None if the release has no such tensor.

    A leading ``module.``, which wrapped models leave behind, is ignored.
    """
    key = key.removeprefix('module.')
    for pattern, rename in _RULES:
        match = pattern.fullmatch(key)
        if match:
            return rename(match)
    return None
