"""Builds a data set several times over, killed at chosen points: `python stopped_build.py SOURCE PLAN`.

PLAN is JSON, a list of [out, stops]. Each stop is a number: a whole one is the file operation before which the build is
killed (-3: the last but two), a fraction the seconds after which it is; 0 lets it finish. Prints per stop whether it
was killed, and how many motions it found done, as JSON; for an output that is complete, null. Builds are forked from
one process, so that the libraries are loaded once.
"""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

from lightning_realign.data.build.build import build_from_joints


def is_file_operation(event):
    return event in ("open", "tempfile.mkstemp") or event.startswith(("os.", "shutil."))


def count_operations(call):
    """How many file operations a call makes."""
    count = [0, True]

    def watch(event, _):
        count[0] += count[1] and is_file_operation(event)

    sys.addaudithook(watch)
    call()
    count[1] = False
    return count[0]


def kill_before(stop):
    """Kill this process before its file operation number `stop`."""
    left = [stop]

    def watch(event, _):
        if is_file_operation(event):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def build(source, out, stop, told):
    if isinstance(stop, float):
        # Its default action ends the process on the spot, like a kill.
        signal.setitimer(signal.ITIMER_REAL, stop)
    elif stop:
        kill_before(stop)
    report = build_from_joints(source, out, progress=False, mirror=True)
    os.write(told, str(report.resumed).encode())


def run(source, out, stop):
    """Whether a build was killed, and how many motions it had found done."""
    if out.exists():
        return [False, None]
    heard, told = os.pipe()
    child = os.fork()
    if child == 0:
        build(source, out, stop, told)
        os._exit(0)
    os.close(told)
    _, status = os.waitpid(child, 0)
    with os.fdopen(heard) as file:
        answer = file.read()
    if not os.WIFSIGNALED(status) and not answer:
        raise SystemExit(f"{out}: the build failed")
    return [os.WIFSIGNALED(status), json.loads(answer or "null")]


def main(source, plan):
    last = count_operations(lambda: build_from_joints(source, plan.with_name("counted"), progress=False, mirror=True))
    shutil.rmtree(plan.with_name("counted"))
    results = []
    for out, stops in json.loads(plan.read_text()):
        exact = [last + 1 + stop if isinstance(stop, int) and stop < 0 else stop for stop in stops]
        results.append([run(source, Path(out), stop) for stop in exact])
    print(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
