"""`make deb`: the client as a Debian package for every machine, in ``dist/``. Standard library and dpkg-deb only.

    build.py [FOLDER]      where the package goes, if not dist/

DEBFULLNAME and DEBEMAIL name its maintainer, SOURCE_DATE_EPOCH its date. The daemon is not in it: torch and Milvus
are no Debian packages; README.Debian says how pipx brings it.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from email.utils import formatdate
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGING = HERE.parent
ROOT = PACKAGING.parent
NAME = "memewatch"
# What the client may import (a test of the house's rules holds it to that), and nothing else of the package.
MODULES = ("__init__.py", "client.py", "protocol.py", "ops.py", "errors.py", "cache_names.py", "py.typed", "desktop")
# Where pipx puts programs.
DAEMON = "%h/.local/bin/memewatchd"
LIBRARY = "usr/lib/python3/dist-packages/memewatchd"
DOC = f"usr/share/doc/{NAME}"
UNITS = "usr/lib/systemd/user"
# From packaging/ → into the package.
FILES = {
    "completions/memewatch.bash": "usr/share/bash-completion/completions/memewatch",
    "completions/_memewatch": "usr/share/zsh/vendor-completions/_memewatch",
    "completions/memewatch.fish": "usr/share/fish/vendor_completions.d/memewatch.fish",
    "desktop/memewatchd.desktop": "usr/share/applications/memewatchd.desktop",
    "desktop/memewatchd.svg": "usr/share/icons/hicolor/scalable/apps/memewatchd.svg",
    "systemd/hardening.conf": f"{UNITS}/memewatchd.service.d/hardening.conf",
    "systemd/network.conf": f"{DOC}/examples/network.conf",
    "systemd/wall.conf": f"{DOC}/examples/wall.conf",
    "deb/README.Debian": f"{DOC}/README.Debian",
    "deb/copyright": f"{DOC}/copyright",
}
# Shells look for completions by the program's name.
LINKS = {
    "usr/share/bash-completion/completions/memewatchd": "memewatch",
    "usr/share/fish/vendor_completions.d/memewatchd.fish": "memewatch.fish",
}
PAGES = ("memewatch.1", "memewatchd.1", "memewatchd.toml.5")
PROGRAM = """\
#!/usr/bin/python3 -I
import sys

from memewatchd.client import main

sys.exit(main())
"""
CONTROL = """\
Package: {name}
Version: {version}
Architecture: all
Maintainer: {maintainer}
Installed-Size: {size}
Depends: python3 (>= 3.11)
Recommends: pipx, xdg-utils, rofi | fuzzel | wofi | fzf, xclip | wl-clipboard
Suggests: python3-venv
Section: utils
Priority: optional
Description: find a meme in a folder by words, and paste it
 Asks memewatchd, a daemon that watches folders of memes, stickers and
 reaction pictures, for those that fit some words, in English or Chinese:
 by their look, by the words in them, by name and by tag. A picture is
 chosen in rofi, fuzzel, wofi or fzf and put on the clipboard.
 .
 This package has the client (memewatch, and the Python module
 memewatchd.client), the units that start the daemon, man pages and
 completions. The daemon itself comes by pipx: README.Debian says how.
"""


def main(arguments: list[str]) -> int:
    """Build the package and say where it is."""
    if shutil.which("dpkg-deb") is None:
        print("dpkg-deb is missing; it comes with Debian and Ubuntu (apt install dpkg)", file=sys.stderr)
        return 1
    target = Path(arguments[0]) if arguments else ROOT / "dist"
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        fill(tree)
        file = target / f"{NAME}_{version()}_all.deb"
        # xz, which every dpkg can read.
        command = ["dpkg-deb", "--root-owner-group", "-Zxz", "--build", str(tree), str(file)]
        environment = os.environ | {"SOURCE_DATE_EPOCH": str(date())}
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    print(f"{file}\nInstall it: sudo apt install {file if file.is_absolute() else f'./{file}'}")
    return 0


def fill(tree: Path) -> None:
    """All files of the package, and its control files."""
    copy_client(tree)
    write(tree / "usr/bin" / NAME, PROGRAM, 0o755)
    for source, place in FILES.items():
        write(tree / place, (PACKAGING / source).read_bytes())
    for place, other in LINKS.items():
        (tree / place).symlink_to(other)
    for page in PAGES:
        write(tree / f"usr/share/man/man{page[-1]}/{page}.gz", packed((PACKAGING / "man" / page).read_bytes()))
    for name in ("memewatchd.service", "memewatchd.socket", "memewatchd-state.service"):
        write(tree / UNITS / name, unit((PACKAGING / "systemd" / name).read_text(encoding="utf-8")))
    write(tree / DOC / "changelog.gz", packed(changelog().encode()))
    control = CONTROL.format(name=NAME, version=version(), maintainer=maintainer(), size=installed_kib(tree))
    write(tree / "DEBIAN/md5sums", sums(tree))
    write(tree / "DEBIAN/control", control)
    for script in ("postinst", "prerm"):
        write(tree / "DEBIAN" / script, (HERE / script).read_bytes(), 0o755)
    for folder in [tree, *(item for item in tree.rglob("*") if item.is_dir() and not item.is_symlink())]:
        folder.chmod(0o755)  # whatever the umask


def copy_client(tree: Path) -> None:
    for name in MODULES:
        source = ROOT / "memewatchd" / name
        files = [source] if source.is_file() else sorted(item for item in source.rglob("*") if item.is_file())
        for file in files:
            if "__pycache__" not in file.parts:
                data = file.read_bytes()
                write(
                    tree / LIBRARY / file.relative_to(ROOT / "memewatchd"), data, 0o755 if data[:2] == b"#!" else 0o644
                )


def unit(text: str) -> str:
    """A unit as the package installs it: the daemon is where pipx put it."""
    lines = [line for line in text.splitlines() if "@PROGRAM@" not in line or not line.startswith("#")]
    return (
        "\n".join([*lines, ""])
        .replace("@PROGRAM@", DAEMON)
        .replace("[Unit]\n", "[Unit]\nDocumentation=man:memewatchd(1)\n", 1)
    )


def changelog() -> str:
    """Debian's, of this version alone; CHANGELOG.md has the rest."""
    return (
        f"{NAME} ({version()}) unstable; urgency=medium\n\n"
        f"  * Version {version()}; CHANGELOG.md in the sources says what is new.\n\n"
        f" -- {maintainer()}  {formatdate(date())}\n"
    )


def version() -> str:
    text = (ROOT / "memewatchd" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    assert found is not None
    return found[1]


def maintainer() -> str:
    """As Debian's own tools have it."""
    name, address = os.environ.get("DEBFULLNAME"), os.environ.get("DEBEMAIL")
    return f"{name or 'memewatchd'} <{address or 'packages@memewatchd.invalid'}>"


def date() -> int:
    return int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())


def packed(data: bytes) -> bytes:
    return gzip.compress(data, 9, mtime=0)


def installed_kib(tree: Path) -> int:
    """As dpkg counts: each file in whole KiB, everything else 1."""
    return sum(
        -(-item.stat().st_size // 1024) if item.is_file() and not item.is_symlink() else 1 for item in tree.rglob("*")
    )


def sums(tree: Path) -> str:
    files = sorted(item for item in tree.rglob("*") if item.is_file() and not item.is_symlink())
    return "".join(
        f"{hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()}  {file.relative_to(tree)}\n"
        for file in files
    )


def write(file: Path, data: str | bytes, mode: int = 0o644) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data.encode() if isinstance(data, str) else data)
    file.chmod(mode)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
