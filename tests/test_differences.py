"""What the libraries say that nobody asked for."""

import logging

from mmengine.logging import print_log


def test_debug_messages_do_not_reach_the_terminal(capfd):
    """As the forks' data sets print at import."""
    print_log('Could not import OneDL', level=logging.DEBUG)
    print_log('Other message')
    assert capfd.readouterr().out == 'Other message\n'
