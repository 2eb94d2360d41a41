#!/bin/bash
# graphsim against rclone's OneDrive backend, which knows the real service: lists, downloads and
# verifies the demo drive by its hashes, then makes, changes, moves and deletes files and folders,
# small ones and such that go through upload sessions. rclone has the service's host name built in, so the test runs in
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

# A number of the simulated service's counters.
counter() {
	local n

	n=$(curl -sf "$admin/counters" | sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p")
	echo "${n:-0}"
}

# The drive and a local folder hold the same names and bytes, as rclone sees it by content.
same() {
	"${rclone[@]}" check --download "sim:$1" "$dir/$2" 2>"$dir/check" ||
		fail "$3: $(grep ERROR "$dir/check")"
}

make_source() {
	mkdir -p "$dir/new/deep/er" "$dir/new/Größe" "$dir/new/empty folder"
	: >"$dir/new/zero"
	echo hello >"$dir/new/deep/hello.txt"
	head -c 300000 /dev/urandom >"$dir/new/deep/er/small.bin"
	head -c 5242880 /dev/urandom >"$dir/new/Größe/at the limit.bin"
	head -c 25000001 /dev/urandom >"$dir/new/large.bin"
	touch -d 2021-03-04T05:06:07Z "$dir/new/large.bin" "$dir/new/deep/hello.txt"
}

# rclone writes: all that is not empty goes through upload sessions, with fragments of 2.5 MiB.
writes() {
	local rclone=(rclone --config "$dir/rclone.conf" --retries 1 --low-level-retries 1)
	local w=("${rclone[@]}" --onedrive-chunk-size 2560k)

	make_source
	"${w[@]}" copy --create-empty-src-dirs "$dir/new" sim:new || fail "the upload failed"
	same new new "after the upload"
	[ "$(counter session)" -ge 4 ] && [ "$(counter fragment)" -ge 10 ] ||
		fail "no upload session was used"
	[ "$(counter put)" -ge 1 ] || fail "the empty file was not put"
	"${w[@]}" lsf --dirs-only sim:new | grep -qx 'empty folder/' || fail "no empty folder"
	"${w[@]}" lsf --format pt --files-only sim:new | grep -q 'large.bin;2021-03-04' ||
		fail "the time of a file was lost"
	# A second time nothing is sent; then only what changed.
	local before
	before=$(counter upload_bytes)
	"${w[@]}" sync "$dir/new" sim:new || fail "the second sync failed"
	[ "$(counter upload_bytes)" = "$before" ] || fail "an unchanged file was sent again"
	head -c 7000000 /dev/urandom >"$dir/new/large.bin"
	echo more >>"$dir/new/deep/hello.txt"
	rm "$dir/new/deep/er/small.bin"
	"${w[@]}" sync "$dir/new" sim:new || fail "the sync failed"
	same new new "after the sync"
	# Moves: a file to another name and folder, a whole folder.
	"${w[@]}" moveto sim:new/large.bin sim:new/deep/moved.bin || fail "a move failed"
	mv "$dir/new/large.bin" "$dir/new/deep/moved.bin"
	"${w[@]}" move sim:new/deep sim:new/shallow || fail "the move of a folder failed"
	mv "$dir/new/deep" "$dir/new/shallow"
	same new new "after moves"
	# The service's own copy.
	before=$(counter upload_bytes)
	"${w[@]}" copyto sim:new/shallow/moved.bin sim:new/again.bin || fail "a copy failed"
	cp "$dir/new/shallow/moved.bin" "$dir/new/again.bin"
	same new new "after a copy"
	[ "$(counter upload_bytes)" = "$before" ] && [ "$(counter copy)" -ge 1 ] ||
		fail "the copy was no copy of the service"
	"${w[@]}" touch -t 2020-02-03T04:05:06 sim:new/again.bin || fail "no time was set"
	"${w[@]}" lsf --format pt sim:new | grep -q 'again.bin;2020-02-03' || fail "a wrong time"
	"${w[@]}" rmdir sim:new/shallow 2>/dev/null && fail "a full folder was removed by rmdir"
	"${w[@]}" mkdir sim:new/made || fail "mkdir failed"
	"${w[@]}" rmdir sim:new/made || fail "rmdir failed"
	"${w[@]}" deletefile sim:new/again.bin || fail "a deletion failed"
	rm "$dir/new/again.bin"
	same new new "after deletions"
	"${w[@]}" purge sim:new || fail "the purge failed"
	"${w[@]}" lsf sim: | grep -qx new/ && fail "the folder is still there"
}

fault() {
	curl -sf "$admin/faults" -d "$1" >/dev/null || fail "no fault"
}

# A client of the real service gets over what the simulated one does wrong on demand: errors, answers
# that are lost after the write took effect, connections that break amid a fragment.
faults() {
	local w=(rclone --config "$dir/rclone.conf" --retries 5 --low-level-retries 4
		--onedrive-chunk-size 640k --transfers 2)

	make_source
	curl -sf -X POST "$admin/counters/reset" >/dev/null
	fault '{"class":"fragment","every":7,"action":"reset"}'
	fault '{"class":"fragment","every":5,"action":{"reset_in":200000}}'
	fault '{"class":"session","every":3,"action":{"status":503,"retry_after":"0"}}'
	fault '{"class":"mkdir","first":1,"phase":"before","action":{"status":500}}'
	"${w[@]}" copy --create-empty-src-dirs "$dir/new" sim:faults 2>"$dir/log" ||
		fail "the upload through faults failed: $(tail -3 "$dir/log")"
	curl -sf "$admin/faults" | grep -q '"struck":0' && fail "a fault did not strike"
	curl -sf -X DELETE "$admin/faults" >/dev/null
	same faults new "after faults"
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
	admin=$(member admin <"$dir/hello")
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
	writes
	rm -rf "$dir/new"
	faults
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
