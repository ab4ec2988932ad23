"""Completion of the command line in bash, zsh and fish, as static files: nothing of the exporter runs at a tab."""

import shlex

from tools.command_line import PROGRAM, Flag, commands, flags

_FUNCTION = "_infobip_exporter"
_NOTE = "written by `make generated` from the command's own parser"


def files() -> dict[str, str]:
    """By path, each shell's file."""
    folder = "packaging/completion"
    return {
        f"{folder}/{PROGRAM}.bash": bash(),
        f"{folder}/_{PROGRAM}": zsh(),
        f"{folder}/{PROGRAM}.fish": fish(),
    }


def bash() -> str:
    """Knows `--flag value` and `--flag=value`: bash takes the = for a word of its own."""
    words = " ".join(word.name for word in commands())
    names = " ".join(name for flag in flags() for name in flag.names)
    cases = "".join(_bash_case(flag) for flag in flags() if flag.value)
    return f"""\
# Completion for bash; {_NOTE}.
{_FUNCTION}() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} flag=${{COMP_WORDS[COMP_CWORD - 1]}} given
    if [[ $word == = ]]; then
        word=
    elif [[ $flag == = ]]; then
        flag=${{COMP_WORDS[COMP_CWORD - 2]}}
    fi
    case $flag in
{cases}    esac
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "{names}" -- "$word")
        return
    fi
    for given in "${{COMP_WORDS[@]:1:COMP_CWORD - 1}}"; do
        [[ " {words} " == *" $given "* ]] && return
    done
    mapfile -t COMPREPLY < <(compgen -W "{words}" -- "$word")
}}
complete -F {_FUNCTION} {PROGRAM}
"""


def _bash_case(flag: Flag) -> str:
    if flag.is_path:
        found = 'mapfile -t COMPREPLY < <(compgen -f -- "$word")\n            compopt -o filenames'
    elif flag.words:
        found = f'mapfile -t COMPREPLY < <(compgen -W "{" ".join(flag.words)}" -- "$word")'
    else:
        found = "COMPREPLY=()"
    return f"""\
        {" | ".join(flag.names)})
            {found}
            return
            ;;
"""


def zsh() -> str:
    words = " ".join(f"{word.name}\\:{shlex.quote(_zsh_text(word.text))}" for word in commands())
    lines = [_zsh_flag(flag) for flag in flags()] + [f'"1:command:(({words}))"']
    arguments = "".join(f" \\\n    {line}" for line in lines)
    return f"""\
#compdef {PROGRAM}
# Completion for zsh; {_NOTE}.
_arguments{arguments}
"""


def _zsh_flag(flag: Flag) -> str:
    text = f"[{_zsh_text(flag.text)}]"
    if flag.value is None and flag.ends:
        # Nothing else makes sense beside --help or --version.
        return " ".join(f"'(- *){name}{text}'" for name in flag.names)
    if flag.value is None:
        return " ".join(f"'{name}{text}'" for name in flag.names)
    action = "_files" if flag.is_path else f"({' '.join(flag.words)})" if flag.words else " "
    return " ".join(f"'{name}={text}:{flag.value}:{action}'" for name in flag.names)


def _zsh_text(text: str) -> str:
    """`text` fit for the brackets of _arguments, in single or double quotes."""
    for special in "[]:":
        text = text.replace(special, f"\\{special}")
    return text.replace("'", "’").replace('"', "”")


def fish() -> str:
    names = " ".join(word.name for word in commands())
    lines = [f"complete -c {PROGRAM} -f"]
    lines += [
        f"complete -c {PROGRAM} -n 'not __fish_seen_subcommand_from {names}'"
        f" -a {word.name} -d {_fish_text(word.text)}"
        for word in commands()
    ]
    lines += [f"complete -c {PROGRAM} {_fish_flag(flag)}" for flag in flags()]
    return f"# Completion for fish; {_NOTE}.\n" + "\n".join(lines) + "\n"


def _fish_flag(flag: Flag) -> str:
    names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in flag.names)
    words = f" -a '{' '.join(flag.words)}'" if flag.words else ""
    value = " -r -F" if flag.is_path else f" -x{words}" if flag.value else ""
    return f"{names}{value} -d {_fish_text(flag.text)}"


def _fish_text(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
