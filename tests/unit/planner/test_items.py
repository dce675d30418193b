"""Each item says where a host differs from what is wanted, and nothing where it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.planner.items.account import WantedAccount
from ollama_fleet.planner.items.directory import WantedDirectory
from ollama_fleet.planner.items.release import Archive, WantedRelease
from ollama_fleet.planner.items.service import WantedService, manager_of
from ollama_fleet.planner.items.text_file import WantedFile, WantedLine
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.ollama_host import port_of
from ollama_fleet.planner.state import (
    FileState,
    ForeignBinary,
    HostState,
    InstalledVersion,
    OtherServer,
    ReleaseState,
    ServiceState,
)
from unit.planner.states import FRESH, OLLAMA, PLATFORM, STUDENT, SYSTEM

ACCOUNT = WantedAccount("ollama", "/usr/share/ollama")
ARCHIVE = Archive("ollama-linux-amd64.tar.zst", "https://mirror/x", "a" * 64, 1)
RELEASE = WantedRelease("0.24.0", (ARCHIVE,), SYSTEM)
ENVIRONMENT = {"OLLAMA_HOST": "0.0.0.0:11434"}


def aspects(differences: object) -> list[str]:
    return [difference.aspect for difference in differences]  # type: ignore[attr-defined]


# -- account ---------------------------------------------------------------------------------------


def test_account_on_a_fresh_host() -> None:
    assert aspects(ACCOUNT.differences(FRESH)) == ["group", "user"]


def test_account_wants_only_device_groups_that_exist() -> None:
    there = replace(FRESH, accounts={"ollama": OLLAMA}, groups=frozenset({"ollama", "video"}))
    assert ACCOUNT.differences(there) == []
    with_render = replace(there, groups=frozenset({"ollama", "video", "render"}))
    (missing,) = ACCOUNT.differences(with_render)
    assert (missing.aspect, missing.wanted) == ("member of", "render")


def test_further_memberships_are_left_alone() -> None:
    more = replace(OLLAMA, groups=OLLAMA.groups | {"backup"})
    there = replace(FRESH, accounts={"ollama": more}, groups=frozenset({"ollama", "video"}))
    assert ACCOUNT.differences(there) == []


# -- directory -------------------------------------------------------------------------------------

MODELS = WantedDirectory("/srv/a/models", "ollama", "ollama")


def directories(**modes: tuple[int, str, str]) -> HostState:
    names = {"root": "/", "srv": "/srv", "a": "/srv/a", "models": "/srv/a/models"}
    usual = {
        "root": (0o755, "root", "root"),
        "srv": (0o755, "root", "root"),
        "a": (0o755, "root", "root"),
        "models": (0o755, "ollama", "ollama"),
    }
    files = {
        names[key]: FileState("directory", mode, owner, group)
        for key, (mode, owner, group) in {**usual, **modes}.items()
    }
    return replace(FRESH, files=files, accounts={"ollama": OLLAMA})


def test_directory_as_wanted() -> None:
    assert MODELS.differences(directories()) == []


@pytest.mark.parametrize(
    ("mode", "owner", "group", "closed"),
    [
        (0o750, "root", "root", True),
        (0o750, "root", "video", False),
        (0o710, "root", "ollama", False),
        (0o711, "root", "root", False),
        (0o744, "root", "root", True),
        (0o077, "ollama", "root", True),
        (0o700, "ollama", "root", False),
        # The group's bits count for a member, however much the others may.
        (0o705, "root", "video", True),
    ],
)
def test_way_that_the_owner_cannot_pass(mode: int, owner: str, group: str, closed: bool) -> None:
    state = directories(a=(mode, owner, group))
    assert MODELS.closed_parents(state) == (["/srv/a"] if closed else [])
    assert aspects(MODELS.differences(state)) == (["way through /srv/a"] if closed else [])


def test_root_passes_everywhere() -> None:
    assert WantedDirectory("/srv/a/models", "root", "root").closed_parents(directories(a=(0, "x", "y"))) == []


@given(
    mode=st.integers(0, 0o777),
    owner=st.sampled_from(["root", "ollama", "x"]),
    group=st.sampled_from(["root", "video", "x"]),
)
def test_only_missing_search_permission_closes_a_way(mode: int, owner: str, group: str) -> None:
    shift = 6 if owner == "ollama" else 3 if group == "video" else 0
    state = directories(a=(mode, owner, group))
    assert bool(MODELS.closed_parents(state)) == (not mode >> shift & 1)


def test_directory_of_another_owner_mode_or_kind() -> None:
    assert aspects(MODELS.differences(directories(models=(0o700, "root", "root")))) == ["owner", "mode"]
    link = replace(FRESH, files={"/srv/a/models": FileState("link", 0o777, "ollama", "ollama")})
    assert aspects(MODELS.differences(link)) == ["kind", "mode"]
    assert aspects(MODELS.differences(FRESH)) == ["directory"]


# -- files -----------------------------------------------------------------------------------------

FILE = WantedFile("/etc/x", b"content\n", "root", "root")


@pytest.mark.parametrize(
    ("there", "found"),
    [
        (None, ["file"]),
        (FileState("file", 0o644, "root", "root", content=b"content\n"), []),
        (FileState("file", 0o644, "root", "root", content=b"other\n"), ["content"]),
        (FileState("file", 0o666, "root", "root", content=b"content\n"), ["mode"]),
        (FileState("file", 0o644, "student", "root", content=b"content\n"), ["owner"]),
        (FileState("link", 0o777, "root", "root", content=b"content\n"), ["kind", "mode"]),
    ],
)
def test_file(there: FileState | None, found: list[str]) -> None:
    state = FRESH if there is None else replace(FRESH, files={"/etc/x": there})
    assert aspects(FILE.differences(state)) == found


def test_line_in_somebody_elses_file() -> None:
    line = WantedLine("/home/a/.profile", "export A=b")
    there = FileState("file", 0o644, "a", "a", content=b"# mine\nexport A=b\n")
    assert line.differences(replace(FRESH, files={line.path: there})) == []
    longer = replace(there, content=b"export A=bc\n")
    assert aspects(line.differences(replace(FRESH, files={line.path: longer}))) == ["line"]
    assert aspects(line.differences(FRESH)) == ["line"]


# -- release ---------------------------------------------------------------------------------------


def installed(**changed: object) -> HostState:
    stamp = RELEASE.stamp("seen")
    usual = ReleaseState("0.24.0", None, SYSTEM.binary, {"0.24.0": InstalledVersion(stamp, "seen")})
    return replace(FRESH, release=replace(usual, **changed))  # type: ignore[arg-type]


def test_release_as_wanted() -> None:
    assert RELEASE.differences(installed()) == []


@pytest.mark.parametrize(
    ("state", "found"),
    [
        (FRESH, ["version", "in use", "command"]),
        (installed(current="0.23.0"), ["in use"]),
        (installed(command_target="/elsewhere"), ["command"]),
        (installed(versions={"0.24.0": InstalledVersion(RELEASE.stamp("seen"), "otherwise")}), ["files"]),
        (installed(versions={"0.24.0": InstalledVersion("", None)}), ["files"]),
        # Unpacked from an archive with another hash: not what is locked.
        (installed(versions={"0.24.0": InstalledVersion("b" * 64 + " seen", "seen")}), ["files"]),
        (installed(foreign=ForeignBinary("/usr/local/bin/ollama", "0.24.0")), ["command"]),
    ],
)
def test_release_differs(state: HostState, found: list[str]) -> None:
    assert aspects(RELEASE.differences(state)) == found


def test_somebody_elses_installation_is_adopted_only_at_the_wanted_version() -> None:
    same = replace(FRESH, release=ReleaseState(foreign=ForeignBinary("/usr/local/bin/ollama", "0.24.0")))
    other = replace(FRESH, release=ReleaseState(foreign=ForeignBinary("/usr/local/bin/ollama", "0.23.0")))
    assert RELEASE.adopted(same)
    assert RELEASE.differences(same) == []
    assert not RELEASE.adopted(other)
    assert aspects(RELEASE.differences(other)) == ["version", "in use", "command"]


NOTE = FileState("file", 0o644, "root", "root")

# -- service ---------------------------------------------------------------------------------------


def service(**changed: object) -> HostState:
    usual = ServiceState("loaded", "active", "enabled", 7, "ollama", environment=ENVIRONMENT)
    return replace(FRESH, service=replace(usual, **changed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "found", "restarts"),
    [
        (service(), [], False),
        (FRESH, ["enabled", "running"], True),
        (service(enabled="disabled"), ["enabled"], False),
        (service(active="failed"), ["running"], True),
        (service(load="masked", enabled="masked", active="inactive"), ["unit", "running"], True),
        (service(needs_reload=True), ["unit"], True),
        (service(runs_as="root"), ["runs as"], True),
        (service(environment={"OLLAMA_HOST": "127.0.0.1:1"}), ["OLLAMA_HOST in effect"], True),
        (service(environment={}), ["OLLAMA_HOST in effect"], True),
        (service(program="/opt/ollama/0.24.0/bin/ollama"), [], False),
        (service(program="/opt/ollama/0.24.0.old/bin/ollama (deleted)"), ["program"], True),
        # A run has replaced what the server runs, and was killed before it could restart it.
        (replace(service(), files={SYSTEM.restart_due: NOTE}), ["restart"], True),
    ],
)
def test_service(state: HostState, found: list[str], restarts: bool) -> None:
    wanted = WantedService(layout=SYSTEM, manager="systemd", environment=ENVIRONMENT, secrets={})
    assert aspects(wanted.differences(state)) == found
    assert wanted.needs_restart(state) == restarts


def test_service_restarts_for_what_it_reads() -> None:
    wanted = WantedService(
        layout=SYSTEM, manager="systemd", environment=ENVIRONMENT, secrets={}, restart_because=("release",)
    )
    assert wanted.differences(service()) == []
    assert wanted.needs_restart(service())


def test_systemd_takes_over_from_a_script() -> None:
    home = Layout.of("user").at("/home/student", "student", "students")
    wanted = WantedService(layout=home, manager="systemd-user", environment=ENVIRONMENT, secrets={})
    kept = replace(
        STUDENT,
        platform=replace(STUDENT.platform, lingering=True),
        service=ServiceState("supervised", "active", "enabled", 7, "student", environment=ENVIRONMENT),
    )
    assert aspects(wanted.differences(kept)) == ["kept running by"]
    assert wanted.needs_restart(kept)


@pytest.mark.parametrize(
    ("listen", "port"),
    [
        ("", 11434),
        ("0.0.0.0", 11434),
        (":8080", 8080),
        ("127.0.0.1:11435", 11435),
        ("[::]:11436", 11436),
        ("::1", 11434),
        ("http://box", 80),
        ("https://box:1/x", 1),
    ],
)
def test_port_as_ollama_reads_it(listen: str, port: int) -> None:
    assert port_of(listen) == port


def test_units_that_hold_the_port_make_room() -> None:
    wanted = WantedService(layout=SYSTEM, manager="systemd", environment=ENVIRONMENT, secrets={})
    ours = str(port_of(ENVIRONMENT["OLLAMA_HOST"]))
    others = (
        OtherServer(5, "llm.service", f"0.0.0.0:{ours}"),
        OtherServer(6, "other.service", "127.0.0.1:9"),
        OtherServer(7, "", f":{ours}"),
    )
    assert wanted.in_the_way(service(others=others)) == ("llm.service",)
    assert aspects(wanted.differences(service(others=others))) == ["llm.service on its port"]
    assert wanted.needs_restart(service(others=others))


@pytest.mark.parametrize(
    ("scope", "user_manager", "lingering", "polkit", "manager"),
    [
        ("system", False, False, False, "systemd"),
        ("user", True, True, False, "systemd-user"),
        ("user", True, False, True, "systemd-user"),
        ("user", True, False, False, "supervisor"),
        ("user", False, True, True, "supervisor"),
    ],
)
def test_who_keeps_the_server_running(
    scope: str, user_manager: bool, lingering: bool, polkit: bool, manager: str
) -> None:
    platform = replace(PLATFORM, user_manager=user_manager, lingering=lingering, polkit=polkit)
    assert manager_of(platform, Layout.of(scope)) == manager  # type: ignore[arg-type]
