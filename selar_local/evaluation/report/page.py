"""A report as one HTML page that needs nothing else: no script, no font, no request."""

from __future__ import annotations

from selar_local.evaluation.report.content import Report

__all__ = ["as_html"]

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1d1f; --quiet: #5c6066; --paper: #fdfdfc; --line: #d9dbde; --band: #f3f4f4 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e7e9; --quiet: #a3a8b0; --paper: #17181a; --line: #3a3d42; --band: #1f2124 }
}
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink) }
body, svg text { font-family: system-ui, -apple-system, "Segoe UI", sans-serif !important }
body { font-size: 1rem; line-height: 1.55 }
main { max-width: 74rem; margin: 0 auto; padding: 2rem 1.2rem 4rem }
h1, h2 { overflow-wrap: anywhere }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 1rem }
h2 { font-size: 1.25rem; margin: 2.8rem 0 .8rem; border-bottom: 1px solid var(--line); padding-bottom: .3rem }
p, li { max-width: 46rem }
ul { padding-left: 1.2rem }
nav ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .2rem 1.2rem }
a { color: inherit }
.wide { overflow-x: auto; margin: 1.4rem 0 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem }
caption { text-align: left; font-weight: 600; padding-bottom: .4rem }
th, td { text-align: right; padding: .35rem .8rem; white-space: nowrap; border-bottom: 1px solid var(--line) }
th:first-child, td:first-child { text-align: left; padding-left: .2rem }
thead th { color: var(--quiet); font-weight: 600 }
tbody tr:nth-child(even) { background: var(--band) }
tbody th { font-weight: 500 }
.facts td { text-align: left; white-space: normal; overflow-wrap: anywhere }
.facts th { vertical-align: top; text-align: left }
.note { color: var(--quiet); font-size: .88rem; margin-top: -.8rem }
.plots { display: grid; gap: 1.5rem; align-items: start }
.plots { grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)) }
figure { margin: 0 }
figcaption { font-size: .88rem; color: var(--quiet) }
svg { width: 100%; height: auto; color: var(--ink) }
@media print { .wide { overflow: visible } }
"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{{ report.title }}</title>
<style>{{ style }}</style>
</head>
<body>
<main>
<h1>{{ report.title }}</h1>
<nav aria-label="Sections"><ul>
{%- for section in report.sections %}
<li><a href="#s{{ loop.index }}">{{ section.title }}</a></li>
{%- endfor %}
</ul></nav>
{%- for section in report.sections %}
<section id="s{{ loop.index }}">
<h2>{{ section.title }}</h2>
{%- if section.sentences %}
<ul>
{%- for line in section.sentences %}
<li>{{ line }}</li>
{%- endfor %}
</ul>
{%- endif %}
{%- for table in section.tables %}
<div class="wide{{ ' facts' if table.head == ('fact', 'value') }}" tabindex="0" role="region"
 aria-label="{{ table.title }}">
<table>
<caption>{{ table.title }}</caption>
<thead><tr>{% for cell in table.head %}<th scope="col">{{ cell }}</th>{% endfor %}</tr></thead>
<tbody>
{%- for row in table.rows %}
<tr><th scope="row">{{ row[0] }}</th>{% for cell in row[1:] %}<td>{{ cell }}</td>{% endfor %}</tr>
{%- endfor %}
</tbody>
</table>
</div>
{%- if table.note %}
<p class="note">{{ table.note }}</p>
{%- endif %}
{%- endfor %}
{%- if section.plots %}
<div class="plots">
{%- for plot in section.plots %}
<figure>{{ plot.svg | safe }}<figcaption>{{ plot.title }}</figcaption></figure>
{%- endfor %}
</div>
{%- endif %}
</section>
{%- endfor %}
</main>
</body>
</html>
"""


def as_html(report: Report) -> str:
    """The page. All texts are escaped; the plots come from `plots`, which escapes its own."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined)
    return environment.from_string(_PAGE).render(report=report, style=Markup(_STYLE)) + "\n"
