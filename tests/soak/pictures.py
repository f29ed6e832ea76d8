"""Bad pictures by the thousand, among good ones, in the folder of a real daemon."""

from __future__ import annotations

import hashlib
import json
import os
import random
import time
from collections import Counter
from pathlib import Path

import fuzz
import guarded
from grounds import new_home, tiny_model, why_not
from guarded import MIB, POWERLESS, Guarded, Inotify, Onlooker
from pictures_folder import Folder, rewrite
from pictures_forged import BAD, GOOD, IGNORED, MEME
from real_daemon import path_of
from report import Row

DAEMON_GROWTH = 400 * MIB
CHILD_RSS = 2560 * MIB  # what a decode child may have, and what it is without a picture


def campaign(
    seconds: float, seed: int, least: int = 2_000, a_round: int = 500, fuzzed: float = 0.25, big: bool = True
) -> Row:
    """Rounds of ``a_round`` files until ``least`` bad ones were tried and the time is up, a restart, a touch."""
    row = Row("pictures", "bad files")
    deadline = time.monotonic() + seconds * (1 - fuzzed)
    with new_home() as home:
        daemon = Guarded(home, "--model", str(tiny_model()))
        if os.geteuid() == 0:
            if why := why_not(*POWERLESS, "true"):
                row.notes.append(f"as root: nothing is unreadable by permission ({why})")
            else:
                daemon.through = POWERLESS
        folder = Folder(daemon.folder, random.Random(seed), big)
        folder.permissions = os.geteuid() != 0 or bool(daemon.through)
        with daemon:
            daemon.wait()
            daemon.search("warm")  # waits for the model, which is no growth
            with Onlooker(daemon) as onlooker:
                number = 0
                while (row.tried < least or time.monotonic() < deadline) and not onlooker.problems:
                    row.tried += folder.fill(number, a_round)
                    rewrite(folder, number)
                    daemon.wait()
                    _compare(row, daemon, folder, f"round {number}")
                    number += 1
            _searches(row, daemon, folder)
            _told_by_the_client(row, daemon)
            row.failures += onlooker.problems
            row.crashed += len(onlooker.problems)
            growth = onlooker.peak_rss - onlooker.first_rss
            row.check(growth < DAEMON_GROWTH, f"the daemon grew by {growth / MIB:.0f} MiB")
            row.check(onlooker.peak_child_rss < CHILD_RSS, f"a child took {onlooker.peak_child_rss / MIB:.0f} MiB")
            row.check("Traceback" not in daemon.log(), f"a traceback in the log: {daemon.log()[-2000:]}")
        _only_changes_are_tried(row, daemon, folder)
        kinds = Counter(expected for expected, _ in folder.expected.values())
        row.notes += [
            f"{kinds[GOOD]:,} good among them, all found",
            f"status answered {onlooker.asked:,} times, at the slowest in {onlooker.slowest_s * 1000:.0f} ms",
            f"the daemon grew by {growth / MIB:.0f} MiB, a child had at most {onlooker.peak_child_rss / MIB:.0f} MiB",
        ]
    if fuzzed:
        fuzz.into(row, ["kinds", "decode"], seconds * fuzzed, seed)
    return row


def _compare(row: Row, daemon: Guarded, folder: Folder, when: str) -> None:
    listed, failed = daemon.listed(), daemon.failed()
    for path, (expected, sort) in folder.expected.items():
        shown = f"{when}: {sort} {os.path.basename(path)[:60]!r}"
        found, why = path in listed, failed.get(path, "")
        if expected == GOOD and not found:
            row.lost += 1
            row.failures.append(f"{shown} isn't found ({why})")
        row.check(not (found and why), f"{shown} is found and failed at once")
        row.check(expected != IGNORED or not (found or why), f"{shown} should be ignored ({why})")
        row.check(expected != BAD or not found, f"{shown} is found")
        row.check(expected not in (BAD, MEME) or found or why, f"{shown} is neither found nor failed")
        row.check(not why or guarded.is_for_people(why), f"{shown}: is this for people? {why!r}")
        if found and expected == GOOD:
            data = Path(os.fsdecode(path)).read_bytes()
            digest = hashlib.blake2b(data, digest_size=32).hexdigest()
            row.check(listed[path] == digest, f"{shown} is listed with another content")
    beyond = (listed.keys() | failed.keys()) - folder.expected.keys()
    row.stale += len(beyond)
    if beyond:
        row.failures.append(f"{when}: what was never put there: {sorted(beyond)[:3]!r}")


def _searches(row: Row, daemon: Guarded, folder: Folder) -> None:
    """Good ones are found by the number in their names, up to 200 of them."""
    good = [path for path, (expected, sort) in folder.expected.items() if expected == GOOD and sort != "bomb"]
    for path in folder.chance.sample(good, min(200, len(good))):
        name = os.path.basename(path)
        at = name.find(b"0", 1)
        token = name[at - 4 : at + 8].decode()
        if path not in daemon.search(token, limit=20):
            row.lost += 1
            row.failures.append(f"a search for {token} doesn't find {name[:60]!r}")


def _told_by_the_client(row: Row, daemon: Guarded) -> None:
    """``memewatch failed`` names what the socket names."""
    done = daemon.memewatch("failed", "--json")
    told = {path_of(file): file["reason"] for file in map(json.loads, done.stdout.splitlines())}
    row.check(done.returncode == 0 and told == daemon.failed(), f"memewatch failed: {done.stderr[-500:]!r}")


def _only_changes_are_tried(row: Row, daemon: Guarded, folder: Folder) -> None:
    """After a restart nothing is opened; what is touched is, and nothing else."""
    opened: set[bytes] = set()

    def seen(path: Path, mask: int) -> None:
        # What is no meme leaves no row: its first bytes are looked at anew by each life.
        raw = os.fsencode(path)
        if not mask & guarded.IN_ISDIR and folder.expected[raw][0] != IGNORED:
            opened.add(raw)

    # A thumbnail that is missing still is made at leisure, and is no business of the mirror's.
    daemon.environ["MEMEWATCHD_THUMBNAILS"] = "false"
    folders = [Path(os.fsdecode(folder.path)), *(each for each in Path(os.fsdecode(folder.path)).iterdir())]
    with Inotify(folders, guarded.IN_OPEN, seen), daemon:
        daemon.wait()
        failed = daemon.failed()
        time.sleep(0.1)
        row.check(daemon.status()["encoded"] == 0, "a restart encodes what was there")
        row.check(not opened, f"a restart opens {len(opened)} unchanged files: {sorted(opened)[:3]!r}")
        readable = [path for path in failed if folder.expected[path][1] in ("truncated", "zero bytes", "noise")]
        if not readable:
            return
        chosen = folder.chance.choice(readable)
        opened.clear()
        os.utime(chosen)
        daemon.wait()
        row.check(opened == {chosen}, f"touched {chosen!r}, opened {sorted(opened)[:3]!r}")
        row.check(daemon.failed() == failed, "a touch changed what is failed")
        row.check(daemon.status()["encoded"] == 0, "a touch of a failed one encodes")
