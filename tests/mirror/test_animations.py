"""Animated pictures and films: several vectors a file, in small batches, by the frames' own numbers."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from memewatchd.intake import BATCH
from memewatchd.meme import MAX_FRAMES

if TYPE_CHECKING:
    from collections.abc import Callable

    from memewatchd.meme import Digest
    from memewatchd.pictures.pool import DecodePool

COLOURS = ("red", "blue", "white", "black", "lime", "yellow", "magenta", "gray", "cyan", "maroon")


def gif(*scenes: int, seed: int = 0) -> bytes:
    """Scenes of so many frames each; a pixel moves in them, so that no encoder joins what looks the same."""
    pictures = []
    for length, colour in zip(scenes, COLOURS, strict=False):
        for number in range(length):
            im = Image.new("RGB", (48, 48), colour)
            im.putpixel((number % 16, seed % 16), (90, 90, 90))
            pictures.append(im)
    out = io.BytesIO()
    pictures[0].save(out, "GIF", save_all=True, append_images=pictures[1:], duration=100, comment=b"%d" % seed)
    return out.getvalue()


def mp4(seconds: int) -> bytes:
    import av

    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=1)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for number in range(seconds):
            colour = COLOURS[number * 3 // seconds]
            pixels = np.asarray(Image.new("RGB", (32, 32), colour))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return out.getvalue()


def frames_of(rig: Any, digest: Digest) -> list[int]:
    return sorted(frame for stored, frame in rig.store.active if stored == digest)


def test_a_vector_for_each_scene_by_its_frames_number(
    real_rig: Any, digest_of: Callable[[bytes], Digest], png: Callable[[int], bytes]
) -> None:
    dance, still = gif(4, 2, 3), gif(5, seed=1)
    real_rig.write("dance.gif", dance)
    real_rig.write("copy/dance.gif", dance)
    real_rig.write("still.gif", still)
    real_rig.write("a.png", png(1))
    real_rig.wait()
    assert frames_of(real_rig, digest_of(dance)) == [0, 4, 6]
    assert frames_of(real_rig, digest_of(still)) == [0]
    assert frames_of(real_rig, digest_of(png(1))) == [0]
    rows = {real_rig.name(row.path): row for row in real_rig.catalog.rows()}
    assert {name: row.frames for name, row in rows.items()} == {
        "dance.gif": 9, "copy/dance.gif": 9, "still.gif": 5, "a.png": 1,
    }  # fmt: skip
    assert real_rig.progress.encoded == 3
    assert sum(real_rig.model.batches) == 5
    assert len({vector.tobytes() for vector in real_rig.store.active.values()}) == 5


def test_batches_count_frames(real_rig: Any) -> None:
    files = 7
    real_rig.model.gate.clear()
    for seed in range(files):
        real_rig.write(f"{seed}.gif", gif(*[1] * 10, seed=seed))
    walk = real_rig.ask()
    real_rig.model.began.acquire()
    real_rig.model.gate.set()
    walk.result(60)
    assert max(real_rig.model.batches) == BATCH
    assert sum(real_rig.model.batches) == len(real_rig.store.active) == files * MAX_FRAMES
    assert real_rig.progress.encoded == files
    # Few were sent before they were full: the tower's time is dear.
    assert len(real_rig.model.batches) <= files * MAX_FRAMES // BATCH + 3


def test_a_gif_that_changes_on_its_way(real_rig: Any, digest_of: Callable[[bytes], Digest]) -> None:
    real_rig.model.gate.clear()
    real_rig.write("a.gif", gif(2, 2, 2, 2, 2))
    walk = real_rig.ask()
    real_rig.model.began.acquire()
    real_rig.write("a.gif", gif(3, 3, seed=1))
    real_rig.model.gate.set()
    walk.result(60)
    real_rig.wait()
    assert real_rig.indexed == {"a.gif": digest_of(gif(3, 3, seed=1))}
    assert frames_of(real_rig, digest_of(gif(3, 3, seed=1))) == [0, 3]


@pytest.mark.parametrize("videos", [False, True])
def test_films_are_memes_where_they_can_be_read(
    videos: bool, new_rig: Callable[..., Any], pool: DecodePool, digest_of: Callable[[bytes], Digest]
) -> None:
    rig = new_rig(decoder=pool, videos=videos)
    rig.write("short.mp4", mp4(9))
    rig.write("named wrongly.txt", mp4(6))
    rig.write("long.mp4", mp4(70))
    rig.write("garbage.webm", b"no film")
    rig.write("sound.m4a", b"\0\0\0\x14ftypM4A \0\0\0\0isom")
    rig.start()
    rig.wait()
    if not videos:
        assert (rig.indexed, rig.failed) == ({}, {})
        return
    assert rig.indexed.keys() == {"short.mp4", "named wrongly.txt"}
    assert frames_of(rig, digest_of(mp4(9))) == [0, 3, 6]
    assert {row.kind for row in rig.catalog.searchable()} == {"mp4"}
    assert rig.failed == {
        "long.mp4": "too long: a film of 70 s or more (limit 60 s)",
        "garbage.webm": "not a picture inside, though it is named .webm",
    }


def test_telegrams_stickers_are_named_as_failed(real_rig: Any) -> None:
    real_rig.write("cat.tgs", b"\x1f\x8b\x08\0\0\0\0\0\0\0")
    real_rig.wait()
    (reason,) = real_rig.failed.values()
    assert reason.startswith("Telegram's animated stickers (.tgs) are not supported")


def test_milvus_names_the_frame_that_fits(
    tmp_path: Any, new_rig: Callable[..., Any], pool: DecodePool, digest_of: Any
) -> None:
    from memewatchd.index.engine import Engine
    from memewatchd.index.store import Store

    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    with Engine.open(str(state / "index.db"), "", state) as engine:
        store = Store(engine)
        rig = new_rig(decoder=pool, store=store, open_index=store.open_files)
        dance = gif(4, 2, 3)
        rig.write("dance.gif", dance)
        rig.start()
        rig.wait()
        # The fake model's vector of a blue frame: the second scene's.
        blue = np.resize(np.array([0, 0, 255], np.float32), 32) + 1
        found = store.search_pictures(blue / np.linalg.norm(blue), 5)
        assert (found[0].digest, found[0].frame) == (digest_of(dance), 4)
        assert {hit.frame for hit in found} == {0, 4, 6}
        rig.stop()
