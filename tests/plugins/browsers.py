"""Browsers with a window, on a desktop of `desktops.py`, over one page that says what is pasted into it."""

from __future__ import annotations

import base64
import json
import os
import queue
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chromium import FLAGS
from desktops import PATIENCE_S, SwayDesktop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from desktops import Desktop

PAGE = """<!doctype html><meta charset=utf-8><title>paste here</title>
<style>html, body { height: 100%; margin: 0 }</style><body contenteditable><script>
const say = (what) => fetch("/said", {method: "POST", body: JSON.stringify(what)});
const bytes = async (file) => {
  let text = "";
  for (const byte of new Uint8Array(await file.arrayBuffer())) text += String.fromCharCode(byte);
  return {name: file.name, type: file.type, data: btoa(text)};
};
addEventListener("paste", async (event) => {
  event.preventDefault();
  say(await Promise.all([...event.clipboardData.files].map(bytes)));
});
document.body.focus();
say("ready");
</script>"""

# Nothing but loopback is reached, and nothing asked at the first start.
FIREFOX = {
    "network.proxy.type": 1,
    "network.proxy.http": "127.0.0.1",
    "network.proxy.http_port": 9,
    "network.proxy.ssl": "127.0.0.1",
    "network.proxy.ssl_port": 9,
    "network.proxy.no_proxies_on": "127.0.0.1",
    "browser.aboutwelcome.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "datareporting.policy.dataSubmissionPolicyBypassNotification": True,
    "termsofuse.bypassNotification": True,
}


class Browser:
    """One window that shows the page. :meth:`paste` presses Ctrl-V in it."""

    def __init__(self, name: str, desktop: Desktop, said: queue.Queue[Any]) -> None:
        self._name = name
        self._desktop = desktop
        self._said = said

    def paste(self) -> list[tuple[str, str, bytes]]:
        """The files that the page is given: name, type and bytes of each."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            self._desktop.key("ctrl+v")
            try:
                files = self._said.get(timeout=3)
            except queue.Empty:
                # Again: a window takes the keyboard when it likes, and what a browser shows beside its page does, too.
                assert time.monotonic() < deadline, f"nothing was pasted; there are {self._desktop.windows()}"
                self._desktop.focus(self._name)
                self._desktop.key("F6")  # from its own bars to the page, or back: then the next time
                continue
            return [(file["name"], file["type"], base64.b64decode(file["data"])) for file in files]


@contextmanager
def page() -> Iterator[tuple[str, queue.Queue[Any]]]:
    """The page's address, and what it says."""
    said: queue.Queue[Any] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(PAGE.encode() if self.path == "/" else b"")

        def do_POST(self) -> None:
            said.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._answer(b"")

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", said
        finally:
            server.shutdown()


@contextmanager
def browser(name: str, desktop: Desktop) -> Iterator[Browser]:
    """``name``: chromium or firefox-esr, with a profile of its own."""
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as folder, page() as (url, said):
        command, environ = _command(name, desktop, Path(folder), url)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command, env=environ, start_new_session=True, **quiet) as process:  # type: ignore[call-overload]
            try:
                assert said.get(timeout=PATIENCE_S) == "ready"
                window = "chromium" if name == "chromium" else "firefox"
                desktop.focus(window)
                yield Browser(window, desktop, said)
            finally:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, 9)


def _command(name: str, desktop: Desktop, folder: Path, url: str) -> tuple[list[str], dict[str, str]]:
    wayland = isinstance(desktop, SwayDesktop)
    environ = desktop.environ | {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_CACHE_HOME": str(folder)}
    if name == "chromium":
        command = [
            "chromium",
            f"--ozone-platform={'wayland' if wayland else 'x11'}",
            *FLAGS,
            "--password-store=basic",
            f"--user-data-dir={folder}",
            url,
        ]
        return command, environ
    lines = [f"user_pref({json.dumps(key)}, {json.dumps(value)});\n" for key, value in FIREFOX.items()]
    (folder / "user.js").write_text("".join(lines))
    environ |= {"MOZ_ENABLE_WAYLAND": "1" if wayland else "0", "MOZ_CRASHREPORTER_DISABLE": "1"}
    return [name, "--profile", str(folder), "--no-remote", "--new-instance", "--kiosk", url], environ
