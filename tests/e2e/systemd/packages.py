"""As README.Debian says: the client by its Debian package, the daemon by pipx, in a fresh Debian of its own.

    python tests/e2e/systemd/packages.py     # as root, with debootstrap, Xvfb, xdotool, chromium and chromedriver

Nothing of this clone shows in there. A picture is dropped, found with `memewatch pick` (its own rofi and xclip, on an X
server outside) and on the wall (a Chromium outside). Packages come from Debian and from where pip is told to get them:
PIP_* and /etc/pip.conf go in with it; SOAK_SHOW names paths that these need, with colons between, and SOAK_PIP_ARGS
stands in the place of README.Debian's `--pip-args`. Minutes, and some GB in SOAK_ROOT (default `.run/packages-root`).
"""

from __future__ import annotations

import base64
import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
CLONE = HERE.parents[2]
os.environ.setdefault("SOAK_ROOT", str(CLONE / ".run" / "packages-root"))
sys.path[:0] = [str(CLONE / "packaging"), str(CLONE / "tests" / "plugins")]

import release_check  # noqa: E402 - it builds the wheel
from chromium import chromium  # noqa: E402
from machine import HOME, HOME_HERE, ROOT, Machine, NamespaceMachine, give_to_user, holds, prepare, same  # noqa: E402
from PIL import Image  # noqa: E402
from x_server import x_server  # noqa: E402

README = CLONE / "packaging" / "deb" / "README.Debian"
PACKAGES = ("ca-certificates", "pipx", "python3-venv", "rofi", "xclip")
EXTRAS = "heif,ocr,video,web"
PIP_ARGS = os.environ.get("SOAK_PIP_ARGS", "--extra-index-url https://download.pytorch.org/whl/cpu")
NAME = "tiny purple flag.png"
WALL = "http://127.0.0.1:8088"


