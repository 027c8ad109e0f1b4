# SPDX-License-Identifier: Apache-2.0
"""The progress bar, drawn into a stream of the test's own."""

import io
import re

import pytest

from dtask import _progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

        def __call__(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(_progress, "monotonic", clock)
    return clock


def map_of(bar, count, setting=None):
    counted = bar.begin(setting)
    if counted:
        bar.add(count)
        bar.end()
    return counted


def test_on_a_terminal(clock):
    bar = _progress.Progress(Terminal())
    assert bar.interval() is None
    assert map_of(bar, 100) and bar.interval() <= 0.2
    for _ in range(25):
        bar.ended(False)
    bar()
    assert bar._stream.getvalue() == "", "not before a second has passed"
    clock.now += 2
    bar.ended(True)
    bar()
    text = bar._stream.getvalue()
    assert text.startswith("\r") and not text.endswith("\n")
    assert "26/100, 13/s, 0:06 left, 1 failed" in text
    bar()
    assert bar._stream.getvalue() == text, "five times a second at most"
    clock.now += 2
    for _ in range(74):
        bar.ended(False)
    last = bar._stream.getvalue()[len(text) :]
    assert re.fullmatch(r"\rdtask \[#{24}\] 100/100, 25/s, in 0:04, 1 failed\x1b\[K\n", last)
    assert bar.interval() is None


def test_quick_or_short_maps_have_none(clock):
    bar = _progress.Progress(Terminal())
    map_of(bar, 100)
    for _ in range(100):
        bar.ended(False)
    map_of(bar, 3)
    clock.now += 10
    bar()
    for _ in range(3):
        bar.ended(False)
    assert bar._stream.getvalue() == "" and bar.interval() is None


def test_elsewhere_only_where_asked_for(clock, monkeypatch):
    bar = _progress.Progress(io.StringIO())
    assert not map_of(bar, 100)
    assert not bar.begin(False)
    monkeypatch.setenv("DTASK_PROGRESS", "1")
    assert map_of(bar, 3)
    for _ in range(3):
        clock.now += 2.5
        bar.ended(False)
        bar()
    lines = bar._stream.getvalue().splitlines()
    assert len(lines) == 3 and "1/3" in lines[0] and "3/3" in lines[2] and "\r" not in lines[0]
    monkeypatch.setenv("DTASK_PROGRESS", "0")
    assert not _progress.Progress(Terminal()).begin(True)


def test_it_ends_with_the_client(clock):
    bar = _progress.Progress(Terminal())
    map_of(bar, 100)
    clock.now += 5
    bar()
    bar(last=True)
    assert bar._stream.getvalue().endswith("\n") and bar.interval() is None


def test_a_stream_that_breaks(clock):
    class Broken(Terminal):
        def write(self, _):
            raise BrokenPipeError

    bar = _progress.Progress(Broken())
    map_of(bar, 100)
    clock.now += 5
    bar()
    assert bar.interval() is None and not map_of(bar, 100)


def test_clock():
    assert [_progress.clock(s) for s in (0, 59.6, 61, 3600)] == ["0:00", "1:00", "1:01", "1:00:00"]


def test_with_a_client(start, monkeypatch, capsys):
    import pickle
    import sys

    import functions

    monkeypatch.setenv("DTASK_PROGRESS", "1")
    monkeypatch.setattr(_progress, "DELAY", 0.0)
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    fake, client = start("hold")
    futures = client.map(functions.inc, range(30))
    raw = pickle.dumps(1)
    numbers = [number for number, _, _ in fake.tasks(30)]
    fake.send({"t": "done", "k": numbers, "len": [len(raw)] * 30}, raw * 30)
    client.gather(futures)
    assert "30/30" in stream.getvalue().splitlines()[-1], "finished before gather returns"
