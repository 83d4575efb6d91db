"""Where benchmarks keep what they found."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_RESULTS = Path(__file__).resolve().parents[1] / "results"


def keep(result: Mapping[str, Any]) -> None:
    """Print a result as one JSON line, and keep it in ``benchmarks/results/<benchmark>.json``."""
    line = json.dumps(result)
    print(line)
    _RESULTS.mkdir(exist_ok=True)
    (_RESULTS / f"{result['benchmark']}.json").write_text(line + "\n")
