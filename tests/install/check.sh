#!/usr/bin/env bash
# What is installed. check.sh WHAT BUILD SOURCE; 0 right, 1 wrong (says what), 77 a tool is missing.
set -u

what=$1 build=$2 source=$3
dir=$(mktemp -d /tmp/graphfs-install.XXXXXX)
trap 'rm -rf "$dir"' EXIT

fail() {
	echo "FAILED: $*"
	exit 1
}

need() {
	local tool
	for tool; do
		command -v "$tool" >/dev/null || { echo "SKIP: $tool is not installed"; exit 77; }
	done
}

install_all() {
	meson install -C "$build" --no-rebuild --quiet --destdir "$dir/root" >"$dir/log" 2>&1 ||
		{ cat "$dir/log"; fail "meson install"; }
}

# The one installed file of this name.
installed() {
	local found
	found=$(find "$dir/root" -name "$1")
	[ -n "$found" ] || fail "$1 is not installed"
	echo "$found"
}

check_files() {
	local want
	install_all
	for want in bin/graphfs include/graphlive/graphlive.h libgraphlive.so libgraphlive.so.0 \
		pkgconfig/graphlive.pc man/man1/graphfs.1 systemd/user/graphfs@.service \
		bash-completion/completions/graphfs zsh/site-functions/_graphfs \
		fish/vendor_completions.d/graphfs.fish examples/graphlive-watch.c; do
		find "$dir/root" -path "*/$want" | grep -q . || fail "$want is not installed"
	done
	# Nothing of the inside: no static library, no other header.
	[ "$(find "$dir/root" -name '*.h' | wc -l)" = 1 ] || fail "headers: $(find "$dir/root" -name '*.h')"
	[ -z "$(find "$dir/root" -name '*.a')" ] || fail "a static library is installed"
	! grep -Eq '#include "' "$(installed graphlive.h)" || fail "the header includes one of ours"
}

check_symbols() {
	local lib
	need nm readelf
	lib=$build/src/lib/libgraphlive.so
	nm -D --defined-only "$lib" | awk '{ sub("@.*", "", $3); print $3 }' |
		grep -vE '^(graphlive_[a-z_]+|GRAPHLIVE_0)$' >"$dir/strange"
	[ ! -s "$dir/strange" ] || fail "exported: $(cat "$dir/strange")"
	# Each function of the header is there, and nothing that it does not have.
	grep -oE '\bgraphlive_[a-z_]+\(' "$source/include/graphlive/graphlive.h" | tr -d '(' | sort -u >"$dir/declared"
	nm -D --defined-only "$lib" | awk '$2 == "T" { sub("@.*", "", $3); print $3 }' | sort -u >"$dir/defined"
	diff "$dir/declared" "$dir/defined" || fail "header (<) and library (>) differ"
	readelf -d "$lib" | grep -q 'SONAME.*\[libgraphlive.so.0\]' || fail "soname"
}

# The header for every compiler that may meet it.
check_header() {
	local h=$source/include/graphlive/graphlive.h
	need cc
	cc -std=c99 -pedantic -Wall -Wextra -Werror -fsyntax-only -x c "$h" || fail "C99"
	if command -v c++ >/dev/null; then
		c++ -std=c++11 -pedantic -Wall -Wextra -Werror -fsyntax-only -x c++ "$h" || fail "C++11"
	fi
}

wait_for() { # pattern, file
	local i
	for ((i = 0; i < 300; i++)); do
		grep -q "$1" "$2" && return 0
		sleep 0.1
	done
	cat "$2"
	fail "\"$1\" never came"
}

