"""The command line: the entry point, and the one place where failures are printed. One file a command lies beside it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from graftwork.errors import GraftworkError, PluginError
from graftwork.machine.garbage import leave_quickly

INTERRUPTED = 130


class Interrupted(KeyboardInterrupt):
    """An interrupt that knows how to go on.

    Args:
        resume: the command that goes on where the run stopped, or None when nothing was kept.
    """

    def __init__(self, resume: str | None) -> None:
        self.resume = resume
        super().__init__()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 0, 1 failed, 2 wrong usage, 3 the data, 4 a plugin, 5 some inputs not
    predicted, 130 interrupted."""
    leave_quickly()
    debug, words = _take_debug(sys.argv[1:] if arguments is None else arguments)
    if sys.stdout is None:  # `graft list >&-`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file name that is no valid text must not end a command
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")  # bars for "casting" tell nobody anything
    try:
        from graftwork.cli.app import invoke
        from graftwork.console import say
        from graftwork.log import heard

        with heard(say):
            code = invoke(words)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `graft list | head -1`: the reader has seen enough
        _silence_stdout()
        return 0
    except (Exception, KeyboardInterrupt) as error:
        return _fail(error, debug)


def _fail(error: BaseException, debug: bool) -> int:
    """One line on stderr, and the exit code."""
    from graftwork.console import one_line, say

    if debug and not _is_usage(error):
        import traceback

        traceback.print_exception(error)
    if isinstance(error, KeyboardInterrupt):
        resume = getattr(error, "resume", None)
        say(f"graft: interrupted; go on with: {resume}" if resume else "graft: interrupted")
        return INTERRUPTED
    if isinstance(error, GraftworkError):
        say(f"graft: error: {one_line(str(error))}")
        return error.exit_code
    if _is_usage(error):
        from graftwork.cli.app import usage_message

        say(f"graft: error: {one_line(usage_message(error))}")
        return 2
    advice = "" if debug else "; run again with --debug for the traceback"
    plugin = _culprit(error)
    where = f" in plugin {plugin!r}" if plugin else ""
    say(f"graft: error: unexpected {type(error).__name__}{where}: {one_line(str(error))}{advice}")
    return PluginError.exit_code if plugin or _from_plugin(error) else 1


def _is_usage(error: BaseException) -> bool:
    """Whether the option parser raised it (newer typer brings its own copy of click, so the class is found by name)."""
    return any(parent.__name__ == "ClickException" for parent in type(error).__mro__)


def _from_plugin(error: BaseException) -> bool:
    """Whether a plugin's failure stands behind an error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, PluginError):
            return True
        cause = cause.__cause__
    return False


def _culprit(error: BaseException) -> str | None:
    """The third party's plugin whose code raised an error that nobody expected, where that can be found out."""
    try:
        from graftwork.catalogue import load_catalogue
        from graftwork.plugins import culprit

        return culprit(error, load_catalogue())
    except Exception:  # what is broken may be what would tell
        return None


def _take_debug(arguments: Sequence[str]) -> tuple[bool, list[str]]:
    """`--debug` is accepted anywhere before `--`."""
    words = list(arguments)
    end = words.index("--") if "--" in words else len(words)
    kept = [word for word in words[:end] if word != "--debug"]
    wanted = len(kept) < end or os.environ.get("GRAFTWORK_DEBUG", "") not in ("", "0")
    return wanted, kept + words[end:]


def _silence_stdout() -> None:
    """Python flushes stdout once more at exit; let that go nowhere."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        return