def put_packages() -> str:
    """What an administrator does; the wheel's place in there."""
    show("etc/resolv.conf")
    with tempfile.TemporaryDirectory() as folder:
        wheel, _ = release_check.build(Path(folder))
        shutil.copy(wheel, ROOT / "srv")
        subprocess.run(
            [sys.executable, CLONE / "packaging/deb/build.py", folder], check=True, stdout=subprocess.DEVNULL
        )
        (package,) = Path(folder).glob("*.deb")
        shutil.copy(package, ROOT / "srv")
    apt = ["chroot", str(ROOT), "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
    subprocess.run([*apt, "update"], check=True)
    subprocess.run([*apt, "install", "-y", "--no-install-recommends", *PACKAGES], check=True, stdout=subprocess.DEVNULL)
    install = [*apt, "install", "-y", "--reinstall", "--no-install-recommends", f"/srv/{package.name}"]
    subprocess.run(install, check=True, stdout=subprocess.DEVNULL)
    print("ok: the package is installed", flush=True)
    show("etc/pip.conf", "etc/ssl/certs/ca-certificates.crt")
    return f"/srv/{wheel.name}"


def show(*files: str) -> None:
    """How this machine reaches the network, where it has that written down."""
    for file in files:
        if (Path("/") / file).exists():
            shutil.copyfile(Path("/") / file, ROOT / file)


def check_installation(machine: Machine, wheel: str) -> None:
    """README.Debian's lines, one after the other; "memewatchd" is the wheel here."""
    text = README.read_text()
    pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    done = machine.user("pipx", "install", f"--pip-args={PIP_ARGS}", f"{wheel}[{EXTRAS}]", **pip)
    same(done.returncode, 0, f"pipx installs the daemon {done.stderr[-2000:] if done.returncode else ''}")
    for line in (
        "mkdir -p ~/.config/memewatchd",
        "echo 'folder = [\"~/Memes\"]' > ~/.config/memewatchd/config.toml",
        "systemctl --user enable --now memewatchd.socket memewatchd",
        "memewatch wait && memewatch search angry cat",
    ):
        holds(f"    {line}\n" in text, f"README.Debian says: {line}")
        done = machine.user("sh", "-c", line)
        same(done.returncode, 0, f"and it works {done.stderr}")
    holds("angry" in done.stdout or "cat" in done.stdout, f"an angry cat: {done.stdout.splitlines()[0]}")
    same(machine.user("which", "memewatch").stdout.strip(), "/usr/bin/memewatch", "the client is the package's")
    program = machine.user("readlink", "-f", f"/proc/{machine.shown('MainPID')}/exe").stdout
    holds(f"{HOME}/.local" in machine.shown("ExecStart"), f"the daemon is pipx's, run by {program.strip()}")


def drop() -> bytes:
    """A new picture in the folder; its pixels."""
    picture = Image.new("RGB", (120, 80), "purple")
    picture.paste("gold", (0, 0, 60, 80))
    stream = io.BytesIO()
    picture.save(stream, "png")
    (HOME_HERE / "Memes" / NAME).write_bytes(stream.getvalue())
    give_to_user(HOME_HERE / "Memes" / NAME)
    return picture.tobytes()


def check_pick(machine: Machine, display: str, pixels: bytes) -> None:
    """Typed into rofi, chosen, and on the clipboard."""
    same(machine.user("memewatch", "wait", "--timeout", "120").returncode, 0, "the dropped picture is indexed")
    environ = os.environ | {"DISPLAY": display}
    start = "memewatch pick --with rofi </dev/null >/tmp/pick.log 2>&1 & echo $!"
    machine.user("sh", "-c", start, DISPLAY=display)
    window = ["xdotool", "search", "--sync", "--class", "rofi"]
    subprocess.run(window, env=environ, check=True, stdout=subprocess.DEVNULL, timeout=60)
    time.sleep(3)
    subprocess.run(["xdotool", "type", "--delay", "60", "purple fl"], env=environ, check=True)
    time.sleep(2)
    subprocess.run(["xdotool", "key", "Return"], env=environ, check=True)
    paste = ["sh", "-c", "xclip -selection clipboard -o -t image/png | base64"]
    deadline = time.monotonic() + 30
    while not (pasted := machine.user(*paste, DISPLAY=display).stdout):
        if time.monotonic() > deadline:
            raise AssertionError(f"nothing on the clipboard: {machine.user('cat', '/tmp/pick.log').stdout}")
        time.sleep(0.5)
    with Image.open(io.BytesIO(base64.b64decode(pasted))) as picture:
        same(picture.convert("RGB").tobytes() == pixels, True, "typed, chosen with rofi, and pasted: the same pixels")


def check_wall(machine: Machine) -> None:
    """With the drop-in that the package has among its examples."""
    drop_ins = f"{HOME}/.config/systemd/user/memewatchd.service.d"
    copied = (
        f"mkdir -p {drop_ins} ~/.local/share/Trash && cp /usr/share/doc/memewatch/examples/wall.conf {drop_ins}/ && "
        "systemctl --user daemon-reload && systemctl --user restart memewatchd && memewatch wait"
    )
    done = machine.user("sh", "-c", copied)
    same(done.returncode, 0, f"wall.conf is put in {done.stderr}")
    same(machine.status()["sandbox"], "applied", "and the sandbox holds")
    with tempfile.TemporaryDirectory() as downloads, chromium(Path(downloads)) as page:
        page.open(WALL)
        page.press(*"purple flag")
        page.until(lambda: NAME in page.driver.page_source, "the picture is on the wall")
        same(page.complaints(), [], "typed in the browser, and seen there")


class Packaged(NamespaceMachine):
    """What is installed is the package's."""

    def memewatch(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.user("memewatch", *arguments)


def main() -> int:
    """Run every check; 1 at the first that fails."""
    if os.getuid() != 0 or any(shutil.which(name) is None for name in ("debootstrap", "Xvfb", "xdotool", "chromium")):
        print("This needs root, debootstrap, xvfb, xdotool, chromium and chromium-driver.", file=sys.stderr)
        return 2
    prepare()
    wheel = put_packages()
    seen = [Path(path) for path in os.environ.get("SOAK_SHOW", "").split(":") if path]
    with Packaged(seen) as machine, x_server((1280, 800), "-ac") as display:  # from another user
        check_installation(machine, wheel)
        check_pick(machine, display, drop())
        check_wall(machine)
    print("all held")
    return 0


if __name__ == "__main__":
    sys.exit(main())
