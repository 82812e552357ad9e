"""The entry point of the command line: it finds the command, and turns errors into messages.

It imports nothing outside the core installation; a command's own module may.
"""

import contextlib
import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence

COMMANDS = ("list", "train", "evaluate", "render", "analyse", "check", "sweep")

USAGE = """\
usage: mfenvs COMMAND ...

  mfenvs list                          list the registered games
  mfenvs train ALGORITHM GAME [FLAGS]  train; --help after the game's name shows all flags
  mfenvs evaluate RUN [FLAGS]          measure the return and the exploitability of a run's policy
  mfenvs render RUN [FLAGS]            play one episode by a run's policy and show it
  mfenvs analyse GAME [FLAGS]          how symmetric and how exploitable a game is: theory and measurements
  mfenvs check GAME [FLAGS]            do the game's rules and environments pass the conformance tests
  mfenvs sweep SPEC.toml [FLAGS]       games x algorithms x hyper-parameters x seeds, by many processes

A game of your own is named MODULE:GAME, as in `mfenvs train ppo beach:BeachBar-v0`: the module that registers it
is imported first.
"""

EXTRA_PACKAGES = ("matplotlib", "rich", "stable_baselines3", "supersuit", "tensorboard", "torch", "tqdm", "tyro")
"""Import names of the packages that `pip install mfenvs[baselines]` adds to the core installation."""

SIGPIPE = 13
"""Number of the signal that ends a process whose output nobody reads; Windows has no such signal."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments:
        The words after ``mfenvs``; by default those of this process.

    Returns
    -------
    The exit status: 0 for success, 1 if a conformance test failed, 2 for an error in the input, 130 if
    interrupted by Ctrl-C or SIGTERM, 141 if the output's reader closed the pipe.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if words else 2
    command = words[0]
    if command not in COMMANDS:
        print(f"mfenvs: unknown command {command!r}\n\n{USAGE}", file=sys.stderr)
        return 2
    try:
        with _termination_as_interruption():
            status: int = importlib.import_module(f".{command}", __package__).run(words[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # Whoever read the output has seen enough, as `head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + SIGPIPE
    except (ValueError, TypeError, OSError) as error:
        print(f"mfenvs {command}: error: {error}", file=sys.stderr)
    except ImportError as error:
        is_extra = (error.name or "").partition(".")[0] in EXTRA_PACKAGES
        advice = "; run `pip install mfenvs[baselines]`" if is_extra else ""
        print(f"mfenvs {command}: error: {error}{advice}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    else:
        return status
    return 2


@contextlib.contextmanager
def _termination_as_interruption() -> Iterator[None]:
    """Within this context SIGTERM, by which schedulers and containers end a process, is like Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():  # Only the main one may handle signals.
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
