"""One rank of a training run: ``python -m training.run FOLDER``.

The folder is the run's, and holds its ``run.json`` (see `training.loop.request`). A launcher starts
one process a rank and tells each its place by torch's environment variables; without them it is the
only one. How a run ended is in ``ended.json``, unless starting again may help; the exit codes are

    0    finished: all steps are done, and the model is written
    75   preempted: told to leave by SIGTERM or SIGINT, it has saved, and goes on when started again
    6    out of memory; with ``fit.json`` written it fits when started again
    7    stopped: loss or gradients are not finite
    2-5  stopped: what `infra.errors` tells of requests, lakes, weights and engines; but where the
         error may pass (a reading process was killed, a disk did not answer), starting again helps
    1    any other error; after one that is no word of ours, starting again may help
"""

import logging
import os
import sys
from datetime import timedelta

from infra.errors import LimelightError
from infra.threads import yielding_threads
from training.checkpoint.signals import PREEMPTED_EXIT_CODE, StopRequest
from training.launch.host import HOST
from training.loop.folder import Reason, RunFolder
from training.loop.request import read_request


def run_rank(folder: RunFolder) -> Reason:
    """Run this process's rank until the run ends, one way or another.

    Raises:
        LimelightError: The run cannot go on. The folder's ``ended.json`` says so, too; unless it
            may pass, or a start with a smaller micro-batch would help, which ``fit.json`` then
            asks for.
    """
    _forget_the_last_end(folder)
    trainer = None
    try:
        request = read_request(folder.request)
        _share_cores(request.recipe.engine.threads)
        from training.engine.distributed import TIMEOUT, join
        from training.engine.ladder import Circumstances, Wish, exhaustion, save_wish
        from training.loop.start import fitting
        from training.loop.trainer import Trainer

        with StopRequest() as stop:
            # While one rank waits for its samples the others wait for it.
            world = join(timeout=TIMEOUT + timedelta(seconds=request.recipe.data.wait_seconds))
            if world.first:
                folder.beat()
            fit, why = fitting(request.recipe, folder, world)
            try:
                trainer = Trainer(request, folder, world, stop, fit=fit, why=why)
                reason = trainer.train()
            except Exception as error:
                exhausted = exhaustion(error, trainer.fit if trainer else fit)
                if exhausted and exhausted.wish:
                    under = Circumstances.of(request.recipe.engine, world)
                    save_wish(folder.fit, Wish(exhausted.wish, under))
                if exhausted is None or exhausted is error:
                    raise
                raise exhausted from error
            if world.first:
                folder.end(reason, trainer.step)
    except LimelightError as error:
        if not error.may_pass:
            folder.end("stopped", trainer.step if trainer else 0, message=str(error))
        raise
    return reason


def _forget_the_last_end(folder: RunFolder) -> None:
    """Before any rank can end: a launcher of ours has done it, else rank 0 does."""
    if HOST not in os.environ and os.environ.get("RANK", "0") == "0":
        folder.begin()


def _share_cores(threads: int) -> None:
    """Give this rank its share of the machine's cores."""
    yielding_threads()
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
