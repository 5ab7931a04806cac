#!/usr/bin/env python
"""torchrun for this package's tools: takes its arguments, and ends as the processes that it starts end."""

import logging
import sys

from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import RendezvousError
from torch.distributed.run import main

# As the tools end when another process has (mixskd_mm.cli.OTHER_ENDED), whose import takes seconds.
OTHER_ENDED = 129


def launch(arguments: list[str]) -> int:
    """Run torchrun; the exit status of the process that failed first, 128 + N after signal N.

    A process that fails says why in one line; torchrun would add a traceback and a summary.
    """
    logging.disable(logging.ERROR)
    try:
        main(arguments)
    except SignalException as error:
        return 128 + error.sigval
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode >= 0:
            return failure.exitcode
        print(f'error: process {rank} was ended by {failure.signal_name()}', file=sys.stderr)
        return 128 - failure.exitcode
    except RendezvousError as error:
        print(f'error: the machines of the run do not meet ({error}): expected all to be started', file=sys.stderr)
        return OTHER_ENDED
    return 0


if __name__ == '__main__':
    sys.exit(launch(sys.argv[1:]))
