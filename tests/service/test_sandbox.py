"""What the kernel says of our sandbox."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

import pytest

from memewatchd.errors import ConfigError
from memewatchd.service.sandbox import require_network, sandbox

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
def test_what_the_kernel_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, found: str) -> None:
    (tmp_path / "status").write_text(said)
    read_only = list(os.statvfs(tmp_path))
    read_only[8] |= os.ST_RDONLY
    assert sandbox(tmp_path / "status", tmp_path) == "absent"  # the home can be written to
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(read_only))
    assert sandbox(tmp_path / "status", tmp_path) == found
    assert sandbox(tmp_path / "not there", tmp_path) == "absent"


def test_a_sandbox_without_a_network_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    require_network("a test")

    def refuse(*_: object) -> None:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(ConfigError, match=r"^the model needs the network.*make install-service NETWORK=yes"):
        require_network("the model")


def test_this_process_is_asked() -> None:
    assert sandbox() in ("applied", "absent")
