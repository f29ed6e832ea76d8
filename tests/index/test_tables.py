"""How rows are put together to be sent."""

from __future__ import annotations

from memewatchd.index import tables


def test_frames_of_one_digest_are_never_sent_apart() -> None:
    most = tables.INSERT_ROWS
    ids = [f"{number:064x}" for number in range(most - 3)]
    ids += [f"{'f' * 64}-{frame}" for frame in range(8)]
    ids += [f"{number:064x}" for number in range(most, most + 5)]
    sent = [[entity["id"] for entity in batch] for batch in tables._batches({"id": key} for key in ids)]
    assert [key for batch in sent for key in batch] == ids
    assert [len(batch) for batch in sent] == [most + 5, 5]


def test_rows_of_files_are_sent_in_pieces() -> None:
    many = 2 * tables.INSERT_ROWS + 1
    sent = [len(batch) for batch in tables._batches({"id": f"{number:064x}"} for number in range(many))]
    assert sent == [tables.INSERT_ROWS, tables.INSERT_ROWS, 1]
