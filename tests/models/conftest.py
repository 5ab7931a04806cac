import logging

import pytest
from mmengine.logging import MessageHub, MMLogger


@pytest.fixture(autouse=True)
def message_hub(monkeypatch):
    """A message hub of its own for each test: draws depend on the current one."""
    monkeypatch.setattr(MessageHub, '_instance_dict', type(MessageHub._instance_dict)())
    return MessageHub.get_instance('test')


@pytest.fixture(autouse=True)
def quiet():
    """mmengine logs how each parameter was initialised, which would bury the report of a failure."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    yield
    logger.setLevel(level)
