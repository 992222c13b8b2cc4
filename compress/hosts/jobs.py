"""Programs that take longer than a connection may last: started on their own, waited for, ended when they hang.

A job is a directory there: ``out`` and ``err`` as it writes them, ``pid``, and ``rc`` once it has ended. Starting it
a second time does nothing, so that a dropped connection is simply made again and waited on.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from compress.errors import UnavailableError
from compress.hosts.shell import Shell
from compress.hosts.transfer import checked

#: Seconds that one request waits there; short enough that a dead connection is noticed.
_WAIT = 10
#: Looks for its end in quick succession before it is looked for less often: what measures is not to be disturbed.
_QUICK = 10
#: Bits of the exit status that tells of a job's end.
_LATE, _FULL = 1, 2
#: Size of the tail of each stream that is read back: errors stand at the end.
_TAIL_BYTES = 65536


@dataclass(frozen=True)
class Ended:
    """A job that has ended.

    Attributes:
        code: Exit status; 128 + the signal's number where a signal ended it, as in sh.
        output: End of its standard output.
        errors: End of its standard error.
        late: Whether it was ended for exceeding its time limit.
        full: Whether the disk there is full now, so that its own message may be missing.
    """

    code: int
    output: str
    errors: str
    late: bool
    full: bool = False


def run_job(
    shell: Shell,
    directory: str,
    name: str,
    arguments: Sequence[str],
    seconds: float,
    *,
    writes: Sequence[str] = (),
    beside: Sequence[str] = (),
    beat: str = "true",
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Run a program to its end.

    Args:
        shell: Shell of the machine.
        directory: Working directory of the program on that machine. The job's own directory is ``name`` below it.
        name: Name of the job: a plain word, not used for another job there.
        arguments: Program and its arguments.
        seconds: Time limit, in seconds, after which it is ended.
        writes: Files in the directory that it writes; those of an earlier job are removed before it starts.
        beside: Another program with its arguments that runs as long as this one does; nobody waits for it.
        beat: A command line that is run there while the job is waited for (:mod:`compress.hosts.lock`).
        environment: Variables of the program, besides those of the shell there.

    Raises:
        OutputError: The disk there is full, or the directory may not be written.
        ConnectionLostError: The connection dropped and did not come back; the job may still be running.
        UnavailableError: The job vanished: the machine was restarted.
    """
    variables = [f"{key}={value}" for key, value in (environment or {}).items()]
    started = ["env", *variables, *arguments] if variables else arguments
    script = _script(name, started, max(1, round(seconds)), writes, beside)
    at = f"cd {shlex.quote(directory)}"
    # Started and waited for in one request: the first one starts it, those after a lost connection only wait.
    request = (
        f"{at} && echo >{name}.start && rm {name}.start || exit 1; "  # A full disk is told here, not by silence.
        # A small system has no nohup, and this is all that it does.
        f"(trap '' HUP; exec sh -c {shlex.quote(script)} >/dev/null 2>&1 </dev/null &); n=0; "
        f"while [ ! -f {name}/rc ] && [ $n -lt {_WAIT * 5} ]; do "
        f"if [ $n -lt {_QUICK} ]; then sleep 0.05; else sleep 0.2; fi || sleep 1; n=$((n+1)); done; {beat}; "
        f"if [ -f {name}/rc ]; then cat {name}/rc; else "
        f"kill -0 $(cat {name}/pid) 2>/dev/null || [ -f {name}/rc ] || echo gone; fi"
    )
    deadline = time.monotonic() + seconds + 60
    gone = 0
    while True:
        answer = checked(shell, request, seconds=_WAIT + 60).text.strip()
        if answer.isdigit():
            break
        gone = gone + 1 if answer == "gone" else 0
        if gone > 1 or time.monotonic() > deadline:
            raise UnavailableError(
                f"{arguments[0]} to end on {shell.name}",
                "it vanished without an exit status",
                "see whether the machine was restarted, and give the same command again",
            )
    tails = shell.run(
        f"{at}/{name} && tail -c {_TAIL_BYTES} out && tail -c {_TAIL_BYTES} err >&2; "
        f"late=0; [ ! -f late ] || late={_LATE}; "
        f"full={_FULL}; ( echo >probe && rm probe ) 2>/dev/null && full=0; exit $((late + full))"
    )
    late, full = bool(tails.code & _LATE), bool(tails.code & _FULL)
    return Ended(code=int(answer), output=tails.text, errors=tails.errors, late=late, full=full)


def _script(
    name: str, arguments: Sequence[str], seconds: int, writes: Sequence[str], beside: Sequence[str]
) -> str:
    """Return the job's shell script; making the directory distinguishes a first start from a second one."""
    # Room for the exit status is taken now: a program that fills the disk leaves none.
    lines = [
        f"mkdir {name} 2>/dev/null || exit 0",
        f"echo '   ' >{name}/rc.part",
        f"exec >{name}/out 2>{name}/err",
    ]
    if writes:
        lines.append(f"rm -f {shlex.join(writes)}")
    if beside:
        lines += [f"{shlex.join(beside)} >/dev/null 2>&1 &", "b=$!"]
    lines += [
        f"{shlex.join(arguments)} &",
        "p=$!",
        f"echo $p >{name}/pid",
        # Whoever ends it ends its sleep with it: by SIGKILL, as a child keeps the trap until it has become sleep.
        f"(trap 'kill -9 $!; exit' TERM; sleep {seconds} & wait $! && : >{name}/late && kill -9 $p) >/dev/null 2>&1 &",
        "w=$!",
        "wait $p",
        "c=$?",
        "kill $w 2>/dev/null",
    ]
    if beside:
        lines.append("kill $b 2>/dev/null")
    return "\n".join([*lines, f"printf %-3s $c 1<>{name}/rc.part && mv {name}/rc.part {name}/rc"])
