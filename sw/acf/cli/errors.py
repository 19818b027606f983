"""What people see when a command fails: one sentence, and an exit status that says whose fault it was."""

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import typer

__all__ = ["DEBUG_VARIABLE", "INTERNAL", "INTERRUPTED", "INVALID", "READER_GONE", "describe", "report"]

INVALID = 2
"""Exit status when the input is wrong: an option, a file, a value."""

INTERNAL = 1
"""Exit status when ACF or one of its tools failed on good input."""

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells expect it."""

READER_GONE = 141
"""Exit status when nobody reads the output any more, as of a program that SIGPIPE ends."""

DEBUG_VARIABLE = "ACF_DEBUG"
"""Environment variable that, set to anything, shows the traceback of every error."""

# Typer brings a copy of Click or uses the installed one, depending on its version: the base of all
# their errors comes from whichever it is.
_CLICK_EXCEPTION = typer.BadParameter.__mro__[2]


def describe(error: BaseException, arguments: Sequence[str] = ()) -> str:
    """One line that says what is wrong, for people who did not write the program."""
    if isinstance(error, _CLICK_EXCEPTION):
        message = _describe_usage(error, arguments)
    elif isinstance(error, OSError) and error.strerror:
        names = [repr(name) for name in (error.filename, error.filename2) if name is not None]
        message = f"{' and '.join(names)}: {error.strerror.lower()}" if names else error.strerror
    elif isinstance(error, KeyError | IndexError | TypeError | AttributeError) or not str(error):
        message = f"{type(error).__name__}: {error}"
    else:
        message = str(error)
    return " ".join(message.split())


def _describe_usage(error: Any, arguments: Sequence[str]) -> str:
    message = error.format_message() or "a command is missing"
    # Typer says what a value should be, but not always what it is: it stands behind its option.
    for option in getattr(getattr(error, "param", None), "opts", []):
        for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
            name, equals, value = argument.partition("=")
            value = value if equals else following
            if name == option and repr(value) not in message:
                message = f"{message.rstrip('.')}, not {value!r}"
    return message


def report(error: BaseException, arguments: Sequence[str] = ()) -> int:
    """Print what went wrong to stderr and return the exit status.

    Parameters
    ----------
    error : BaseException
        What a command raised: ``ValueError`` and ``OSError`` speak of the input, ``RuntimeError`` and ``ImportError``
        of a tool that failed or is missing; anything else is a fault of ACF itself and says how to see more.
    arguments : sequence of str
        The command line, so that a value can be named.
    """
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        print("acf: interrupted", file=sys.stderr)
        return INTERRUPTED
    if os.environ.get(DEBUG_VARIABLE):
        traceback.print_exception(error)
    if isinstance(error, (_CLICK_EXCEPTION, ValueError, OSError)):
        print(f"acf: {describe(error, arguments)}", file=sys.stderr)
        return INVALID
    if isinstance(error, RuntimeError | ImportError):
        print(f"acf: {describe(error, arguments)}", file=sys.stderr)
    else:
        print(f"acf: internal error: {describe(error, arguments)} ({DEBUG_VARIABLE}=1 shows where)", file=sys.stderr)
    return INTERNAL
