# bash completion for graphfs(1)

_graphfs()
{
	local cur prev words cword command i
	_init_completion -n = 2>/dev/null || {
		cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
		words=("${COMP_WORDS[@]}") cword=$COMP_CWORD
	}
	command=""
	for ((i = 1; i < cword; i++)); do
		case ${words[i]} in
		login | mount | umount | watch | status | sync) command=${words[i]} && break ;;
		esac
	done

	case $prev in
	--account)
		local file names=""
		for file in "${XDG_CONFIG_HOME:-$HOME/.config}"/graphfs/accounts/*.json; do
			[[ ! -e $file ]] || names+=" $(basename "$file" .json)"
		done
		mapfile -t COMPREPLY < <(compgen -W "$names" -- "$cur")
		return
		;;
	--drive)
		mapfile -t COMPREPLY < <(compgen -W "me drives/ groups/ sites/ users/" -- "$cur")
		compopt -o nospace 2>/dev/null
		return
		;;
	--tenant)
		mapfile -t COMPREPLY < <(compgen -W "common organizations consumers" -- "$cur")
		return
		;;
	--ca-file)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		compopt -o filenames 2>/dev/null
		return
		;;
	--cache-dir | --state-dir)
		mapfile -t COMPREPLY < <(compgen -d -- "$cur")
		compopt -o filenames 2>/dev/null
		return
		;;
	-o)
		mapfile -t COMPREPLY < <(compgen -W "allow_other allow_root default_permissions" -- "$cur")
		return
		;;
	--client-id | --graph-url | --login-url) return ;;
	esac

	local options=""
	case $command in
	"") options="login mount umount watch status sync --help --version" ;;
	login) options="--account --client-id --tenant --graph-url --login-url --ca-file --help" ;;
	mount) options="-f --foreground --account --drive --cache-dir --state-dir -o --help" ;;
	umount) options="--wait --help" ;;
	watch) options="--json --account --drive --help" ;;
	status) options="--json --help" ;;
	sync) options="--help" ;;
	esac
	if [[ -z $command || $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
		return
	fi
	case $command in
	mount | sync)
		mapfile -t COMPREPLY < <(compgen -d -- "$cur")
		compopt -o filenames 2>/dev/null
		;;
	umount | status)
		local mounts
		mounts=$(awk '{ for (i = 7; i < NF; i++) if ($i == "-" && $(i + 1) == "fuse.graphfs") print $5 }' \
			/proc/self/mountinfo 2>/dev/null)
		local IFS=$'\n'
		mapfile -t COMPREPLY < <(compgen -W "$mounts" -- "$cur")
		compopt -o filenames 2>/dev/null
		;;
	esac
}

complete -F _graphfs graphfs
