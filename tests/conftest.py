"""For every test: signals as a terminal would have them.

Under nohup or behind `&` some are ignored, which children inherit and the program respects.
"""

from __future__ import annotations

import signal

signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1):
    signal.signal(_number, signal.SIG_DFL)
