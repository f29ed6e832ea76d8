"""The picture wall in a real Chromium, with the real daemon behind it: keys, clicks, a drop, the clipboard."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from chromium import DRIVER, PROGRAM, Page, chromium
from PIL import Image
from real_daemon import Daemon, picture
from selenium.webdriver import ActionChains
from selenium.webdriver.common.keys import Keys
from wall_browser import Browser, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.skipif(not (PROGRAM and DRIVER), reason="the Debian packages chromium and chromium-driver are missing"),
    pytest.mark.xdist_group("chromium"),
]


@pytest.fixture(scope="module")
def wall(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A folder with stills, one of them large, and an animated one."""
    home = Path(tempfile.mkdtemp(prefix="meme-"))
    folder = home / "Memes"
    folder.mkdir()
    for seed in range(12):
        picture(folder / f"cat {seed}.png", seed)
    noise = np.random.default_rng(5).integers(0, 256, (600, 1200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "large dog.jpg")
    frames = [Image.fromarray(np.full((30, 40, 3), shade, dtype=np.uint8)) for shade in (0, 120, 250)]
    frames[0].save(folder / "dancing bird.gif", save_all=True, append_images=frames[1:], duration=100)
    port = free_port()
    try:
        with Daemon(home, "--model", "bundled", "--http", f"127.0.0.1:{port}") as daemon:
            daemon.wait()
            yield Browser(daemon, port)
    finally:
        shutil.rmtree(home)


@pytest.fixture(scope="module")
def tab(wall: Browser) -> Iterator[Page]:
    with chromium(wall.daemon.home) as page:
        yield page


@pytest.fixture
def page(tab: Page, wall: Browser) -> Iterator[Page]:
    """The wall, freshly opened, all pictures shown."""
    tab.open(wall.origin)
    tab.until(lambda: len(names(tab)) >= 14, "all are shown")
    yield tab
    assert [line for line in tab.complaints() if "400" not in line and "403" not in line] == []


def names(page: Page) -> list[str]:
    found: list[str] = page.run("return [...document.querySelectorAll('#wall .name')].map(each => each.textContent)")
    return found


def focused(page: Page) -> str:
    """The name on the picture that has the focus, "" where none has."""
    text: str = page.run("return document.activeElement.querySelector('.name')?.textContent ?? ''")
    return text


def type_in(page: Page, text: str, first: str) -> None:
    box = page.one("#query")
    box.clear()
    box.send_keys(text)
    # An older answer to the same words may be shown still.
    shown = ("#wall", "data-query", text), ("#wall", "aria-busy", "false")
    page.until(lambda: all(page.one(one).get_attribute(key) == value for one, key, value in shown), f"{text}: answered")
    assert names(page)[0] == first


def clipboard(page: Page) -> dict[str, Any]:
    """Types and, decoded by the browser, size and corner of the picture on the clipboard."""
    found: dict[str, Any] = page.run(
        """
        const [item] = await navigator.clipboard.read();
        const blob = await item.getType("image/png");
        const bitmap = await createImageBitmap(blob);
        const canvas = new OffscreenCanvas(bitmap.width, bitmap.height), pen = canvas.getContext("2d");
        pen.drawImage(bitmap, 0, 0);
        return {types: item.types, width: bitmap.width, height: bitmap.height,
                pixels: [...pen.getImageData(0, 0, bitmap.width, bitmap.height).data]};
        """
    )
    assert isinstance(found, dict), found
    return found


def test_typing_shows_pictures(page: Page) -> None:
    assert page.driver.switch_to.active_element.get_attribute("id") == "query", "one can type at once"
    type_in(page, "large dog", "large dog.jpg")
    type_in(page, "dancing", "dancing bird.gif")
    assert page.run(
        "await new Promise(r => setTimeout(r, 200)); return document.querySelector('#wall img').naturalWidth"
    )


def test_the_last_keystroke_wins(page: Page) -> None:
    """However late the answers to earlier ones come: here the first is held back until the last has been shown."""
    page.run(
        """
        const real = window.fetch;
        let first = true;
        window.fetch = async (path, options) => {
          const hold = path === "/api/search" && first;
          if (hold) { first = false; options = {...options, signal: undefined}; }
          const reply = await real(path, options);
          if (hold) await new Promise(free => { window.free = free; });
          return reply;
        };
        """
    )
    box = page.one("#query")
    box.send_keys("l")
    page.until(lambda: page.run("return Boolean(window.free)"), "the first answer is held back")
    box.send_keys("arge dog")
    page.until(lambda: names(page)[:1] == ["large dog.jpg"], "the last answer is shown")
    before = names(page)
    page.run("window.free(); await new Promise(rest => setTimeout(rest, 200))")
    assert names(page) == before


def test_keys_walk_and_enter_copies(page: Page, wall: Browser) -> None:
    page.press("cat")
    page.until(lambda: page.one("#wall").get_attribute("data-query") == "cat", "the answer is shown")
    order = names(page)
    assert len(order) >= 12
    page.press(Keys.ARROW_DOWN)
    assert focused(page) == order[0]
    page.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert focused(page) == order[2]
    page.press(Keys.ARROW_LEFT)
    assert focused(page) == order[1]
    page.press(Keys.END)
    assert focused(page) == order[-1]
    page.press(Keys.HOME)
    page.press(Keys.ENTER)
    page.until(lambda: order[0] in page.text("#said"), "it says what was copied")
    copied = clipboard(page)
    with Image.open(wall.file(order[0])) as opened:
        wanted = opened.convert("RGBA")
    assert (copied["width"], copied["height"]) == wanted.size
    assert bytes(copied["pixels"]) == wanted.tobytes()
    page.press(Keys.ARROW_UP)
    assert page.driver.switch_to.active_element.get_attribute("id") == "query"


def test_new_words_begin_at_the_first(page: Page) -> None:
    """However far one had walked before, and even while their answer is on its way."""
    type_in(page, "cat 3", "cat 3.png")
    page.press(Keys.ARROW_DOWN, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, "/")
    page.run("window.fetch = () => new Promise(() => {})")
    page.press("cat 3")
    assert page.one("#wall").get_attribute("aria-busy") == "true"
    page.press(Keys.ARROW_DOWN)
    assert focused(page) == "cat 3.png"


def test_enter_in_the_search_copies_the_first(page: Page) -> None:
    """Small enough for a chat, even where it comes before the answer."""
    page.press("large dog", Keys.ENTER)
    page.until(lambda: "large dog.jpg" in page.text("#said"), "it says what was copied")
    copied = clipboard(page)
    assert (copied["width"], copied["height"]) == (512, 256)
    page.press(Keys.ARROW_DOWN)
    page.driver.switch_to.active_element.send_keys(Keys.SHIFT, Keys.ENTER)
    page.until(lambda: clipboard(page)["width"] == 1200, "Shift Enter copies all of it")


def test_an_animated_one_is_downloaded(page: Page, wall: Browser) -> None:
    type_in(page, "dancing bird", "dancing bird.gif")
    page.press(Keys.ENTER)
    saved = wall.daemon.home / "dancing bird.gif"
    page.until(saved.exists, "the download is there")
    assert saved.read_bytes() == wall.file("dancing bird.gif").read_bytes()
    assert "drag" in page.text("#said")


def test_a_click_copies(page: Page) -> None:
    type_in(page, "cat 5", "cat 5.png")
    page.all("#wall li")[0].click()
    page.until(lambda: "cat 5.png" in page.text("#said"), "it says what was copied")


def test_similar(page: Page) -> None:
    """Either similar ones, the picture itself first, or a plain word on why not."""
    type_in(page, "cat 4", "cat 4.png")
    page.press(Keys.ARROW_DOWN, "s")
    page.until(lambda: page.one("#like").is_displayed(), "it says what it looks for")
    page.until(lambda: names(page)[:1] == ["cat 4.png"] or page.one("#problem").is_displayed(), "an answer")
    assert "cat 4.png" in page.text("#like")
    page.one("#like").click()
    page.until(lambda: not page.one("#like").is_displayed() and names(page), "back to words")


def test_a_dropped_picture_is_added(page: Page, wall: Browser, tmp_path: Path) -> None:
    file = tmp_path / "dropped.png"
    picture(file, 991)
    page.drop(file)
    page.until(lambda: "1" in page.text("#said"), "it says so")
    page.until(lambda: wall.file("dropped.png").exists(), "it is in the folder")
    assert wall.file("dropped.png").read_bytes() == file.read_bytes()
    page.until(lambda: "dropped.png" in names(page), "it shows up by itself")
    page.drop(file)
    page.until(lambda: "exists" in page.text("#said"), "it says that it is there")
    text = tmp_path / "note.txt"
    text.write_text("no picture")
    page.drop(text)
    page.until(lambda: "not a picture" in page.text("#said"), "it says that this is none")
    assert not [name for name in os.listdir(wall.daemon.folder) if name.startswith(("note", "."))]


def test_delete_and_undo(page: Page, wall: Browser) -> None:
    type_in(page, "cat 7", "cat 7.png")
    content = wall.file("cat 7.png").read_bytes()
    page.press(Keys.ARROW_DOWN, Keys.DELETE)
    page.until(lambda: not wall.file("cat 7.png").exists(), "it is in the trash")
    page.until(lambda: "cat 7.png" not in names(page), "it is gone from the wall")
    page.until(lambda: page.one("#undo").is_displayed(), "it can be taken back")
    page.press("z")
    page.until(lambda: wall.file("cat 7.png").exists(), "it is back")
    assert wall.file("cat 7.png").read_bytes() == content
    wall.daemon.wait()
    page.until(lambda: "cat 7.png" in names(page), "and shown")
    page.press(Keys.ESCAPE)
    type_in(page, "cat 7", "cat 7.png")
    page.press(Keys.ARROW_DOWN, Keys.DELETE)
    page.until(lambda: not wall.file("cat 7.png").exists(), "it is in the trash again")
    page.until(lambda: page.one("#undo").is_displayed(), "there is a button too")
    page.one("#undo").click()
    page.until(lambda: wall.file("cat 7.png").exists(), "it is back again")


def test_another_picture_of_a_deleted_ones_name_is_shown(page: Page, wall: Browser) -> None:
    content = wall.file("cat 8.png").read_bytes()
    for again, what in ((content, "the same, put there by the page"), (wall.file("cat 9.png").read_bytes(), "another")):
        type_in(page, "cat 8", "cat 8.png")
        page.press(Keys.ARROW_DOWN, Keys.DELETE)
        page.until(lambda: "cat 8.png" not in names(page), "it is gone from the wall")
        if again == content:
            new = wall.daemon.home / "cat 8.png"
            new.write_bytes(content)
            page.drop(new)
        else:
            wall.file("cat 8.png").write_bytes(again)
        page.until(lambda: "cat 8.png" in names(page), what)
    wall.file("cat 8.png").write_bytes(content)


def test_favourite_and_tags(page: Page, wall: Browser) -> None:
    type_in(page, "cat 9", "cat 9.png")
    page.press(Keys.ARROW_DOWN, "f")
    page.until(lambda: tags(wall, "cat 9.png") == "fav", "the file says so")
    page.until(lambda: page.one("#wall li .fav").is_displayed(), "and the page")
    page.press("t")
    page.until(lambda: page.one("#tags-box").is_displayed(), "the box is open")
    page.press(", 猫，sleepy", Keys.ENTER)
    page.until(lambda: tags(wall, "cat 9.png") == "fav,猫,sleepy", "the file has them")
    page.until(lambda: focused(page) == "cat 9.png", "the focus is where it was")
    page.until(lambda: "sleepy" in page.text("#wall li .tags"), "the page shows them")
    assert "sleepy" in (page.all("#wall li")[0].get_attribute("aria-label") or "")
    page.press("f")
    page.until(lambda: tags(wall, "cat 9.png") == "猫,sleepy", "no favourite any more")


def test_tags_of_a_picture_that_was_found_anew_meanwhile_are_shown_and_not_lost(page: Page, wall: Browser) -> None:
    wall.daemon.ask(op="pause")  # so that the page has no reason to ask again by itself
    try:
        type_in(page, "cat 3", "cat 3.png")
        page.press(Keys.ARROW_DOWN, "t")
        page.until(lambda: page.one("#tags-box").is_displayed(), "the box is open")
        page.run("query.value = 'cat'; query.dispatchEvent(new Event('input'))")
        page.until(lambda: page.one("#wall").get_attribute("data-query") == "cat", "another answer is shown")
        page.press("猫, sleepy", Keys.ENTER)
        page.until(lambda: tags(wall, "cat 3.png") == "猫,sleepy", "the file has them")
        page.until(lambda: "sleepy" in tags_shown(page, "cat 3.png"), "the page too")
        page.until(lambda: focused(page) == "cat 3.png", "the focus is where it was")
        page.press("f")
        page.until(lambda: tags(wall, "cat 3.png") == "猫,sleepy,fav", "and none is lost by the next change")
    finally:
        wall.daemon.ask(op="resume")


def tags_shown(page: Page, name: str) -> str:
    text: str = page.run(
        "return [...document.querySelectorAll('#wall li')]"
        ".find(each => each.querySelector('.name').textContent === arguments[0])"
        "?.querySelector('.tags').textContent ?? ''",
        name,
    )
    return text


def tags(wall: Browser, name: str) -> str:
    try:
        return os.getxattr(wall.file(name), "user.xdg.tags").decode()
    except OSError:
        return ""


def test_what_failed_and_why(page: Page, wall: Browser) -> None:
    wall.file("broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    try:
        page.until(lambda: page.one("#failed").is_displayed(), "it says that one failed")
        page.one("#failed").click()
        page.until(lambda: "broken.png" in page.text("#failed-list"), "it is listed")
        reason = page.text("#failed-list span")
        assert reason
        page.press(Keys.ESCAPE)
        page.until(lambda: not page.one("#failed-box").is_displayed(), "closed")
    finally:
        wall.file("broken.png").unlink()


def test_indexing_is_seen_live(page: Page, wall: Browser) -> None:
    wall.daemon.ask(op="pause")
    try:
        page.until(lambda: "paused" in page.text("#state"), "it says that it is paused")
        for seed in range(2000, 2040):
            picture(wall.file(f"many {seed}.png"), seed)
    finally:
        wall.daemon.ask(op="resume")
    page.until(lambda: "many 2039.png" in names(page), "the new ones show up")
    page.until(lambda: "all indexed" in page.text("#state"), "it says that all is done")
    for seed in range(2000, 2040):
        wall.file(f"many {seed}.png").unlink()
    page.until(lambda: "many 2039.png" not in names(page), "and go")
    page.complaints()  # pictures that were asked for as they went


def test_for_a_screen_reader(page: Page) -> None:
    """Names and roles as Chromium's own accessibility tree has them."""
    label = f"{len(names(page))} memes"
    page.until(lambda: label in (page.one("#wall").get_attribute("aria-label") or ""), "the list says how many")
    page.protocol("Accessibility.enable")
    nodes = page.protocol("Accessibility.getFullAXTree")["nodes"]
    found = [
        (node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node.get("ignored")
    ]
    roles = [role for role, _ in found]
    assert ("option", "dancing bird.gif, animated") in found
    assert roles.count("listbox") == 1
    assert roles.count("searchbox") == 1
    assert "status" in roles
    assert "banner" in roles
    assert "main" in roles
    for role, name in found:
        assert name or role not in ("button", "option", "searchbox", "listbox", "textbox", "dialog"), role
    # Tab goes from the search over the buttons to one picture, and on; never into all of them.
    order = []
    page.one("#query").click()
    for _ in range(6):
        ActionChains(page.driver).send_keys(Keys.TAB).perform()
        order.append(page.run("return document.activeElement.id || document.activeElement.role"))
    assert order[:4] == ["add", "help", "language", "option"]
    assert "option" not in order[4:]


def test_the_list_of_keys(page: Page) -> None:
    page.press(Keys.ARROW_DOWN, "?")
    page.until(lambda: page.one("#help-box").is_displayed(), "it opens")
    assert "similar" in page.text("#help-keys")
    page.press(Keys.ESCAPE)
    page.until(lambda: not page.one("#help-box").is_displayed(), "it closes")


@pytest.mark.parametrize("dark", [False, True])
def test_light_and_dark(page: Page, dark: bool) -> None:
    """Each text stands out from what is behind it: 4.5 to 1, as WCAG 2 asks."""
    page.look(dark=dark)
    try:
        pairs = page.run(
            """
            const pairs = [];
            const colour = each => getComputedStyle(each);
            const clear = each => /, 0\\)$|transparent/.test(colour(each).backgroundColor);
            const behind = each => clear(each) && each.parentElement ? behind(each.parentElement)
                : colour(each).backgroundColor;
            for (const each of document.querySelectorAll("#state, #wall .name, nav button, #query"))
                pairs.push([each.id || each.className, colour(each).color, behind(each)]);
            return pairs;
            """
        )
        assert len(pairs) > 10
        for what, ink, paper in pairs:
            assert contrast(ink, paper) >= 4.5, (what, ink, paper)
        assert (luminance(pairs[0][2]) < 0.2) is dark
    finally:
        page.look(dark=False)


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_language_can_be_switched(page: Page, wall: Browser) -> None:
    page.one("#language").click()
    page.until(lambda: page.text("#add") == "添加", "it is Chinese")
    assert page.run("return document.documentElement.lang") == "zh"
    page.open(wall.origin)
    page.until(lambda: page.text("#add") == "添加", "it stays")
    page.one("#language").click()
    page.until(lambda: page.text("#add") == "Add", "and back")


def test_a_chinese_browser_gets_chinese(wall: Browser, tmp_path: Path) -> None:
    with chromium(tmp_path, language="zh-CN") as page:
        page.open(wall.origin)
        page.until(lambda: page.text("#add") == "添加", "it is Chinese")
        page.press("猫")
        page.until(lambda: page.text("#state"), "it says how it is")
        assert page.complaints() == []


def test_a_page_from_elsewhere_can_do_nothing(page: Page, wall: Browser) -> None:
    """Opened under another name for loopback, the browser itself sends a foreign Origin."""
    page.open(wall.origin.replace("127.0.0.1", "localhost"))
    said = page.run(
        """
        const said = [];
        for (const [path, body] of [["/api/search", {text: "cat"}], ["/image_search", {text: "cat"}]])
            said.push(await fetch(arguments[0] + path, {method: "POST", body: JSON.stringify(body), mode: "no-cors"})
                .then(reply => reply.type, error => "blocked"));
        said.push(await new Promise(done => { const image = new Image();
            image.onload = () => done("shown"); image.onerror = () => done("blocked");
            image.src = arguments[0] + "/picture/" + arguments[1]; }));
        return said;
        """.replace("arguments[0]", f'"{wall.origin}"').replace("arguments[1]", str(wall.names()["cat 1.png"]))
    )
    assert set(said) <= {"blocked", "opaque"}
    assert said[2] == "blocked"
    page.complaints()  # are the point