# The example as somebody else would build it: the installed header, pkg-config, nothing more.
check_example() {
	local lib flags program token admin
	need cc pkg-config jq curl
	install_all
	lib=$(dirname "$(installed libgraphlive.so.0)")
	flags=$(PKG_CONFIG_PATH=$lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$dir/root \
		pkg-config --cflags --libs graphlive) || fail "pkg-config"
	[ "$(PKG_CONFIG_PATH=$lib/pkgconfig pkg-config --modversion graphlive)" != "" ] || fail "version"
	program=$dir/graphlive-watch
	# shellcheck disable=SC2086
	cc -std=c11 -Wall -Wextra -Werror ${EXAMPLE_CFLAGS:-} "$(installed graphlive-watch.c)" $flags -o "$program" ||
		fail "the example does not compile"

	"$GRAPHSIM_BIN" --port 0 --exit-with-parent >"$dir/sim" &
	sim=$!
	wait_for '"admin"' "$dir/sim"
	admin=$(jq -r .admin "$dir/sim")
	mkdir -m 700 "$dir/run"
	HOME=$dir XDG_RUNTIME_DIR=$dir/run XDG_CONFIG_HOME=$dir/config \
		"$(installed graphfs | grep /bin/)" login --client-id 11111111-2222-3333-4444-555555555555 \
		--graph-url "$(jq -r .api "$dir/sim")" --login-url "$(jq -r .login "$dir/sim")" >"$dir/login" 2>&1 ||
		{ cat "$dir/login"; kill $sim; fail "login"; }
	token=$(jq -r .access_token "$dir/config/graphfs/accounts/default.json")
	GRAPH_TOKEN=$token LD_LIBRARY_PATH=$lib "$program" me "$(jq -r .api "$dir/sim")" >"$dir/out" 2>&1 &
	watcher=$!
	# Not local: the trap runs outside this function.
	trap 'kill $sim $watcher 2>/dev/null; rm -rf "$dir"' EXIT
	wait_for '^up at' "$dir/out"
	curl -s --noproxy '*' -X POST "$admin/create" -d '{"path":"new","size":1}' >/dev/null
	wait_for '^notification' "$dir/out"
}

check_man() {
	need mandoc
	mandoc -T lint -W warning "$source/data/graphfs.1" || fail "mandoc"
	# Every setting that the program takes, too: keys stand in quotes behind their section.
	for key in $(grep -ohE '"(account|sync|channel|cache|mount|readers)"[^"]+"[a-z_]+"' "$source/src/app/config.c" |
		sed -E 's/.*"([a-z_]+)"$/\1/' | sort -u); do
		grep -qE "^\.It Sy .*\b$key\b" "$source/data/graphfs.1" || fail "[$key] is not described"
	done
	# Every command and option of the program has its place in the page.
	for command in login mount umount watch status; do
		grep -q "^\.It Cm $command" "$source/data/graphfs.1" || fail "$command is not described"
		for option in $("$GRAPHFS_BIN" $command --help | grep -oE '^ +(-[a-z], )?--[a-z-]+' | grep -oE '[a-z-]+-?[a-z]+$' | sed 's/^--//'); do
			grep -qE "^\.It .*Fl .*-$option" "$source/data/graphfs.1" || fail "--$option is not described"
		done
	done
}

check_unit() {
	need systemd-analyze systemd-escape
	mkdir -m 700 "$dir/run"
	install_all
	sed "s,^ExecStart=.*/graphfs ,ExecStart=$(installed graphfs | grep /bin/) ," \
		"$(installed graphfs@.service)" >"$dir/graphfs@tmp-a\\x20b.service"
	XDG_RUNTIME_DIR=$dir/run systemd-analyze verify --user --man=no "$dir/graphfs@tmp-a\\x20b.service" >"$dir/out" 2>&1
	# Without a running manager it says so, and judges all the same.
	grep "graphfs@" "$dir/out" && fail "systemd-analyze"
	return 0
}

check_bash() {
	need bash
	# shellcheck source=/dev/null
	. "$source/data/completions/graphfs.bash"
	try() { # want, words ...
		local want=$1
		shift
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
		_graphfs
		[ "${COMPREPLY[*]}" = "$want" ] || fail "$*: ${COMPREPLY[*]}"
	}
	mkdir -p "$dir/graphfs/accounts" "$dir/Drive"
	touch "$dir/graphfs/accounts/work.json"
	export XDG_CONFIG_HOME=$dir
	cd "$dir" || exit 1
	try "mount" graphfs mo
	try "--json" graphfs watch --j
	try "" graphfs umount --j
	try "work" graphfs mount --account w
	try "drives/" graphfs mount --drive d
	try "Drive" graphfs mount -f Dr
	try "consumers" graphfs login --tenant cons
}

check_zsh() {
	need zsh
	zsh -n "$source/data/completions/_graphfs" || fail "zsh"
}

check_fish() {
	need fish
	HOME=$dir fish -n "$source/data/completions/graphfs.fish" || fail "fish"
	HOME=$dir fish -c "source $source/data/completions/graphfs.fish; complete -C 'graphfs mo'" | grep -q '^mount' ||
		fail "fish does not complete"
}

check_"$what"
