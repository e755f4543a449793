"""Entry point of the command `cnn` and of `python -m cnn_cli`."""

from __future__ import annotations

import gc
import signal


def main() -> None:
    """Run the program on its command line and exit."""
    # During the imports an interrupt just ends the process; Python's handler would print a
    # traceback.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Imported objects live until the process ends. Scanning them for garbage repeatedly would take
    # a twentieth of the time in which one image is classified. Commands that run longer enable
    # collection.
    gc.disable()
    from cnn_cli.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
