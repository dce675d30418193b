"""Reading sshd's log: which lines are sessions."""

from __future__ import annotations

from lab.sessions import parse_sessions

LOG = """\
Server listening on 0.0.0.0 port 22.
Connection from 10.213.0.1 port 51234 on 10.213.0.10 port 22 rdomain ""
Accepted publickey for root from 10.213.0.1 port 51234 ssh2: ED25519 SHA256:abc
pam_unix(sshd:session): session opened for user root(uid=0) by (uid=0)
User child is on pid 117
Starting session: command for root from 10.213.0.1 port 51234 id 0
Close session: user root from 10.213.0.1 port 51234 id 0
Starting session: subsystem 'sftp' for root from 10.213.0.1 port 51234 id 1
Starting session: shell on pts/0 for admin from fd0f:1ee7:1ab0::1 port 51240 id 0
Starting session: forced-command (key-option) '/bin/true' for root from 10.213.0.1 port 51242 id 0
Received disconnect from 10.213.0.1 port 51234:11: disconnected by user
"""


def test_only_started_sessions_count_and_in_order() -> None:
    assert parse_sessions(LOG) == ["exec", "subsystem", "shell", "exec"]


def test_a_connection_without_a_session_is_none() -> None:
    assert parse_sessions(LOG[: LOG.index("Starting")]) == []
