"""The `cnn` program: run a command, and end with its exit code.

Each command's imports happen when it runs, so that `cnn --help` and `cnn predict` are fast.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from itertools import takewhile

from cnn_cli.cli.shared import output
from cnn_cli.cli.shared.commands import COMPLETE, plain_call
from cnn_cli.cli.shared.parameters import Exit
from cnn_cli.cli.shared.signals import (
    HeldSignals,
    Terminated,
    end_at_signals,
    hold_signals,
    ignore_signals,
)
from cnn_cli.cli.shared.streams import prepare_streams
from cnn_cli.cli.shared.together import Tell, alone, conclude, leave, takes_part
from cnn_cli.errors import CnnError, ConfigError, DataError, ExitCode, reason
from cnn_cli.files import remove_unfinished
from cnn_cli.parallel.ranks import JobEnded
from cnn_cli.system import claim_process
from cnn_cli.threads import take_refused, tell_blas


def main() -> None:
    """Run the program on its command line and exit."""
    prepare_streams()
    claim_process()
    # Otherwise pydantic reads the metadata of every installed package in search of plugins.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # Otherwise onnxruntime gives this computer a number, and records events to send to Microsoft.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    tell_blas()
    if "--debug" not in sys.argv:
        _silence_python()
    code = run(sys.argv[1:], hold_signals())
    ignore_signals()
    remove_unfinished()  # if a second interrupt came while the first one's files were being deleted
    # Everything is written, and shutting down Python would take a sixth of a prediction's time. It
    # also prevents CPython from ending by a signal that was already handled.
    if alone():
        _clean_up()
        os._exit(code)
    sys.exit(code)  # MPI's shutdown, which the other path skips, informs mpiexec


def _clean_up() -> None:
    """Delete the temporary files and folders of libraries, as Python's exit does."""
    with suppress(Exception):  # a library's own failure
        atexit._run_exitfuncs()


def _silence_python() -> None:
    """Keep Python from writing to stderr anything that is not a line of this program."""
    import warnings

    warnings.simplefilter("ignore")  # from NumPy, on overflow
    # Exceptions that cannot be raised, such as of a second signal while a generator is closed.
    sys.unraisablehook = lambda _: None


def run(arguments: Sequence[str], held: HeldSignals | None = None) -> int:
    """Run a command line; errors are printed as one line on stderr.

    Args:
        arguments: the words after the program's name.
        held: tells of signals outside the command, if those are held.

    Returns:
        The exit code.
    """
    held = held or HeldSignals()
    code, tell = _attempt(arguments, held)
    try:
        return conclude(code, tell, held)
    finally:
        leave()


def _attempt(arguments: Sequence[str], held: HeldSignals) -> tuple[int, Tell | None]:
    """Run a command line; return its exit code and, after an error, a function that prints it."""
    debug = "--debug" in takewhile(lambda argument: argument != "--", arguments)
    try:
        with end_at_signals():
            held.answer()
            if not takes_part(arguments):
                return ExitCode.OK, None
            code = _invoke(list(arguments))
            if take_refused() and "--quiet" not in arguments:
                output.note("not all threads could be started; the others did their work")
    except (Terminated, JobEnded) as end:
        return end.code, None
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED, None
    except BrokenPipeError:
        return ExitCode.PIPE, None
    except Exception as error:
        known = as_known(error)
        return ExitCode.INTERNAL if known is None else known.code, partial(_tell, error, debug)
    return code, None


def _tell(error: Exception, debug: bool, where: str) -> None:
    if debug:
        import traceback

        for line in "".join(traceback.format_exception(error)).splitlines():
            output.say(line)
    known = as_known(error)
    if known is None:
        text = f"{type(error).__name__}: {error}"
        output.say(f"cnn: {where}internal error: {text}{'' if debug else ' (--debug shows where)'}")
    else:
        output.say(f"cnn: {where}{known.line()}")


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
    """Convert an exception to the error to print; None if it is a bug."""
    known = _as_error(error)
    if isinstance(known, ConfigError | DataError) and not os.path.isabs(known.place):
        try:
            os.getcwd()
        except OSError:  # then no relative path can be resolved
            kind = ConfigError if isinstance(known, ConfigError) else DataError
            return kind("working folder", "must exist; it was deleted, or is no longer mounted")
    return known


def _lacks_memory(error: Exception) -> bool:
    """Whether memory was missing for an array or for loading a library."""
    return isinstance(error, MemoryError) or "failed to map segment" in str(error)


def _as_error(error: Exception) -> CnnError | None:
    match error:
        case CnnError():
            return error
        case MemoryError() | ImportError() if _lacks_memory(error):
            rule = "there must be enough; smaller images, batches or layers take less"
            return ConfigError("memory", rule, reason(error) if str(error) else None)
        case RuntimeError() if "start new thread" in str(error):  # raised by a library
            return DataError("threads", "the system must let them be started", error)
        case OSError() if error.filename is not None:
            return DataError(os.fsdecode(error.filename), "cannot be used", reason(error))
        case OSError() if error.errno is not None:
            return DataError("output", "cannot be written", reason(error))
    return None
