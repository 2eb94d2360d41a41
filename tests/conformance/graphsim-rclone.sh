#!/bin/bash
# graphsim against rclone's OneDrive backend, which knows the real service: lists, downloads and
# verifies the demo drive by its hashes. rclone has the service's host name built in, so the test runs in
# namespaces of its own where that name means this machine.
# Usage: graphsim-rclone.sh FLAVOUR. GRAPHSIM_BIN names the program.
set -u

skip() {
	echo "SKIP: $1. Nothing was tested." >&2
	exit 77
}

fail() {
	echo "FAIL: $1" >&2
	exit 1
}

# A text member of a flat JSON object on standard input.
member() {
	sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"
}

token() {
	local base=$login/common/oauth2/v2.0 code

	code=$(curl -sf "$base/devicecode" -d client_id=x -d scope=y | member device_code)
	curl -sf "$base/token" -d client_id=x --data-urlencode "device_code=$code" \
		--data-urlencode grant_type=urn:ietf:params:oauth:grant-type:device_code
}

configure() {
	local grant drive

	grant=$(token) || fail "no token"
	drive=$(curl -sf -H "Authorization: Bearer $(member access_token <<<"$grant")" "$api/me/drive") ||
		fail "no drive"
	# The access token is said to be over, so that rclone refreshes it first.
	cat >"$dir/rclone.conf" <<-EOF
		[sim]
		type = onedrive
		drive_id = $(sed 's/.*#drives[^,]*,"id":"\([^"]*\)".*/\1/' <<<"$drive")
		drive_type = $(member driveType <<<"$drive")
		token_url = $login/common/oauth2/v2.0/token
		token = {"access_token":"old","token_type":"Bearer","refresh_token":"$(
			member refresh_token <<<"$grant")","expiry":"2020-01-01T00:00:00Z"}
	EOF
}

inside() {
	local files

	mount --bind "$dir/hosts" /etc/hosts || fail "no host name"
	ip link set lo up || fail "no loopback"
	"$GRAPHSIM_BIN" --port 443 --tls "$dir" --name graph.microsoft.com --lenient --seed-demo \
		--flavour "$1" --exit-with-parent >"$dir/hello" &
	sim=$!
	for _ in $(seq 100); do
		[ -s "$dir/hello" ] && break
		sleep 0.1
	done
	login=$(member login <"$dir/hello")
	api=$(member api <"$dir/hello")
	export SSL_CERT_FILE=$dir/ca.pem CURL_CA_BUNDLE=$dir/ca.pem
	configure
	local rclone=(rclone --config "$dir/rclone.conf" --retries 1 --low-level-retries 1 --exclude '*.mp4')
	files=$("${rclone[@]}" lsf -R --files-only sim: | wc -l)
	[ "$files" = 80 ] || fail "$files files were listed, not 80"
	"${rclone[@]}" copy sim: "$dir/copy" || fail "the copy failed"
	"${rclone[@]}" check sim: "$dir/copy" || fail "the copy differs"
	"${rclone[@]}" about sim: | grep -q 'Total: *1 TiB' || fail "no quota"
	# The control: a copy that was changed must be found out.
	echo changed >>"$dir/copy/README.txt"
	"${rclone[@]}" check sim: "$dir/copy" 2>/dev/null && fail "a changed copy was not noticed"
	kill "$sim"
	wait "$sim" || fail "graphsim did not end well"
}

if [ "${2-}" = inside ]; then
	inside "$1"
	exit
fi
[ -n "$(command -v rclone)" ] || skip "rclone is not installed"
unshare -m -n true 2>/dev/null || skip "no namespaces can be made here"
dir=$(mktemp -d) || exit 1
export dir
trap 'rm -rf "$dir"' EXIT
printf '127.0.0.1 localhost graph.microsoft.com\n' >"$dir/hosts"
unshare -m -n bash "$0" "$1" inside
