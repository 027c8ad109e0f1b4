# SPDX-License-Identifier: Apache-2.0
"""Progress: the bar of long maps, on stderr.

One bar counts all maps of a client that are under way. It appears where stderr is a terminal, a
second after the map began, and is drawn by the client's receiver thread, five times a second at
most. DTASK_PROGRESS=1 makes it appear anywhere (lines where there is no terminal, one every two
seconds at most), DTASK_PROGRESS=0 nowhere.
"""

import os
import sys
import threading
from time import monotonic

DELAY = 1.0  # s from the begin of a map to the first drawing
LEAST = 20  # tasks; shorter maps have no bar unless it is asked for


def wanted(argument):
    """True: by all means, False: never, None: where it makes sense."""
    setting = os.environ.get("DTASK_PROGRESS", "")
    if setting == "0":
        return False
    if setting == "1":
        return True
    return argument


def clock(seconds):
    """Seconds as ``1:02:03`` or ``2:03``."""
    minutes, seconds = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class Progress:
    """Counts tasks; called from any thread, drawn by one (see Connection.tick)."""

    def __init__(self, stream=None):
        self._stream = sys.stderr if stream is None else stream
        try:
            self._terminal = self._stream.isatty()
        except (AttributeError, ValueError):
            self._terminal = False
        self._lock = threading.Lock()
        self._reset()

    def _reset(self):
        self.total = self.done = self.failed = 0
        self._open = 0  # maps that are still being submitted
        self._forced = False
        self._began = self._drawn = 0.0
        self._shown = False

    def begin(self, setting):
        """A map begins. True where it is to be counted: then end() must follow."""
        setting = wanted(setting)
        if self._stream is None or setting is False or not (setting or self._terminal):
            return False
        with self._lock:
            if self.total == 0 and self._open == 0:
                self._began = monotonic()
            self._open += 1
            self._forced = self._forced or setting is True
        return True

    def add(self, count):
        """That many more tasks."""
        with self._lock:
            self.total += count

    def end(self):
        """All tasks of a map have been added."""
        with self._lock:
            self._open -= 1
        if self.done >= self.total:
            self()

    def ended(self, failed):
        """One task has ended; with the last one the bar is finished, before anybody else hears."""
        with self._lock:
            self.done += 1
            self.failed += failed
            if self.done < self.total or self._open:
                return
        self()

    def interval(self):
        """Seconds until the next call is due, or None."""
        if self._began == 0.0:
            return None
        return 0.2 if self._shown or self._terminal else 0.5

    def __call__(self, last=False):
        """Draw where it is time to."""
        with self._lock:
            now = monotonic()
            if self._began == 0.0:
                return
            last = last or (self._open == 0 and self.done >= self.total)
            least = 1 if self._forced else LEAST
            due = now - self._began >= DELAY and self.total >= least
            pause = 0.2 if self._terminal else 2.0
            if (due or self._shown) and (last or now - self._drawn >= pause):
                self._drawn = now
                self._shown = True
                self._write(self._line(now - self._began), last)
            if last:
                self._reset()

    def _line(self, elapsed):
        rate = self.done / elapsed if elapsed > 0 else 0.0
        share = self.done / self.total if self.total else 0.0
        parts = [f"{self.done}/{self.total}", f"{rate:.3g}/s" if rate < 100 else f"{rate:.0f}/s"]
        if self.done < self.total:
            left = clock((self.total - self.done) / rate) if rate else "?"
            parts.append(f"{left} left")
        else:
            parts.append(f"in {clock(elapsed)}")
        if self.failed:
            parts.append(f"{self.failed} failed")
        filled = int(share * 24)
        return f"dtask [{'#' * filled}{'.' * (24 - filled)}] " + ", ".join(parts)

    def _write(self, line, last):
        try:
            if self._terminal:
                try:
                    width = os.get_terminal_size(self._stream.fileno()).columns
                except (OSError, ValueError, AttributeError):
                    width = 80
                line = "\r" + line[: max(width - 1, 10)] + "\x1b[K" + ("\n" if last else "")
            else:
                line += "\n"
            self._stream.write(line)
            self._stream.flush()
        except (OSError, ValueError):
            self._stream = None  # gone: no more drawing
            self._began = 0.0
