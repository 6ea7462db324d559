"""Parts of pages that are made from measurements, each between two comments that name it."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGE = DOCS / "benchmarks.md"


def put(page: Path, name: str, text: str) -> None:
    """Put the text in place of the part of this name. Raises ValueError if the page has none."""
    before, _, after = _parts(page, name)
    page.write_text(f"{before}\n{text.strip()}\n\n{after}", "utf-8")


def read(page: Path, name: str) -> str:
    """Return the part of this name. Raises ValueError if the page has none."""
    return _parts(page, name)[1].strip()


def _parts(page: Path, name: str) -> tuple[str, str, str]:
    """Return what stands before, between and after the comments, which stay with what is around."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    before, found, rest = page.read_text("utf-8").partition(begin)
    between, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{page.name} has no part {name!r}")
    return before + begin, between, end + after
