"""Completion and manual page of the command, from its own parser."""

import re
from pathlib import Path

import shtab
from argparse_manpage.manpage import Manpage

from infobip_exporter import __version__
from infobip_exporter.arguments import PROGRAM, parser

_BASH_EQUALS = f"""
# Bash makes three words of --flag=value. Without the = they are those of --flag value, which shtab completes.
_{{0}}_without_equals() {{{{
    local word words=()
    for word in "${{{{COMP_WORDS[@]:0:COMP_CWORD}}}}"; do
        [[ $word == = ]] || words+=("$word")
    done
    COMP_WORDS=("${{{{words[@]}}}}" "${{{{COMP_WORDS[COMP_CWORD]#=}}}}")
    COMP_CWORD=${{{{#words[@]}}}}
    _shtab_{{0}}
}}}}
complete -o bashdefault -F _{{0}}_without_equals {PROGRAM}
"""


def completion() -> dict[str, str]:
    """By path, each shell's file: nothing of the exporter runs at a tab."""
    folder = "packaging/completion"
    made = {shell: shtab.complete(parser(), shell) for shell in ("bash", "zsh", "fish")}
    # In fish, the word at hand is all of --flag=value.
    fish = made["fish"].replace("(commandline -ct)", "(commandline -ct | string replace -r '^--.*=' '')")
    # To zsh, a flag without = is one whose value can only be the next word.
    zsh = re.sub(r'"(--[a-z.-]+)(\[.*\]:[A-Z]+:)', r'"\1=\2', made["zsh"])
    return {
        f"{folder}/{PROGRAM}.bash": made["bash"] + _BASH_EQUALS.format(PROGRAM.replace("-", "_")),
        f"{folder}/_{PROGRAM}": zsh,
        f"{folder}/{PROGRAM}.fish": fish,
    }


def man_page() -> dict[str, str]:
    """The page by its path, with the sections that the parser does not know."""
    page = Manpage(
        parser(),
        {
            "description": "Infobip's message logs as exact Prometheus metrics",
            "version": __version__,
            "manual_title": " ",
            "include": str(Path(__file__).with_suffix(".man")),
        },
        format="single-commands-section",
    )
    page.date = ""  # The version says how old it is; a date would change with each day that it is written.
    return {f"packaging/man/{PROGRAM}.1": str(page)}
