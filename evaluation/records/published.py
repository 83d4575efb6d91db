"""Published numbers, each with its source; shown only beside a metric of the same estimator.

They are those of Guo et al., "High-Fidelity Relightable Monocular Portrait Animation with
Lighting-Controllable Video Diffusion Model" (LCVD), CVPR 2025. Table 3's values are not known to
us. The guidance scales of table 5's columns are not either; they rise from left to right.
"""

from collections.abc import Mapping
from dataclasses import dataclass

_PAPER = "LCVD (CVPR 2025)"


@dataclass(frozen=True)
class PublishedTable:
    """A table of a paper.

    Attributes:
        title: What it shows.
        source: Paper and number of the table.
        rows: Values by row and column, as printed.
    """

    title: str
    source: str
    rows: Mapping[str, Mapping[str, str]]


def _rows(columns: str, **rows: str) -> dict[str, dict[str, str]]:
    names = columns.split()
    return {
        row.replace("_", " "): dict(zip(names, values.split(), strict=True))
        for row, values in rows.items()
    }


TABLES: Mapping[str, PublishedTable] = {
    "hdtf": PublishedTable(
        "Relighting on HDTF",
        f"{_PAPER}, table 1",
        _rows(
            "LE ID LPIPS IQ VQ FID FVD LA-U ID-U VQ-U",
            DPR="0.768 0.730 0.0295 2.646 0.734 44.57 403.0 3.423 3.462 3.125",
            SMFR="0.747 0.601 0.0333 1.057 0.588 60.50 551.6 3.047 2.877 2.604",
            NFL="0.784 0.199 0.0823 2.586 0.766 96.17 819.3 2.894 2.553 2.398",
            StyleFlow="0.932 0.474 0.1088 2.614 0.746 161.3 900.6 2.103 1.929 1.563",
            DiFaReli="0.783 0.531 0.1152 1.103 0.458 57.49 743.2 3.141 2.592 2.284",
            LCVD="0.738 0.585 0.0282 3.034 0.775 37.46 273.3 3.534 4.000 3.398",
        ),
    ),
    "ffhq": PublishedTable(
        "Relighting on FFHQ",
        f"{_PAPER}, table 2",
        _rows(
            "LE ID IQ FID",
            NFL="0.892 0.253 3.020 118.9",
            StyleFlow="1.042 0.485 3.846 102.7",
            DiFaReli="0.749 0.687 1.591 25.98",
            LCVD="0.938 0.765 4.465 26.71",
        ),
    ),
    "ablation-adapters": PublishedTable(
        "Ablation of the adapters on HDTF",
        f"{_PAPER}, table 4",
        _rows(
            "LE ID IQ FID",
            reference_only="1.071 0.802 1.662 35.61",
            shading_only="0.582 0.028 1.248 56.63",
            both="0.738 0.585 3.034 37.46",
        ),
    ),
    "ablation-guidance": PublishedTable(
        "Ablation of the guidance scale",
        f"{_PAPER}, table 5",
        _rows(
            "LE ID IQ",
            guidance_1st="1.079 0.728 2.611",
            guidance_2nd="0.809 0.603 2.988",
            guidance_3rd="0.744 0.563 2.954",
            guidance_4th="0.681 0.503 2.856",
        ),
    ),
}
"""By the name of the protocol that measures the same."""
