# Completion for bash; written by `make generated` from the command's own parser.
_infobip_exporter() {
    local word=${COMP_WORDS[COMP_CWORD]} flag=${COMP_WORDS[COMP_CWORD - 1]} given
    if [[ $word == = ]]; then
        word=
    elif [[ $flag == = ]]; then
        flag=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    case $flag in
        --config.file)
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
            compopt -o filenames
            return
            ;;
        --web.listen-address)
            COMPREPLY=()
            return
            ;;
        --web.config.file)
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
            compopt -o filenames
            return
            ;;
        --log.level)
            mapfile -t COMPREPLY < <(compgen -W "debug info warn error" -- "$word")
            return
            ;;
        --log.format)
            mapfile -t COMPREPLY < <(compgen -W "logfmt json console" -- "$word")
            return
            ;;
        --state.url)
            COMPREPLY=()
            return
            ;;
        --state.format)
            mapfile -t COMPREPLY < <(compgen -W "text json" -- "$word")
            return
            ;;
    esac
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "--config.file --web.listen-address --web.config.file --web.enable-lifecycle --log.level --log.format --state.url --state.format --replicas --version --help -h" -- "$word")
        return
    fi
    for given in "${COMP_WORDS[@]:1:COMP_CWORD - 1}"; do
        [[ " run check demo state " == *" $given "* ]] && return
    done
    mapfile -t COMPREPLY < <(compgen -W "run check demo state" -- "$word")
}
complete -F _infobip_exporter infobip-exporter
