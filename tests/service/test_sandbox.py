"""What the kernel says of our sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from memewatchd.service.sandbox import sandbox

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("Name:\tpython\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t9\n", "applied"),
        ("NoNewPrivs:\t0\nSeccomp:\t2\n", "absent"),  # a container's own filter
        ("NoNewPrivs:\t1\nSeccomp:\t0\n", "absent"),
        ("", "absent"),
    ],
)
def test_what_the_kernel_says(tmp_path: Path, said: str, found: str) -> None:
    (tmp_path / "status").write_text(said)
    assert sandbox(tmp_path / "status") == found
    assert sandbox(tmp_path / "not there") == "absent"


def test_this_process_is_asked() -> None:
    assert sandbox() in ("applied", "absent")
