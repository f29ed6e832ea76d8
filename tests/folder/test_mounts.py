"""Which mounts serve a root, from the text that the kernel gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from memewatchd.folder.mounts import MOUNTINFO, MountTable, mounts_for, parse_mountinfo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TEXT = rb"""24 27 0:6 / /dev rw,relatime - devtmpfs devtmpfs rw,size=12334460k,mode=755
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
60 27 0:50 / /home/u/net rw,nosuid shared:30 - nfs4 server:/export rw,vers=4.2
61 27 0:51 / /home/u/My\040Memes rw master:1 propagate_from:2 - fuse.sshfs me@host: rw,user_id=1000
62 27 8:17 / /mnt/stick rw - fuseblk /dev/sdb1 rw
63 27 0:52 / /home/u/Memes/phone rw - 9p share rw
64 27 0:53 / /srv/deep/nfs rw - nfs server:/x rw
65 27 0:54 / /srv/deep rw - tmpfs tmpfs rw
66 27 0:55 / /stack rw - cifs //server/share rw
67 66 0:56 / /stack rw - tmpfs tmpfs rw
68 27 0:57 / /home/u/Memes2 rw - virtiofs host rw
"""
MOUNTS = parse_mountinfo(TEXT)


@pytest.mark.parametrize(
    ("root", "kinds", "silent"),
    [
        (b"/home/u", [b"ext4", b"9p", b"fuse.sshfs", b"nfs4", b"virtiofs"], True),
        (b"/home/u/Memes", [b"ext4", b"9p"], True),
        (b"/home/u/Memes2", [b"virtiofs"], True),
        (b"/home/u/Memes2/deep", [b"virtiofs"], True),
        (b"/home/u/Pictures", [b"ext4"], False),
        (b"/home/u/net/memes", [b"nfs4"], True),
        (b"/home/u/My Memes", [b"fuse.sshfs"], True),
        (b"/mnt/stick/memes", [b"fuseblk"], False),
        (b"/srv/deep/nfs", [b"tmpfs"], False),
        (b"/stack/a", [b"tmpfs"], False),
        (b"/dev/shm", [b"devtmpfs"], False),
    ],
)
def test_the_mounts_that_serve_a_root(root: bytes, kinds: list[bytes], silent: bool) -> None:
    found = mounts_for(MOUNTS, root)
    assert found[0].kind == kinds[0]
    assert sorted(mount.kind for mount in found[1:]) == kinds[1:]
    assert any(mount.is_silent for mount in found) is silent


def test_the_order_of_the_lines_does_not_matter() -> None:
    assert mounts_for(MOUNTS[::-1], b"/srv/deep/nfs") == mounts_for(MOUNTS, b"/srv/deep/nfs")


def test_where_nothing_is_known_nothing_is_silent() -> None:
    assert mounts_for(parse_mountinfo(b"what is this\n"), b"/m") == []


def test_this_machines_own_table_can_be_read() -> None:
    mounts = parse_mountinfo(MOUNTINFO.read_bytes())
    assert mounts_for(mounts, b"/proc/self")[0].kind == b"proc"


CHANGES = """
import os, subprocess, sys
from memewatchd.folder import mounts
read = []
mounts.parse_mountinfo = lambda text, parse=mounts.parse_mountinfo: read.append(text) or parse(text)
table = mounts.MountTable()
held = lambda: any(mount.point == os.fsencode(sys.argv[1]) for mount in table.look())
seen = [held(), held(), len(read)]
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", sys.argv[1]], check=True)
seen += [held(), held(), len(read)]
subprocess.run(["umount", sys.argv[1]], check=True)
seen += [held(), held(), len(read)]
table.close()
seen += [held(), len(read)]
print(seen)
"""


def test_the_table_is_read_again_only_when_the_kernel_says_so(in_namespace: Callable[..., str], tmp_path: Path) -> None:
    said = in_namespace(CHANGES, str(tmp_path), mounts=True)
    assert said.strip() == "[False, False, 1, True, True, 2, False, False, 3, False, 4]"


def test_a_table_that_cannot_be_read_is_empty_and_looked_for_again(tmp_path: Path) -> None:
    table = MountTable(tmp_path / "mountinfo")
    assert table.look() == []
    (tmp_path / "mountinfo").write_bytes(TEXT)
    assert mounts_for(table.look(), b"/")
    table.close()
