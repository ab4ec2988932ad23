# Completion for fish; written by `make generated` from the command's own parser.
complete -c infobip-exporter -f
complete -c infobip-exporter -n 'not __fish_seen_subcommand_from run check demo' -a run -d 'poll and serve metrics until stopped'
complete -c infobip-exporter -n 'not __fish_seen_subcommand_from run check demo' -a check -d 'one small question to each account and channel'
complete -c infobip-exporter -n 'not __fish_seen_subcommand_from run check demo' -a demo -d 'the exporter on a simulated Infobip with lively traffic'
complete -c infobip-exporter -l config.file -r -F -d 'the configuration (default config.yaml)'
complete -c infobip-exporter -l web.listen-address -x -d 'host:port, :port, unix:/path (default 0.0.0.0:10470)'
complete -c infobip-exporter -l web.config.file -r -F -d 'TLS and basic auth (exporter-toolkit)'
complete -c infobip-exporter -l log.level -x -a 'debug info warn error' -d 'debug, info (default), warn or error'
complete -c infobip-exporter -l log.format -x -a 'logfmt json console' -d 'logfmt (default), json or console'
complete -c infobip-exporter -l version -d 'show the version and exit'
complete -c infobip-exporter -l help -s h -d 'show this and exit'
