"""The engine's rules, without Ray: board, ledger, judge, worker processes, inline backend."""

import itertools
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.engine.attempts import Attempted, Broken, HostLostError, Success
from infra.engine.base import Done, Item, Lost, Resources, Result, WorkerSpec
from infra.engine.board import Attempt, Board, Run
from infra.engine.inline import InlineEngine
from infra.engine.keeper import Hand
from infra.engine.ledger import Claim, Ledger, amounts
from infra.engine.open import open_engine
from infra.engine.pool import WorkerPool
from infra.engine.process import WorkerProcess, import_path
from infra.errors import EngineError, LakeError, LimelightError, UsageError, WeightsError
from infra.settings import load_settings

ECHO = "tests.engine_workers:Echo"


class LocalHand:
    """A worker process on this machine, held without Ray between."""

    def __init__(self, name: str, spec: WorkerSpec, folder: Path, memory_bytes: int) -> None:
        self.worker = WorkerProcess(
            name,
            spec,
            memory_bytes=memory_bytes,
            log=folder / f"{name}.log",
            path=import_path(),
        )
        self.killed = False

    def start(self) -> None:
        broken = self.worker.start()
        if broken:
            raise broken.error

    def run(self, attempt: Attempt) -> Attempted:
        came = self.worker.run(attempt.payload, attempt.item.deadline, fresh=attempt.alone)
        if self.killed:
            raise HostLostError("killed")
        return came

    def stop(self) -> None:
        self.worker.stop()

    def kill(self) -> None:
        self.killed = True
        if self.worker.pid:
            os.kill(self.worker.pid, 9)


MakePool = Callable[..., WorkerPool]


@pytest.fixture
def make_pool(tmp_path: Path) -> Iterator[MakePool]:
    pools = []

    def make(
        factory: str = ECHO,
        *,
        size: int = 2,
        window_bytes: int = 1 << 30,
        memory_bytes: int = 0,
        claim: Claim | None = None,
        **arguments: object,
    ) -> WorkerPool:
        spec = WorkerSpec(factory, arguments)
        claim = claim or Claim("test", {}, Ledger({}))

        def hand(name: str) -> Hand:
            return LocalHand(name, spec, tmp_path, memory_bytes)

        pools.append(WorkerPool(claim, size, window_bytes=window_bytes, make=hand))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def by_id(results: Iterator[Result]) -> dict[str, Result]:
    collected = list(results)
    assert max(Counter(result.id for result in collected).values(), default=1) == 1
    return {result.id: result for result in collected}


def words(*payloads: str, **fields: float) -> list[Item]:
    return [Item(payload, payload, **fields) for payload in payloads]  # type: ignore[arg-type]


def test_every_item_comes_back_under_its_own_id(make_pool: MakePool) -> None:
    results = by_id(make_pool().run(words(*"abcdefghijklmnop")))
    assert {id: r.value for id, r in results.items() if isinstance(r, Done)} == {
        letter: letter.upper() for letter in "abcdefghijklmnop"
    }


def test_a_deadline_may_be_years_away(make_pool: MakePool) -> None:
    """As that of a clip whose header claims a thousand million frames."""
    (result,) = make_pool().run(words("a", deadline=1e9))
    assert isinstance(result, Done)


def test_items_are_drawn_only_as_workers_free_up(make_pool: MakePool) -> None:
    drawn = 0

    def endless() -> Iterator[Item]:
        nonlocal drawn
        while True:
            drawn += 1
            yield Item(str(drawn), str(drawn))

    results = make_pool(size=2).run(endless())
    for _ in range(10):
        next(results)
    results.close()  # type: ignore[attr-defined]
    assert drawn <= 10 + 4


