"""`docs/configuration.md`: `python -m tools.reference > docs/configuration.md`."""

from __future__ import annotations

from collections.abc import Iterator

from router.control.sections import Declared, Section, sections

_HEAD = """\
# Configuration

mirrorgate reads one TOML file: the one named with `--config`, else `$MIRRORGATE_CONFIG`, else
`./config.toml`, else `/etc/mirrorgate/config.toml`. The least that works:

```toml
[[mirrors]]
id = "openai"
url = "https://api.openai.com"
```

`mirrorgate check` validates the file and names every fault with its path. Unknown settings, wrong
types and impossible values are refused; a running instance keeps its last good configuration.

- **Durations** are seconds or `"250ms"`, `"30s"`, `"5m"`, `"2h"`, `"7d"`;
  **sizes** are bytes or `"64KiB"`, `"4MiB"`, `"1GiB"`.
- **Secrets.** Any string may be `"env:NAME"` (an environment variable) or `"file:PATH"`, read at
  load, a line end at the end removed. A missing or empty one is a fault. The value never
  appears in a message.
- **Files** (`admin.socket`, a SQLite database, certificates, logs, `file:`) are relative to the
  folder of the configuration file, wherever mirrorgate is started.
- **Reload** with `mirrorgate reload` or SIGHUP. What takes effect only after a restart is marked
  *restart*; a reload names it when it differs.

Editors that know JSON schemas for TOML (Even Better TOML, taplo) complete and check settings while
they are typed: the first line of `config.example.toml` names `docs/config.schema.json`.

This page and the schema are made from the declarations in the code (`python -m tools.reference`,
`python -m tools.schema`), and a test holds them to these. `config.example.toml` has the same as a
file to start from.
"""


def render() -> str:
    """The whole page."""
    blocks = ["\n".join(_block(section)) + "\n" for section in sections() if section.settings]
    return "\n".join([_HEAD, *blocks])


def _block(section: Section) -> Iterator[str]:
    yield f"## `{section.header}`"
    yield ""
    yield section.doc
    yield ""
    yield "| setting | default | type | meaning |"
    yield "|---|---|---|---|"
    for setting in section.settings:
        default = "required" if setting.required else f"`{setting.value}`"
        cells = (f"`{setting.key}`", default, setting.kind, _meaning(setting))
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _meaning(setting: Declared) -> str:
    marks = (("*restart*", setting.restart),)
    return " · ".join([setting.doc, *(mark for mark, holds in marks if holds)])


if __name__ == "__main__":
    print(render(), end="")
