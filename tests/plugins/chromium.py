"""A real Chromium without a window, driven over WebDriver; it can reach loopback and nothing else."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from typing import TYPE_CHECKING, Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from selenium.webdriver.remote.webelement import WebElement

PROGRAM = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")
PATIENCE_S = 60
FLAGS = (
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    *(["--no-sandbox"] if os.getuid() == 0 else []),
)
"""Loopback and nothing else, and nothing asked at the first start."""


class Page:
    """One tab. ``driver`` does the rest."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        self.driver.get(url)

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        return self.one(selector).text

    def run(self, script: str, *arguments: Any) -> Any:
        """JavaScript; a promise is waited for."""
        return self.driver.execute_async_script(
            f"const done = arguments[arguments.length - 1];"
            f"(async () => {{ {script} }})().then(done, error => done('failed: ' + error))",
            *arguments,
        )

    def until(self, condition: Callable[[], object], what: str) -> None:
        WebDriverWait(self.driver, PATIENCE_S, 0.05).until(lambda _: condition(), f"never: {what}")

    def press(self, *keys: str) -> None:
        """Keys, one after the other, to whatever has the focus."""
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    def protocol(self, method: str, **parameters: Any) -> Any:
        """Chromium's own DevTools protocol."""
        return self.driver.execute_cdp_cmd(method, parameters)

    def drop(self, file: Path, x: int = 300, y: int = 300) -> None:
        """Drag a file from the desktop over the page and let it go."""
        data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.protocol("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def look(self, *, dark: bool) -> None:
        scheme = "dark" if dark else "light"
        self.protocol("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def complaints(self) -> list[str]:
        """What stands in the console: errors, policies that were broken."""
        entries: list[dict[str, str]] = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in entries if entry["level"] != "INFO"]


@contextlib.contextmanager
def chromium(downloads: Path, language: str = "en", size: tuple[int, int] = (1100, 800)) -> Iterator[Page]:
    """A browser with a profile of its own, which may write to the clipboard."""
    profile = tempfile.mkdtemp(prefix="chromium-")
    options = webdriver.ChromeOptions()
    options.binary_location = PROGRAM or ""
    for flag in (
        *FLAGS,
        "--headless=new",
        "--force-device-scale-factor=1",
        f"--user-data-dir={profile}",
        f"--window-size={size[0]},{size[1]}",
        f"--lang={language}",
    ):
        options.add_argument(flag)
    options.add_experimental_option(
        "prefs", {"intl.accept_languages": language, "download.default_directory": str(downloads)}
    )
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(DRIVER))
    try:
        driver.set_script_timeout(PATIENCE_S)
        driver.execute_cdp_cmd(
            "Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
        )
        yield Page(driver)
    finally:
        driver.quit()
        shutil.rmtree(profile, ignore_errors=True)
