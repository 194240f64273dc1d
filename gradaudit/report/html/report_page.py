"""The HTML report: one file, complete without JavaScript, that loads nothing and executes one known script."""

import base64
import hashlib
import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

import gradaudit
from gradaudit.audit.result import Audit
from gradaudit.report import run_state
from gradaudit.report.charts.figures import Budget, figure
from gradaudit.report.charts.primitives import unchecked
from gradaudit.report.html import glossary, view
from gradaudit.report.html.run_figures import layers_figure, over_time_figure, run_figures
from gradaudit.report.model import Page, Sources
from gradaudit.report.text import name

_JOINT = re.compile(r"([_/-])(?=\w)")
_IN_CODE = re.compile(r"((?<!\d)\.|\.(?!\d)|[(\[,=/])(?=\w)")  # behind the dot of a path, not that of a number
_EXPONENT = re.compile(r"(?<![\d.])(\d[\d.]{0,30}e−\d+)")
# Not in what is code by its looks: lr=1e-4, softmax(-1).
_NEGATIVE = re.compile(r"(?<![\w.=\[,-])(?<!\w\()-?\.?\d[\d.,]*(?:e-?\d+)?")
_PERCENT = re.compile(r"(?<=\d) (?=%)")
_LOGARITHM = re.compile(r"\bln (\d[\d,]*) = (?=\d)")


def templates_folder() -> Path:
    """The repository's templates/ in a checkout, else those packaged with gradaudit.

    An editable install may leave a stale copy in the package, so the repository's folder wins.
    """
    package = Path(gradaudit.__file__).parent
    repository = package.parent / "templates"
    in_checkout = (package.parent / "pyproject.toml").is_file() and (repository / "report.html").is_file()
    return repository if in_checkout else package / "templates"


def render(audit: Audit) -> str:
    """The whole page. The same audit gives the same bytes."""
    return render_page(build(audit))


def render_page(view: object, template: str = "report.html") -> str:
    """A template filled with `view`, which it calls ``page``."""
    loader = FileSystemLoader(templates_folder(), encoding="utf-8")
    # select_autoescape() would decide by file name; here nothing is exempt but Markup made by this room.
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["no_break"] = no_break
    environment.filters["breakable"] = breakable
    environment.filters["code"] = code
    return environment.get_template(template).render(page=view)


def no_break(text: str) -> Markup:
    """Escaped `text` in which no line ends within 3.3e−7, 12 % or ln 3 = 1.10; minus signs as in the charts."""
    whole = _NEGATIVE.sub(lambda found: found.group().replace("-", "−"), str(escape(text)))
    whole = _PERCENT.sub("\N{NO-BREAK SPACE}", whole)
    whole = _LOGARITHM.sub("ln\N{NO-BREAK SPACE}\\1\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}", whole)
    return Markup(_EXPONENT.sub(r'<span class="number">\1</span>', whole))


def breakable(text: str) -> Markup:
    """Escaped `text`, whose lines rather end behind a word of a name such as a_long_name."""
    return Markup(_JOINT.sub(r"\1<wbr>", str(escape(text))))


def code(text: str) -> Markup:
    """Escaped source code, whose long lines rather end behind a dot or a bracket than within a name."""
    return Markup(_IN_CODE.sub(r"\1<wbr>", str(escape(text))))


@unchecked()
def build(audit: Audit) -> Page:
    """Everything that the page shows."""
    budget = Budget()
    overview_figures = run_figures(audit.overview, budget)
    layers = layers_figure(audit.overview, budget)
    sizes = audit.overview.distributions
    distribution = figure(sizes, "figure-sizes", budget) if sizes is not None else None
    over_time = over_time_figure(audit.overview, budget)
    cards, cards_left_out = view.cards(audit, budget)
    return Page(
        title=view.title(audit),
        name=name(audit.meta.name) or "unnamed run",
        line=view.headline_line(audit),
        banner=run_state.banner(audit),
        icon=view.worst(audit),
        verdict=view.verdict_text(audit),
        counts=tuple(view.counts(audit)),
        top_actions=view.top_actions(audit.ranked),
        summary_facts=view.summary_facts(audit.overview),
        run_figures=overview_figures,
        layers=layers,
        distribution=distribution,
        over_time=over_time,
        cards=cards,
        cards_left_out=cards_left_out,
        passed=view.entries(audit.with_status("clean")),
        not_applicable=view.entries(audit.with_status("not_applicable")),
        skipped=view.entries(audit.with_status("skipped")),
        failed=view.entries(audit.with_status("failed")),
        parameters=view.parameters(audit.overview.table),
        parameters_total=len(audit.overview.table),
        run_facts=view.run_facts(audit),
        problems=view.problems(audit),
        glossary=(*glossary.ENTRIES, *([glossary.LABORATORY] if any(card.laboratory for card in cards) else [])),
        version=name(audit.gradaudit_version),
        sources=sources(),
    )


def sources() -> Sources:
    """The style sheet and the script of every page."""
    css, js = ((templates_folder() / file).read_text(encoding="utf-8") for file in ("report.css", "report.js"))
    return Sources(Markup(css), Markup(js), _hash(css), _hash(js))


def _hash(source: str) -> str:
    """The content security policy's name for exactly this text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