def test_items_in_flight_never_exceed_the_window(make_pool: MakePool, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    pool = make_pool(window_bytes=100, seconds=0.1, journal=str(journal))
    list(pool.run(words("a", "b", "c", size=60)))
    began = [float(line.split()[2]) for line in journal.read_text().splitlines()]
    assert all(later - sooner > 0.09 for sooner, later in pairwise(began))


def test_an_item_larger_than_the_window_runs_by_itself(make_pool: MakePool) -> None:
    assert len(by_id(make_pool(window_bytes=1).run(words("a", "b", size=50)))) == 2


def test_an_item_that_killed_its_worker_once_is_done_alone_in_a_fresh_process(
    make_pool: MakePool, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    pool = make_pool("tests.engine_workers:FailsOnce", seconds=0.05, journal=str(journal))
    results = by_id(pool.run(words("once", *"abcdef")))
    assert all(isinstance(result, Done) for result in results.values())
    assert {id: r.attempts for id, r in results.items()} == {"once": 2} | dict.fromkeys("abcdef", 1)
    *others, (last, pid, _) = [
        line.split() for line in journal.read_text().splitlines() if "close" not in line
    ]
    assert last == "once"
    assert pid not in {other for _, other, _ in others}


HOPELESS = pytest.mark.parametrize(
    ("payload", "error", "message", "hint"),
    [
        ("fill_disk", LakeError, "full", "free some space"),
        ("load_another_net", WeightsError, "another net", "limelight weights pull u2net"),
        ("want_a_gpu", UsageError, "no GPU", "ask for one"),
    ],
)


@HOPELESS
def test_what_no_other_item_can_survive_ends_the_run_at_once(
    make_pool: MakePool, payload: str, error: type[LimelightError], message: str, hint: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        list(make_pool().run(words(payload, *"abcdef")))
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("factory", "error", "words"),
    [
        ("weightless", WeightsError, "u2net"),
        ("unimportable", EngineError, "nothing_of_the_sort"),
        ("stillborn", EngineError, "exit 7"),
        ("missing", EngineError, "missing"),
    ],
)
def test_a_worker_that_cannot_be_made_is_an_error_at_once(
    make_pool: MakePool, factory: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        list(make_pool(f"tests.engine_workers:{factory}").run([Item("a", "a")]))


def test_workers_that_always_die_end_the_run(make_pool: MakePool) -> None:
    with pytest.raises(EngineError, match=r"10 items in a row.*exit 3"):
        list(make_pool().run(words(*(f"leave:{n}" for n in range(100)))))


def test_a_host_that_is_lost_again_and_again_is_an_error(tmp_path: Path) -> None:
    class Doomed(LocalHand):
        def start(self) -> None:
            raise HostLostError("the node is gone")

    def hand(name: str) -> Hand:
        return Doomed(name, WorkerSpec(ECHO), tmp_path, 0)

    pool = WorkerPool(Claim("test", {}, Ledger({})), 1, window_bytes=1, make=hand)
    with pytest.raises(EngineError, match="the node is gone"):
        list(pool.run(words("a")))
    pool.close()


def test_an_item_is_not_blamed_for_one_lost_host(tmp_path: Path) -> None:
    losses = iter([True, False])

    class Shaky(LocalHand):
        def run(self, attempt: Attempt) -> Attempted:
            if next(losses):
                raise HostLostError("the node is gone")
            return super().run(attempt)

    def hand(name: str) -> Hand:
        return Shaky(name, WorkerSpec(ECHO), tmp_path, 0)

    pool = WorkerPool(Claim("test", {}, Ledger({})), 1, window_bytes=1, make=hand)
    [result] = pool.run(words("a"))
    pool.close()
    assert isinstance(result, Done)
    assert result.attempts == 1


def test_cancelling_ends_the_run_and_what_is_in_flight(make_pool: MakePool, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    pool = make_pool(journal=str(journal))
    results = pool.run(
        words("hang:1", "hang:2", "a"),
        cancelled=lambda: journal.exists() and journal.read_text().count("hang") == 2,
    )
    assert list(results) == []  # what hangs would take ten minutes
    pids = [int(line.split()[1]) for line in journal.read_text().splitlines()]
    pool.close()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_a_pool_goes_on_after_a_cancelled_run(make_pool: MakePool) -> None:
    pool = make_pool()
    assert list(pool.run(words("hang"), cancelled=lambda: True)) == []
    assert len(by_id(pool.run(words("a", "b")))) == 2


def test_two_threads_share_a_pool(make_pool: MakePool) -> None:
    pool = make_pool(seconds=0.01)
    found: dict[str, dict[str, Result]] = {}

    def partition(name: str) -> None:
        found[name] = by_id(pool.run(words(*(f"{name}{n}" for n in range(20)))))

    threads = [threading.Thread(target=partition, args=(name,)) for name in "xy"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: len(results) for name, results in found.items()} == {"x": 20, "y": 20}
    assert all(id.startswith(name) for name, results in found.items() for id in results)


def test_a_busy_pool_makes_room_for_another(make_pool: MakePool) -> None:
    ledger = Ledger({"CPU": 2})
    rich = make_pool(claim=Claim("rich", {"CPU": 1}, ledger), seconds=0.1)
    poor = make_pool(claim=Claim("poor", {"CPU": 1}, ledger))
    busy, served = threading.Event(), threading.Event()

    def more() -> Iterator[Item]:
        """Work for the rich, and no end of it before the poor were served."""
        numbers = itertools.count()
        while not served.is_set():
            yield Item(str(next(numbers)), "work")

    def drain() -> None:
        for _ in rich.run(more()):
            busy.set()

    thread = threading.Thread(target=drain, daemon=True)
    thread.start()
    assert busy.wait(60)
    assert len(list(poor.run(words("a", "b")))) == 2
    served.set()
    thread.join()


def test_closing_a_pool_closes_its_workers(make_pool: MakePool, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    pool = make_pool(size=1, journal=str(journal))
    list(pool.run(words("a")))
    pool.close()
    assert [line.split()[0] for line in journal.read_text().splitlines()] == ["a", "close"]


def test_workers_use_one_thread(make_pool: MakePool) -> None:
    [result] = make_pool("tests.engine_workers:Threads").run(words("a"))
    assert isinstance(result, Done)
    assert result.value == [1, "1"]


def test_a_pool_does_not_change_its_kind() -> None:
    with open_engine("inline") as engine:
        engine.pool("p", WorkerSpec(ECHO, {"seconds": 1}), Resources(), None)
        with pytest.raises(EngineError, match="'p' exists already"):
            engine.pool("p", WorkerSpec(ECHO, {"seconds": 2}), Resources(), None)


def test_few_items_do_not_start_many_workers(make_pool: MakePool, tmp_path: Path) -> None:
    list(make_pool(size=8).run(words("a")))
    assert len(list(tmp_path.glob("*.log"))) == 1


def test_a_long_log_is_started_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    worker = WorkerProcess("w", WorkerSpec(ECHO), memory_bytes=0, log=log, path=import_path())
    payload = b"\x80\x04\x8c\x07chatter."
    assert isinstance(worker.run(payload, 10), Success)
    assert log.stat().st_size > 3_000_000
    assert isinstance(worker.run(payload.replace(b"chatter", b"whisper"), 10), Success)
    assert log.stat().st_size == 0
    worker.stop()


@given(
    st.lists(st.tuples(st.integers(0, 10), st.booleans()), max_size=30),
    st.integers(1, 12),
    st.randoms(),
)
def test_the_board_keeps_its_rules(posted, window, random) -> None:
    board, run = Board(window), Run()
    board.join(run)
    for n, (size, alone) in enumerate(posted):
        board.post(Attempt(Item(str(n), None, size), run, b"", alone))
    flying: list[Attempt] = []
    seen = 0
    while seen < len(posted) or flying:
        attempt = board.take(0)
        if attempt:
            flying.append(attempt)
            seen += 1
            assert len(flying) == 1 or sum(a.item.size for a in flying) <= window
            assert len(flying) == 1 or not any(a.alone for a in flying)
        else:
            assert flying, "work was left lying with nothing in flight"
            board.land(flying.pop(random.randrange(len(flying))))
    assert seen == len(posted)


def test_a_closed_board_tells_a_run_that_comes_late() -> None:
    board, run = Board(1), Run()
    board.close()
    board.join(run)
    assert isinstance(run.told.get_nowait(), Broken)


def test_a_failing_board_tells_every_run() -> None:
    board, runs = Board(1), [Run(), Run()]
    for run in runs:
        board.join(run)
    board.fail(EngineError("no more"))
    for run in runs:
        told = run.told.get_nowait()
        assert isinstance(told, Broken)
        assert str(told.error) == "no more"


def test_the_ledger_never_books_more_than_there_is() -> None:
    ask = amounts(Resources(num_cpus=0.4, num_gpus=0.5, custom={"decoder": 1}))
    ledger = Ledger(amounts(Resources(num_cpus=1, num_gpus=4, custom={"decoder": 4})))
    assert [ledger.hire("a", ask) for _ in range(3)] == [True, True, False]
    ledger.release("a", ask)
    assert ledger.hire("a", ask)


def test_a_pool_with_several_workers_yields_one_to_a_pool_with_none() -> None:
    ask = amounts(Resources())
    ledger = Ledger({"CPU": 20_000})
    assert ledger.hire("rich", ask)
    assert ledger.hire("rich", ask)
    assert not ledger.must_yield("rich", ask, idle=True)
    assert not ledger.hire("poor", ask)
    assert ledger.must_yield("rich", ask, idle=False)
    ledger.release("rich", ask)
    assert not ledger.hire("rich", ask)
    assert ledger.hire("poor", ask)
    assert not ledger.must_yield("rich", ask, idle=False)


def test_only_an_idle_worker_yields_to_a_pool_that_has_one() -> None:
    ask = amounts(Resources())
    ledger = Ledger({"CPU": 20_000})
    assert ledger.hire("one", ask)
    assert ledger.hire("other", ask)
    assert not ledger.hire("one", ask)
    assert not ledger.must_yield("other", ask, idle=False)
    assert ledger.must_yield("other", ask, idle=True)


def test_inline_loses_only_the_item_that_raises_twice() -> None:
    with InlineEngine() as engine:
        pool = engine.pool("p", WorkerSpec(ECHO), Resources())
        results = by_id(pool.run(words("a", "complain:1", "b")))
    lost = results.pop("complain:1")
    assert isinstance(lost, Lost)
    assert (lost.kind, lost.error, lost.message) == (
        "raised",
        "ValueError",
        "cannot stand complain",
    )
    assert (lost.attempts, lost.note) == (2, "tasting complain:1")
    assert "engine_workers.py" in lost.stderr
    assert all(isinstance(result, Done) for result in results.values())


@HOPELESS
def test_inline_ends_at_once_with_it_too(
    payload: str, error: type[LimelightError], message: str, hint: str
) -> None:
    with open_engine("inline") as engine, pytest.raises(error, match=message):
        list(engine.pool("p", WorkerSpec(ECHO), Resources(), None).run(words(payload)))


def test_inline_raises_what_keeps_a_worker_from_being_made() -> None:
    weightless = WorkerSpec("tests.engine_workers:weightless")
    with open_engine("inline") as engine, pytest.raises(WeightsError):
        list(engine.pool("q", weightless, Resources(), None).run(words("a")))


def test_inline_stops_when_cancelled() -> None:
    with open_engine("inline") as engine:
        seen: list[Result] = []
        pool = engine.pool("p", WorkerSpec(ECHO), Resources(), None)
        seen.extend(pool.run(words(*"abcdef"), cancelled=lambda: len(seen) >= 2))
    assert [result.id for result in seen] == ["a", "b"]


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMELIGHT_WORKERS", "3")
    monkeypatch.setenv("LIMELIGHT_RAY_RESOURCES", '{"decoder": 2}')
    settings = load_settings(lake="elsewhere", workers=None)
    assert (settings.workers, settings.ray_resources, settings.lake) == (
        3,
        {"decoder": 2.0},
        "elsewhere",
    )


def test_a_bad_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMELIGHT_WORKERS", "many")
    with pytest.raises(UsageError, match=r"LIMELIGHT_WORKERS.*'many'"):
        load_settings()
    monkeypatch.delenv("LIMELIGHT_WORKERS")
    with pytest.raises(UsageError, match=r"'backend'.*'spark'"):
        load_settings(backend="spark")
