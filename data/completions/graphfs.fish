# fish completion for graphfs(1)

function __graphfs_mounts
    awk '{ for (i = 7; i < NF; i++) if ($i == "-" && $(i + 1) == "fuse.graphfs") print $5 }' /proc/self/mountinfo 2>/dev/null
end

function __graphfs_accounts
    set -l config $XDG_CONFIG_HOME
    test -n "$config"; or set config $HOME/.config
    for file in $config/graphfs/accounts/*.json
        string replace -r '.*/(.*)\.json$' '$1' -- $file
    end
end

set -l commands login mount umount watch status sync
complete -c graphfs -f
complete -c graphfs -n "not __fish_seen_subcommand_from $commands" -a login -d "Sign in"
complete -c graphfs -n "not __fish_seen_subcommand_from $commands" -a mount -d "Mount a drive"
complete -c graphfs -n "not __fish_seen_subcommand_from $commands" -a umount -d "Unmount"
complete -c graphfs -n "not __fish_seen_subcommand_from $commands" -a watch -d "Print what changes"
complete -c graphfs -n "not __fish_seen_subcommand_from $commands" -a status -d "Say how mounts are doing"
complete -c graphfs -n "not __fish_seen_subcommand_from $commands" -a sync -d "Wait until all is sent"
complete -c graphfs -s h -l help -d "Show the help"
complete -c graphfs -s V -l version -d "Show the version"
complete -c graphfs -n "__fish_seen_subcommand_from login mount watch" -l account -x -a "(__graphfs_accounts)" -d "The account"
complete -c graphfs -n "__fish_seen_subcommand_from mount watch" -l drive -x -a "me drives/ groups/ sites/ users/" -d "Which drive"
complete -c graphfs -n "__fish_seen_subcommand_from login" -l client-id -x -d "The application ID"
complete -c graphfs -n "__fish_seen_subcommand_from login" -l tenant -x -a "common organizations consumers" -d "Who may sign in"
complete -c graphfs -n "__fish_seen_subcommand_from login" -l graph-url -x -d "The service"
complete -c graphfs -n "__fish_seen_subcommand_from login" -l login-url -x -d "The login service"
complete -c graphfs -n "__fish_seen_subcommand_from login" -l ca-file -r -F -d "Authorities to trust"
complete -c graphfs -n "__fish_seen_subcommand_from mount" -s f -l foreground -d "Stay in the foreground"
complete -c graphfs -n "__fish_seen_subcommand_from mount" -l cache-dir -x -a "(__fish_complete_directories)" -d "Where contents go"
complete -c graphfs -n "__fish_seen_subcommand_from mount" -l state-dir -x -a "(__fish_complete_directories)" -d "Where the known tree goes"
complete -c graphfs -n "__fish_seen_subcommand_from mount" -s o -x -a "allow_other allow_root default_permissions" -d "Options of FUSE"
complete -c graphfs -n "__fish_seen_subcommand_from mount" -a "(__fish_complete_directories)"
complete -c graphfs -n "__fish_seen_subcommand_from umount status" -a "(__graphfs_mounts)"
complete -c graphfs -n "__fish_seen_subcommand_from umount" -l wait -d "Send everything first"
complete -c graphfs -n "__fish_seen_subcommand_from sync" -F
complete -c graphfs -n "__fish_seen_subcommand_from watch status" -l json -d "One object a line"
