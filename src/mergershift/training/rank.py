"""A process of rank 1 or above of a training over several processes; `processes` starts it with a job as its input."""

from __future__ import annotations

import json
import signal
import sys
from datetime import timedelta

from mergershift.core.errors import UserError
from mergershift.core.processes import STOP_SIGNALS, end_with_starter, set_environment_defaults

_CONNECT = timedelta(seconds=60)


def main() -> None:
    """Train with the process of rank 0 to the end of the training; exits with code 1 after an error.

    PyTorch is imported in here, since a signal may arrive before it has been.
    """
    # A scheduler signals all processes of a job: the one of rank 0 saves what there is, and ends this one.
    for number in (*STOP_SIGNALS, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    end_with_starter()
    set_environment_defaults()
    from torch.distributed import TCPStore

    from mergershift.training.job import Job, backend, fit
    from mergershift.training.processes import ADDRESS, join, leave, ready
    from mergershift.training.share import Share

    content = json.load(sys.stdin)
    job = Job.of(content)
    share = Share(content["rank"], job.config.trainer.processes)
    store = TCPStore(ADDRESS, content["port"], is_master=False, timeout=_CONNECT)
    store.set(ready(share.rank), "")
    join(backend(job.config), share, store)
    try:
        fit(job, share)
    except UserError as error:
        print(str(error).splitlines()[0], file=sys.stderr)
        sys.exit(1)
    finally:
        leave()


if __name__ == "__main__":
    main()
