"""One rank of a training run: ``python -m training.run FOLDER``.

The folder is the run's, and holds its ``run.json`` (see `training.loop.request`). A launcher starts
one process a rank and tells each its place by torch's environment variables; without them it is the
only one. How a run ended is in ``ended.json``; the exit codes are

    0    finished: all steps are done, and the model is written
    75   preempted: told to leave by SIGTERM or SIGINT, it has saved, and goes on when started again
    6    out of memory; with ``fit.json`` written it fits when started again
    7    stopped: loss or gradients are not finite
    2-5  stopped: what `infra.errors` tells of requests, lakes, weights and engines
    1    any other error; after one that is no word of ours, starting again may help
"""

import logging
import os
import sys

from infra.errors import LimelightError
from training.checkpoint.signals import PREEMPTED_EXIT_CODE, StopRequest
from training.loop.folder import Reason, RunFolder
from training.loop.request import read_request


def run_rank(folder: RunFolder) -> Reason:
    """Run this process's rank until the run ends, one way or another.

    Raises:
        LimelightError: The run cannot go on. The folder's ``ended.json`` says so, too; unless a
            start with a smaller micro-batch would help, which ``fit.json`` then asks for.
    """
    from training.engine.ladder import MemoryExhaustedError, save_wish

    done = 0
    try:
        request = read_request(folder.request)
        _share_cores(request.recipe.engine.threads)
        from training.engine.distributed import join
        from training.loop.trainer import Trainer

        with StopRequest() as stop:
            world = join()
            if world.first:
                folder.begin()
            trainer = Trainer(request, folder, world, stop)
            try:
                reason = trainer.train()
            finally:
                done = trainer.step
            if world.first:
                folder.end(reason, done)
    except MemoryExhaustedError as error:
        if error.wish is None:
            folder.end("stopped", done, message=str(error))
        else:
            save_wish(folder.fit, error.wish)
        raise
    except LimelightError as error:
        folder.end("stopped", done, message=str(error))
        raise
    return reason


def _share_cores(threads: int) -> None:
    """Give this rank its share of the machine's cores."""
    import torch

    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    torch.set_num_threads(threads or max(1, len(os.sched_getaffinity(0)) // ranks))


def main() -> int:
    """Become a rank; the exit code."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("training").setLevel(logging.INFO)
    [folder] = sys.argv[1:]
    try:
        reason = run_rank(RunFolder(folder))
    except LimelightError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    finally:
        from training.engine.distributed import leave

        leave()
    return 0 if reason == "finished" else PREEMPTED_EXIT_CODE


if __name__ == "__main__":
    sys.exit(main())
