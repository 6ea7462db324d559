"""Run one fuzzer: `python -m tests.fuzz.engine TARGET SECONDS FOLDER`.

With atheris, where it is installed: libFuzzer, guided by the coverage of `router`. Else Hypothesis
changes the seeds. What breaks a promise is kept in FOLDER (`crash-…`) and ends the run; put it into
`tests/fuzz/corpus/TARGET/`, where every run of the tests tries it again.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path

Target = Callable[[bytes], None]
_MOST = 2048
"""Bytes of an input."""
_ROUND = 2000
"""Examples of Hypothesis between two looks at the clock."""


def main(target: str, seconds: int, folder: Path) -> int:
    """Fuzz for so long; what the process ends with."""
    (folder / "seeds").mkdir(parents=True, exist_ok=True)
    guided = importlib.util.find_spec("atheris") is not None
    return (_with_atheris if guided else _with_hypothesis)(target, seconds, folder)


def _with_atheris(target: str, seconds: int, folder: Path) -> int:
    import atheris

    with atheris.instrument_imports(include=["router"]):
        run: Target = importlib.import_module("tests.fuzz.targets").TARGETS[target]
    given = importlib.import_module("tests.fuzz.seeds")
    for name, data in given.seeds(target).items():
        (folder / "seeds" / name).write_bytes(data)
    (folder / "found").mkdir(exist_ok=True)
    (folder / "words").write_bytes(given.words(target))
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={_MOST}",
        f"-artifact_prefix={folder}/",
        f"-dict={folder / 'words'}",
    ]
    atheris.Setup(["fuzz", *options, str(folder / "found"), str(folder / "seeds")], run)
    atheris.Fuzz()
    return 0


def _with_hypothesis(target: str, seconds: int, folder: Path) -> int:
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    run: Target = importlib.import_module("tests.fuzz.targets").TARGETS[target]
    known = list(importlib.import_module("tests.fuzz.seeds").seeds(target).values())
    edits = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 9), st.binary(max_size=8)))
    last = b""

    @settings(max_examples=_ROUND, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(known), edits)
    def play(data: bytes, changes: list[tuple[float, int, bytes]]) -> None:
        nonlocal last
        for place, size, new in changes:
            at = int(place * len(data))
            data = data[:at] + new + data[at + size :]
        last = data[:_MOST]
        run(last)

    ends = time.monotonic() + seconds
    try:
        while time.monotonic() < ends:
            play()
    except Exception:
        (folder / "crash-hypothesis").write_bytes(last)
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
