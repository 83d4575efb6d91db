"""What is left to do, worked out from the rows that there are."""

import numpy as np
import pyarrow as pa

from catalog.outcomes import SCHEMA, Outcome, _cell
from flows.missing import State
from infra.engine.base import Resources
from stages.registry import STAGES, groups

CHAIN = [stage(stage.Config()) for stage in STAGES]
NAMES = [stage.name for stage in CHAIN]


def state(**statuses):
    """State of one clip whose stages ended as told."""
    rows = [Outcome("c", stage, "f", status) for stage, status in statuses.items()]
    columns = {name: [_cell(row, name) for row in rows] for name in SCHEMA.names}
    return State.read(pa.table(columns, schema=SCHEMA), ["c"], CHAIN)


def runs(state):
    return [NAMES[i] for i in np.flatnonzero(state.runnable(CHAIN)[0])]


def test_a_new_clip_runs_every_stage():
    assert runs(state()) == NAMES


def test_a_finished_clip_runs_nothing_and_is_complete():
    finished = state(**dict.fromkeys(NAMES, "done"))
    assert runs(finished) == []
    assert finished.complete().all()


def test_a_rejected_clip_runs_nothing_that_rests_on_the_decision():
    assert runs(state(probe="done", quality="rejected")) == []


def test_only_the_missing_stage_runs():
    done = dict.fromkeys(NAMES, "done")
    del done["matting"]
    assert runs(state(**done)) == ["matting"]


def test_a_stage_that_failed_runs_again():
    assert runs(state(probe="failed")) == NAMES


def test_a_quarantined_clip_is_left_alone():
    assert runs(state(matting="quarantined")) == []


def test_a_rejection_further_down_does_not_stop_a_stage_above_it():
    assert runs(state(probe="done", landmarks="rejected")) == ["quality"]


def test_rows_of_clips_that_are_no_members_are_ignored():
    row = Outcome("stranger", "probe", "f", "done")
    columns = {name: [_cell(row, name)] for name in SCHEMA.names}
    found = State.read(pa.table(columns, schema=SCHEMA), ["c"], CHAIN)
    assert runs(found) == NAMES


def test_a_later_group_waits_for_an_earlier_one():
    later = ("matting",)
    assert list(state(probe="done").tasks(CHAIN, later)) == []
    ready = state(probe="done", quality="done", landmarks="done", frame="done")
    assert list(ready.tasks(CHAIN, later)) == [("c", ["matting"])]


def test_stages_with_the_same_resources_share_a_group():
    assert [group.stages for group in groups(CHAIN)] == [tuple(NAMES)]


def test_a_stage_with_other_resources_gets_a_group_of_its_own():
    cut = groups(CHAIN, {"matting": Resources(num_gpus=0.5)})
    assert [group.stages for group in cut] == [
        ("probe", "quality", "landmarks", "frame"),
        ("matting",),
        ("geometry", "kpmap"),
    ]
