"""The votes of a study, as a record tells of them."""

from collections.abc import Collection, Mapping
from typing import Any

from evaluation.records.facts import StudyFacts


def opinions(summary: Mapping[str, Any], methods: Collection[str]) -> tuple[StudyFacts, ...]:
    """What people said of a record's methods.

    Args:
        summary: As `evaluation.study.summary.summarise` gives it.
        methods: Names of the record's methods; votes on others are left out.
    """
    return tuple(
        StudyFacts(
            method=method,
            question=question["column"],
            value=told["mean"],
            low=low,
            high=high,
            votes=told["n"],
            raters=told["participants"],
            agreement=question["agreement"],
        )
        for method, answers in summary["methods"].items()
        if method in methods
        for question in summary["questions"]
        if (told := answers.get(question["key"])) is not None
        for low, high in [told["interval"] or (None, None)]
    )
