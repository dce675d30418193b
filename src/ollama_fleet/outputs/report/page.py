"""The page as HTML: one file that loads nothing, from the templates `report.*.j2`."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import zlib
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import version

import jinja2
from markupsafe import Markup

from ollama_fleet.outputs.qr_code import image_of
from ollama_fleet.outputs.report.content import Content
from ollama_fleet.outputs.sizes import gib, hosts_words
from ollama_fleet.planner.render import RenderError

PAGE, STYLE, SCRIPT = "report.html.j2", "report.css.j2", "report.js.j2"
HOST = "report.host.html.j2"
SEPARATE = 8
"""Up to so many hosts lie plainly in the page and unfolded; of more, those that are to be looked at first."""


def page(content: Content, templates: Mapping[str, str], made: datetime) -> str:
    """Render the page.

    Args:
        content: what stands on it.
        templates: their texts by file name.
        made: when, with its time zone.

    Raises:
        RenderError: a template of the user's own is broken.
    """
    environment = jinja2.Environment(
        loader=jinja2.DictLoader(dict(templates)),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=True,  # names, remarks and what hosts answered are anybody's text
    )
    environment.filters["gib"] = gib
    environment.filters["hosts"] = hosts_words
    environment.filters["qr"] = image_of
    environment.filters["body"] = _body
    try:
        bodies, packed = _bodies(environment, content)
        style, script = (environment.get_template(name).render().strip() for name in (STYLE, SCRIPT))
        return environment.get_template(PAGE).render(
            content=content,
            made=made,
            version=version("ollama-fleet"),
            bodies=bodies,
            packed=packed,
            style=Markup(style),  # noqa: S704 - our own file
            script=Markup(script),  # noqa: S704 - our own file
            # Nothing runs, loads or is styled but what is written here: names cannot become code even by mistake.
            policy=f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}",
        )
    except jinja2.TemplateSyntaxError as error:
        raise RenderError(f"{error.name}:{error.lineno}: {error.message}") from error
    except jinja2.TemplateError as error:
        raise RenderError(f"{PAGE}: {error.message}") from error


def _bodies(environment: jinja2.Environment, content: Content) -> tuple[list[Markup], str | None]:
    """Each host's part of the page. Hosts are much alike, so those of a large fleet take a tenth when packed.

    Returns:
        The parts that lie plainly in the page, empty for the others; and the others, as JSON that is deflated and in
        base64, for the page's own script to unpack. None where all lie plainly.
    """
    body = vars(environment.get_template(HOST).module).get("host_body")
    if body is None:
        raise RenderError(f"{HOST}: it has no macro host_body")
    if len(content.hosts) <= SEPARATE:
        return [body(host) for host in content.hosts], None
    first = [place for place, host in enumerate(content.hosts) if host.troubled][:SEPARATE]
    parts = [str(body(host)) for host in content.hosts]
    rest = ["" if place in first else part for place, part in enumerate(parts)]
    plain = [Markup(part if place in first else "") for place, part in enumerate(parts)]  # noqa: S704 - rendered
    return plain, base64.b64encode(zlib.compress(json.dumps(rest).encode(), 9)).decode()


def _body(text: str) -> Markup:
    """Text between tags, where a quote means nothing: JSON has many, and escaped they are five times as long."""
    return Markup(html.escape(text, quote=False))  # noqa: S704 - escaped right here


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
