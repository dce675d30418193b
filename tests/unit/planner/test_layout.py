"""Where things lie."""

from __future__ import annotations

from dataclasses import fields

from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.planner.layout import Layout
from ollama_fleet.probe.request import ProbeRequest

HOME = st.text("abc /'$%", min_size=1, max_size=12).map(lambda text: f"/{text.strip('/')}/x")


def test_system_scope_is_complete_without_a_home() -> None:
    layout = Layout.of("system", "/srv/models")
    assert layout.at("/home/a", "a", "b") == layout
    assert layout.models == "/srv/models"
    assert not any(str(getattr(layout, field.name)).startswith("~") for field in fields(layout))


@given(HOME)
def test_user_scope_stays_below_the_home(home: str) -> None:
    layout = Layout.of("user").at(home, "student", "students")
    texts = {field.name: getattr(layout, field.name) for field in fields(layout)}
    paths = [text for text in texts.values() if isinstance(text, str) and "/" in text]
    assert all(path == home or path.startswith(f"{home}/") for path in paths)
    assert (layout.service_user, layout.service_group) == ("student", "students")


def test_models_elsewhere_stay_there() -> None:
    assert Layout.of("user", "/srv/m").at("/home/a", "a", "a").models == "/srv/m"


def test_probe_looks_at_parents_before_what_is_in_them() -> None:
    paths = ProbeRequest(Layout.of("system", "/srv/a/models")).paths()
    assert paths.index("/srv") < paths.index("/srv/a") < paths.index("/srv/a/models")
    assert len(paths) == len(set(paths))
    assert {Layout.of("system").unit, Layout.of("system").drop_in} <= set(paths)
