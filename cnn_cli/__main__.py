"""Where the program begins: the command `cnn`, and `python -m cnn_cli`."""

from __future__ import annotations

import gc
import signal


def main() -> None:
    """Run the program on its command line and exit."""
    # While the program is being imported an interrupt just ends it; Python's handler would have
    # it print where it was.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # What is imported stays: looking through it for garbage, again and again, takes a twentieth of
    # the time in which one image is classified. Commands that go on for longer enable it.
    gc.disable()
    from cnn_cli.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
