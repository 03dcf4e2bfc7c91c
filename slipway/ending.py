"""Whether this process was told to end.

Ctrl-C raises an exception wherever the program happens to be, and in some places (a finaliser, a
callback of a library) an exception is printed and dropped. So it is noted too, and whatever goes on
for long asks.
"""

from __future__ import annotations


class Ending:
    """The signal that told this process to end, if one did.

    Args:
        sent: its number; 0 for none.
    """

    def __init__(self) -> None:
        self.sent = 0

    def check(self) -> None:
        """Go no further once it was told.

        Raises:
            KeyboardInterrupt: it was.
        """
        if self.sent:
            raise KeyboardInterrupt


ENDING = Ending()
"""This process's."""
