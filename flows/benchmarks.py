"""The benchmarks of a lake, read from their folders alone."""

from dataclasses import dataclass
from pathlib import Path

from catalog.lake import Lake
from catalog.members import check_name
from evaluation.records.record import Record, read_record
from infra.errors import UsageError

RUNS = Path("benchmarks", "runs")
RECORD = "record.json"
PROTOCOL = "protocol.toml"
VIDEOS = "videos"
PAGE = "report.html"


@dataclass(frozen=True)
class BenchmarkFolder:
    """The folder ``<lake>/benchmarks/runs/<name>``; making this object touches nothing.

    Attributes:
        root: The folder.
    """

    root: Path

    @property
    def record(self) -> Path:
        """What was found, as JSON (`evaluation.records.record`)."""
        return self.root / RECORD

    @property
    def protocol(self) -> Path:
        """On what, as TOML."""
        return self.root / PROTOCOL

    @property
    def videos(self) -> Path:
        """Films and pictures that the report and the study show."""
        return self.root / VIDEOS

    @property
    def page(self) -> Path:
        """The report; beside it the same as Markdown, LaTeX and CSV."""
        return self.root / PAGE


def runs_folder(lake: Lake) -> Path:
    """Where the benchmarks' own folders are."""
    return lake.root / RUNS


def benchmark_folder(lake: Lake, name: str) -> BenchmarkFolder:
    """The folder of a benchmark, there or not.

    Raises:
        UsageError: No benchmark can be called so.
    """
    check_name(name)
    return BenchmarkFolder(runs_folder(lake) / name)


def benchmark_names(lake: Lake) -> list[str]:
    """Benchmarks that have a record, sorted."""
    return sorted(path.parent.name for path in runs_folder(lake).glob(f"*/{RECORD}"))


def find_record(lake: Path, said: str) -> Path:
    """The record that somebody means: a file, a folder with one, or a benchmark's name.

    Args:
        lake: Folder of the lake; it need not be there where a file or a folder is meant.
        said: What was typed.

    Raises:
        UsageError: There is none.
    """
    path = Path(said)
    if path.is_file():
        return path
    if (path / RECORD).is_file():
        return path / RECORD
    named: list[str] = []
    if lake.is_dir():
        opened = Lake.open(lake)
        named = benchmark_names(opened)
        if said in named:
            return benchmark_folder(opened, said).record
    raise UsageError(
        f"{said!r} is no benchmark of {lake}, and no record or folder with one",
        hint=f"there are {', '.join(named)}" if named else "limelight benchmark run makes one",
    )


def load_benchmark(lake: Path, said: str) -> tuple[Record, BenchmarkFolder]:
    """A benchmark's record and folder; see `find_record`.

    Raises:
        UsageError: There is none, or it cannot be understood.
    """
    path = find_record(lake, said)
    return read_record(path), BenchmarkFolder(path.parent)
