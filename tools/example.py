"""`config.example.toml`: `python -m tools.example > config.example.toml`."""

from __future__ import annotations

from collections.abc import Iterator

from router.control.sections import Declared, Section, sections

_HEAD = """\
#:schema docs/config.schema.json
# mirrorgate: configuration. Copy it to config.toml; `mirrorgate check` validates it.
#
# A line such as `#name = value` is a setting at its default: take the "#" away to change it.
# Durations are seconds or "250ms" "30s" "5m" "2h" "7d"; sizes are bytes or "64KiB" "4MiB" "1GiB".
# Any string may be "env:NAME" or "file:PATH" instead, read at load: use that for keys.
# Paths of files start from the folder of this file.
"""
_EXAMPLE_HEAD = '# An example; take the "#" away from its header too.'
_COMMENT_COLUMN = 40


def render() -> str:
    """The whole file."""
    blocks = ["\n".join(_block(section)) + "\n" for section in sections() if section.settings]
    return "\n".join([_HEAD, *blocks])


def _block(section: Section) -> Iterator[str]:
    active = any(setting.required for setting in section.settings) and "mirrors" in section.header
    yield f"# {section.doc}"
    if section.optional and not active:
        yield _EXAMPLE_HEAD
        yield f"#{section.header}"
    else:
        yield section.header
    for setting in section.settings:
        yield _line(setting, active=active and setting.required)


def _line(setting: Declared, *, active: bool) -> str:
    start = f"{'' if active else '#'}{setting.key} = {setting.value}"
    return f"{start:<{_COMMENT_COLUMN - 2}}  # {comment(setting)}"


def comment(setting: Declared) -> str:
    """Meaning of a setting, and when it takes effect."""
    marks = [mark for mark, holds in (("(after a restart)", setting.restart),) if holds]
    return " ".join([setting.doc, *marks])


if __name__ == "__main__":
    print(render(), end="")
