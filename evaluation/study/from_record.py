"""What of a benchmark people may rate: every film that was made, and that can be played."""

from evaluation.records.record import Record
from evaluation.study.plan import StudyCell


def study_cells(record: Record) -> list[StudyCell]:
    """The films of a record that a study shows, for `plan.write_cells`.

    Clips are told by their ids: names are for people, and two clips may share one.

    Args:
        record: Of the benchmark, whose videos lie beside it.

    Returns:
        Its cells, in its order. Those that came to nothing are left out, and those of which a
        video is missing; there may be none.
    """
    pictures = {light.name: light.picture for light in record.lights}
    cells = []
    for cell in record.cells:
        reference = record.clip(cell.reference or cell.clip).video
        if cell.outcome == "done" and cell.video and reference:
            picture = pictures.get(cell.light) or None
            cells.append(
                StudyCell(
                    cell.id, cell.method, cell.clip, cell.light, cell.video, reference, picture
                )
            )
    return cells
