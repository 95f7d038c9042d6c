"""How far a command is, for people who watch."""

from __future__ import annotations

from django.core.management.base import OutputWrapper

_BAR_WIDTH = 30
_LINE_WIDTH = 78


class Progress:
    """A bar on a terminal; elsewhere nothing.

    Args:
        stream: Where to draw it: the command's ``stderr``.
        is_shown: Whether anybody wants to see it.
    """

    def __init__(self, stream: OutputWrapper, *, is_shown: bool) -> None:
        self._stream = stream
        self._is_shown = is_shown and stream.isatty()
        self._is_drawn = False

    def draw(self, done: int, total: int) -> None:
        """Show that some of all images are done."""
        if not self._is_shown:
            return
        total = max(total, done)  # new ones arrive meanwhile
        bar = "#" * (_BAR_WIDTH * done // total)
        text = f"\r[{bar.ljust(_BAR_WIDTH)}] {done} of {total} images"
        # `str`: what is written to stderr is painted red otherwise.
        self._stream.write(text, style_func=str, ending="")
        self._stream.flush()
        self._is_drawn = True

    def complain(self, text: str) -> None:
        """Write a line in the place of the bar."""
        line = f"\r{text.ljust(_LINE_WIDTH)}" if self._is_shown else text
        self._stream.write(line)

    def end(self) -> None:
        """Leave the bar as it is, and begin a new line."""
        if self._is_drawn:
            self._stream.write("", style_func=str)
