"""Whether a release starts at all, found out beside the one that serves."""

from __future__ import annotations

from collections.abc import Mapping
from shlex import quote

ANSWER_WITHIN = 60
"""Seconds for a server that has no models and sees no GPU to answer."""
OWN = frozenset({"HOME", "PATH", "OLLAMA_HOST", "OLLAMA_MODELS"})
UNSEEN = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GGML_VK_VISIBLE_DEVICES")
"""The memory of the GPUs is the serving release's: a trial sees none of them."""


def trial(directory: str, version: str, environment: Mapping[str, str], user: str | None) -> str:
    """Return lines of sh that serve a release for a moment, on a free port of loopback and without models.

    It must answer with its version. What it leaves behind is a process that has ended and nothing on the disk;
    should the connection break off meanwhile, it ends all the same. It fails with one line that says why.

    Args:
        directory: where the release is unpacked.
        version: that it must say it is.
        environment: what the server is to get beside its address and its models.
        user: who runs the server; None for whoever is connected.
    """
    given = {key: value for key, value in environment.items() if key not in OWN} | dict.fromkeys(UNSEEN, "-1")
    words = " ".join(quote(f"{key}={value}") for key, value in sorted(given.items()))
    inner = _INNER.format(
        binary=quote(f"{directory}/bin/ollama"),
        version=quote(version),
        environment=words,
        within=ANSWER_WITHIN,
    )
    become, give = "", ":"
    if user is not None:
        name = quote(user)
        become = (
            f"if command -v setpriv >/dev/null; then "
            f"set -- setpriv --reuid={name} --regid=$(id -g {name}) --init-groups; else set -- runuser -u {name} --; fi"
        )
        give = f'chown {name} "$place"'
    return f"""(
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
{give}
set --
{become}
cd "$place"
"$@" /bin/sh -c {quote(inner)} try "$place"
)"""


_INNER = """
place=$1; version={version}
client() {{
  env -i PATH="$PATH" HOME="$place" OLLAMA_HOST="127.0.0.1:$port" timeout 10 {binary} --version 2>&1
}}
again=0
while :; do
  port=$((20000 + ($$ * 7 + again * 1009) % 10000))
  again=$((again + 1))
  grep -qi ":$(printf %04X "$port") " /proc/net/tcp /proc/net/tcp6 2>/dev/null && [ "$again" -lt 20 ] && continue
  # In a group of its own, so that all of it can be ended; and ended in any case.
  env -i PATH="$PATH" HOME="$place" {environment} OLLAMA_HOST="127.0.0.1:$port" OLLAMA_MODELS="$place/models" \\
    timeout -k 5 {within} {binary} serve >"$place/log" 2>&1 &
  server=$!
  said=
  until said=$(client); case $said in *"could not connect"*) false ;; *"version is "*) true ;; *) false ;; esac; do
    kill -0 "$server" 2>/dev/null || break
    sleep 0.2
  done
  kill -0 "$server" 2>/dev/null && alive=1 || alive=0
  kill "$server" 2>/dev/null
  for i in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$server" 2>/dev/null || break; sleep 0.2; done
  kill -0 "$server" 2>/dev/null && kill -9 "-$server" 2>/dev/null
  wait "$server"; status=$?
  grep -q 'address already in use' "$place/log" && [ "$again" -lt 5 ] && continue
  break
done
last=$(grep -E '^(Error|panic)' "$place/log" | head -n 1 | cut -c1-200)
[ -n "$last" ] || last=$(grep -v '^$' "$place/log" | tail -n 1 | cut -c1-200)
case $alive$said in
  1*"could not connect"* | 1) ;;
  1*) server_says=$(echo "$said" | sed -n 's/^ollama version is //p')
    client_says=$(echo "$said" | sed -n 's/.*client version is //p')
    [ "$server_says" = "$version" ] && [ "${{client_says:-$version}}" = "$version" ] && exit 0
    echo "release $version says that it is ${{server_says:-nothing}}; nothing was switched" >&2; exit 1 ;;
esac
[ "$status" = 124 ] && how="does not answer within {within} s" || how="does not start (exit status $status)"
echo "release $version $how; its last words: ${{last:-none}}; nothing was switched" >&2
exit 1
"""
