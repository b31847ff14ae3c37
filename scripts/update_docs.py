"""Rewrites what is generated in docs/: the option table of every method's page, their index, the results, the models,
and the plots of the results.

usage: python scripts/update_docs.py            write the pages
       python scripts/update_docs.py --check    write nothing; exit code 1 where a page is out of date

Generated text stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``. A method without a page is an error.
`results_page.py` makes the parts of docs/RESULTS.md from the studies in docs/results/.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import results_page
from results_page import table

from selar_local.cli.options import flag_of
from selar_local.config import SamplingConfig
from selar_local.formats import FORMATS
from selar_local.methods import DEFAULT_METHOD, METHODS, Method
from selar_local.options import Option, described, shown

FOLDER = Path(__file__).parent.parent / "docs" / "methods"
RESULTS = FOLDER.parent / "RESULTS.md"
MODELS = FOLDER.parent / "MODELS.md"

_REGION = re.compile(r"(<!-- generated: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)
_HTML = str.maketrans({"<": "&lt;", ">": "&gt;", "|": "\\|", "*": "\\*", "_": "\\_"})


def main(arguments: list[str]) -> int:
    """The exit code."""
    if arguments not in ([], ["--check"]):
        print(__doc__)
        return 2
    outdated = [path for path in (*pages(), RESULTS, MODELS) if path.read_text(encoding="utf-8") != updated(path)]
    for path in outdated:
        if arguments:
            print(f"{path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path} is out of date")
        else:
            path.write_text(updated(path), encoding="utf-8", newline="\n")
    if not arguments:
        results_page.plot_results()
    return 1 if outdated and arguments else 0


def pages() -> list[Path]:
    """The page of every method, and the index. Raises SystemExit where one is missing."""
    wanted = [FOLDER / "README.md", *(FOLDER / f"{name}.md" for name in METHODS.built_in)]
    missing = [str(path) for path in wanted if not path.exists()]
    if missing:
        raise SystemExit(f"no page: {', '.join(missing)}")
    return wanted


def updated(path: Path) -> str:
    """The page's text with all generated parts made anew."""
    return _REGION.sub(
        lambda found: f"{found[1]}\n{generated(found[2], path.stem)}\n{found[3]}", path.read_text(encoding="utf-8")
    )


def generated(name: str, page: str) -> str:
    """The text of the generated part `name` on a page."""
    if name == "index":
        return index()
    if name == "options":
        return options(METHODS[page])
    if name == "models":
        return models()
    if name in results_page.PARTS:
        return results_page.PARTS[name]()
    raise SystemExit(f"{page}.md: nothing is called {name!r}")


def models() -> str:
    """The table of families of models."""
    sys.path.insert(0, str(FOLDER.parent.parent / "tests"))
    from support.family_gguf import FAMILIES, Family

    reused = {"attention": "all beginnings", "window": "window, states", "hybrid": "states", "recurrent": "states"}
    formats = {form.name: form for form in FORMATS}

    def cells(name: str, row: Family) -> tuple[str, ...]:
        thinking = formats[row.form].thinking
        opening = f"`{thinking.opening.strip()}`".replace("|", "\\|") if thinking else "by template"
        calls = "none; with tools as `hermes`" if row.form == "general" else f"`{row.form}`"
        vectors = "yes" if row.rows else "no"
        return row.models, f"`{row.architecture or name}`", vectors, opening, calls, reused[row.kind], row.note

    heads = ("models", "architecture", "vectors", "thinking", "calls of tools", "what is reused", "notes")
    return table(heads, (cells(name, row) for name, row in FAMILIES.items()))


def index() -> str:
    """The table of all methods."""
    return table(
        ("method", "in Python", "what it does", "source"),
        (
            (
                f"[`{name}`]({name}.md){' (default)' if name == DEFAULT_METHOD else ''}",
                f"`{cls.__name__}`",
                text(cls.summary),
                source(cls.source),
            )
            for name, cls in METHODS.built_in.items()
        ),
    )


def options(cls: type[Method]) -> str:
    """The table of a method's options, and its own sampling defaults."""
    rows = described(cls)
    parts = [table(("option", "value", "default", "meaning", "source"), map(row_of, rows))] if rows else []
    if not rows:
        parts.append("It has no options of its own.\n")
    for name, value in cls.sampling_defaults.items():
        general = getattr(SamplingConfig(), name)
        parts.append(f"`{flag_of(name)}` is {shown(value)} with this method (other methods: {shown(general)}).\n")
    return "\n".join(parts)


def row_of(row: Option) -> tuple[str, ...]:
    """One option's cells."""
    flags = [flag for declared in row.flags for flag in declared.split("/")]
    name = ", ".join(f"`{flag}`" for flag in flags) or f"`{row.name}` (Python only)"
    value = ", ".join(f"`{choice}`" for choice in row.choices) or text(value_of(row))
    return name, value, text(row.default_text), text(row.meaning), source(row.source or "")


def value_of(row: Option) -> str:
    """What an option takes, in words."""
    if row.number is None:
        return "on or off" if row.kind == "boolean" else row.kind
    number = ", ".join(filter(None, ("whole number" if row.number is int else "number", row.bounds)))
    texts = (row.words or ("text",)) if row.kind == "number|text" else ()
    return ", or ".join((number, *texts))


def source(name: str) -> str:
    """A source, linked where it is a paper."""
    number = name.removeprefix("arXiv ")
    return f"[{name}](https://arxiv.org/abs/{number})" if number != name else text(name)


def text(words: str) -> str:
    """Plain words as a Markdown cell."""
    return words.translate(_HTML)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
