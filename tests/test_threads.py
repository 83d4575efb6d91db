"""Threads that leave the cores to others."""

import os
import threading

import pytest

from infra.threads import step_back


def nicenesses(times: int) -> list[int]:
    """Of a thread that steps back some times, before and after each."""
    found = []

    def look() -> None:
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    def work() -> None:
        look()
        for _ in range(times):
            step_back()
            look()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found


def test_a_thread_steps_back_by_itself_and_never_forward():
    own = os.getpriority(os.PRIO_PROCESS, 0)
    before, once, twice = nicenesses(2)
    assert before == own
    assert once == min(own + 10, 19)
    assert twice == 19
    assert os.getpriority(os.PRIO_PROCESS, 0) == own


def test_where_it_is_forbidden_a_thread_stays_as_it_is(monkeypatch: pytest.MonkeyPatch):
    def forbidden(*_):
        raise PermissionError(13, "not here")

    monkeypatch.setattr(os, "setpriority", forbidden)
    before, after = nicenesses(1)
    assert after == before
