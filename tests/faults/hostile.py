"""Texts that people write by mistake and attackers on purpose, and the canary that tells whether one was executed."""

from __future__ import annotations

from hypothesis import strategies as st

CANARY = "fleet-canary"
"""No file may ever have this in its name, on a host or on the controller."""

COMMANDS = (
    f"$(touch /{CANARY})",
    f"`touch /{CANARY}`",
    f"; touch /{CANARY} #",
    f"a'; touch /{CANARY}; '",
    f'a"; touch /{CANARY}; "',
    f"a' $(touch /{CANARY}) 'b",
    f"x && touch /{CANARY}",
    f"x | touch /{CANARY}",
    f"x\ntouch /{CANARY}\n",
    f'x"\nExecStartPre=/usr/bin/touch /{CANARY}\n#',
    f"{{{{ cycler.__init__.__globals__.os.system('touch /{CANARY}') }}}}",
    f"{{% set x = cycler.__init__.__globals__.os.system('touch /{CANARY}') %}}",
)
"""What a shell, a unit file or a template would run."""

MARKS = (
    "'",
    '"',
    "''",
    '""',
    "\\",
    "\\\\",
    "\\n",
    'a\\"b',
    "a\\'b",
    "end\\",
    "$",
    "$$",
    "$HOME",
    "${HOME}",
    "$1",
    "`",
    "%",
    "%%",
    "%h",
    "%n%i%H",
    "100%",
    " ",
    "  a  b  ",
    " lead",
    "trail ",
    "#",
    "a # b",
    ";",
    "; b",
    "a;b",
    "&",
    "|",
    "*",
    "?",
    "[a]",
    "{a,b}",
    "~",
    "~root",
    "!",
    "!!",
    "-",
    "-rf",
    "--help",
    "-n",
    "=",
    "a=b",
    "(",
    ")",
    "<x>",
    "\\$HOME",
    "\\`",
    "@local",
    "\\x41\\101",
    "'\"'\"'",
    "null",
    "true",
    "1e3",
    "EOF",
)
"""What means something to a shell, to systemd, to YAML."""

SCRIPTS = (
    "中文模型",
    "日本語 テキスト",
    "Ünïcödé",
    "e\u0301",
    "\u00e9",
    "😀",
    "👩‍👩‍👧",
    "עברית",
    "العربية",
    "हिन्दी",
    "\u00a0",
    "a\u200bb",
    "\ufeffx",
    "\u202egnp.exe",
    "ſ",
    "İ",
    "１２３",
    "／etc／passwd",
)
"""Other scripts, characters of two forms, invisible ones, and lookalikes."""

CONTROLS = (
    "\x00",
    "a\x00b",
    "\x07",
    "\x1b[31mred",
    "\x7f",
    "a\rb",
    "a\tb",
    "a\nb",
    "\x85",
    "\u2028",
    "\u2029",
)

ALL = (*COMMANDS, *MARKS, *SCRIPTS, *CONTROLS)

heavy = st.lists(
    st.sampled_from([*"'\"\\$`%;#&|<>(){}[]*?~!=- \t", "\n", "中", "é", "😀", "a", "0", "%h", "$("])
).map("".join)
"""Texts made of hardly anything but trouble."""

texts = st.sampled_from(ALL) | heavy | st.text(max_size=40)
