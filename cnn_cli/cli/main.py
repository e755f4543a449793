"""The `cnn` program: which command it is, and how it ends.

What a command needs is imported when it runs, so that `cnn --help` and `cnn predict` are quick.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import takewhile

from cnn_cli.cli.shared import output
from cnn_cli.cli.shared.commands import COMPLETE, plain_call
from cnn_cli.cli.shared.parameters import Exit
from cnn_cli.cli.shared.signals import (
    Held,
    Terminated,
    end_at_signals,
    hold_signals,
    ignore_signals,
)
from cnn_cli.cli.shared.streams import prepare_streams
from cnn_cli.cli.shared.together import alone, conclude, takes_part
from cnn_cli.errors import CnnError, ConfigError, DataError, ExitCode, reason
from cnn_cli.files import remove_unfinished
from cnn_cli.system import claim_process
from cnn_cli.threads import take_refused, tell_blas


def main() -> None:
    """Run the program on its command line and exit."""
    prepare_streams()
    claim_process()
    # Pydantic would read the metadata of every installed package in search of plugins.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    tell_blas()
    if "--debug" not in sys.argv:
        _hush()
    code = run(sys.argv[1:], hold_signals())
    ignore_signals()
    remove_unfinished()  # where a second interrupt came while the first one's were deleted
    # All is written, and taking Python down would take a sixth of a prediction's time. Nor can
    # CPython then remember an interrupt that was caught, and end by that signal all the same.
    if alone():
        _clean_up()
        os._exit(code)
    sys.exit(code)  # MPI takes its leave of mpiexec in what the other passes over


def _clean_up() -> None:
    """Have libraries delete their temporary files and folders, as they do when Python ends."""
    with suppress(Exception):  # a library's own
        atexit._run_exitfuncs()


def _hush() -> None:
    """Keep Python from writing to stderr what is no line of the program's own."""
    import warnings

    warnings.simplefilter("ignore")  # NumPy's, where numbers overflow
    # What is raised where nobody can catch it, as by a second signal while a generator is closed.
    sys.unraisablehook = lambda _: None


def run(arguments: Sequence[str], held: Held | None = None) -> int:
    """Run a command line; errors are printed as one line on stderr.

    Args:
        arguments: what stands after the program's name.
        held: tells of signals outside the command, where those are held.

    Returns:
        The exit code.
    """
    held = held or Held()
    code, tell = _attempt(arguments, held)
    return conclude(code, tell, held)


def _attempt(arguments: Sequence[str], held: Held) -> tuple[int, Callable[[], None] | None]:
    """Run a command line; its exit code and, where there is an error, what prints it."""
    debug = "--debug" in takewhile(lambda argument: argument != "--", arguments)
    try:
        with end_at_signals():
            held.answer()
            if not takes_part(arguments):
                return ExitCode.OK, None
            code = _invoke(list(arguments))
            if take_refused() and "--quiet" not in arguments:
                output.note("not all threads could be started; the others did their work")
    except Terminated as end:
        return end.code, None
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED, None
    except BrokenPipeError:
        return ExitCode.PIPE, None
    except Exception as error:
        known = as_known(error)
        return ExitCode.INTERNAL if known is None else known.code, partial(_tell, error, debug)
    return code, None


def _tell(error: Exception, debug: bool) -> None:
    if debug:
        import traceback

        for line in "".join(traceback.format_exception(error)).splitlines():
            output.say(line)
    known = as_known(error)
    if known is None:
        text = f"{type(error).__name__}: {error}"
        output.say(f"cnn: internal error: {text}{'' if debug else ' (--debug shows where)'}")
    else:
        output.say(f"cnn: {known.line()}")


def _invoke(arguments: list[str]) -> int:
    instruction = os.environ.get(COMPLETE)
    call = plain_call(arguments) if instruction is None else None
    try:
        if call is None:
            from cnn_cli.cli.shared import parser

            gc.enable()
            return parser.run(arguments, instruction)
        call()
    except Exit as end:
        return end.code
    return ExitCode.OK


def as_known(error: Exception) -> CnnError | None:
    """An exception as the error that is printed; None for what should not have come this far."""
    known = _as_error(error)
    if isinstance(known, ConfigError | DataError) and not os.path.isabs(known.place):
        try:
            os.getcwd()
        except OSError:  # then no relative path leads anywhere
            kind = ConfigError if isinstance(known, ConfigError) else DataError
            return kind("working folder", "must exist; it was deleted, or is no longer mounted")
    return known


def _lacks_memory(error: Exception) -> bool:
    """Whether there was none for an array, or for a library that is loaded."""
    return isinstance(error, MemoryError) or "failed to map segment" in str(error)


def _as_error(error: Exception) -> CnnError | None:
    match error:
        case CnnError():
            return error
        case MemoryError() | ImportError() if _lacks_memory(error):
            rule = "there must be enough; smaller images, batches or layers take less"
            return ConfigError("memory", rule, reason(error) if str(error) else None)
        case RuntimeError() if "start new thread" in str(error):  # of a library
            return DataError("threads", "the system must let them be started", error)
        case OSError() if error.filename is not None:
            return DataError(os.fsdecode(error.filename), "cannot be used", reason(error))
        case OSError() if error.errno is not None:
            return DataError("output", "cannot be written", reason(error))
    return None
