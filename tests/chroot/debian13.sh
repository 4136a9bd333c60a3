#!/usr/bin/env bash
# The README's two commands on a fresh Debian 13, as `.ci/run chroot` runs them: a minimal system by
# debootstrap with nothing but what Debian calls essential, first without a C compiler, then with one.
# Wants root, debootstrap and a Debian mirror (DEBIAN_MIRROR, else the one apt is set up with); about
# 2 GB of disk and some minutes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

[ "$(id -u)" = 0 ] || { echo "debian13.sh: debootstrap wants root" >&2; exit 1; }
command -v debootstrap > /dev/null || { echo "debian13.sh: please install debootstrap" >&2; exit 1; }

release=trixie
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(LABEL)|$(COMPONENT)|$(REPO_URI)' | sed -n 's/^Debian|main|//p' | head -n 1)}
root=$(mktemp -d)
chmod 755 "$root"  # apt's own user must get in
cleanup() {
    for mounted in dev/shm dev/pts dev proc; do umount -l "$root/$mounted" 2> /dev/null || true; done
    rm -rf --one-file-system "$root"
}
trap cleanup EXIT

say() { printf '== Debian 13: %s\n' "$*" >&2; }
inside() { env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb "${settings[@]}" chroot "$root" "$@"; }

# How this machine reaches its package indexes holds inside as well; nothing else does.
settings=(CI="${CI-}")
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY PIP_INDEX_URL PIP_DEFAULT_TIMEOUT; do
    [ -z "${!name-}" ] || settings+=("$name=${!name}")
done

say "debootstrap"
debootstrap --variant=minbase --include=ca-certificates "$release" "$root" ${mirror:+"$mirror"} > "$root.log" 2>&1 ||
    { tail "$root.log" >&2; exit 1; }
rm -f "$root.log"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
mount --bind /dev/pts "$root/dev/pts"
mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
# apt too: a mirror may be a proxy's, or a snapshot whose dates have passed.
apt-config dump | grep -iE '^Acquire::(Check|http|https|Retries)' > "$root/etc/apt/apt.conf.d/99host" || true
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
cp /etc/hosts "$root/etc/hosts"
cp -r /usr/local/share/ca-certificates/. "$root/usr/local/share/ca-certificates/" 2> /dev/null || true
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"

# What a user has after `git clone`: committed files and, for a developer, changes not yet committed.
git clone -q . "$root/root/fputrace"
git ls-files -z --modified --others --exclude-standard |
    while IFS= read -r -d '' path; do [ ! -e "$path" ] || cp -P --parents "$path" "$root/root/fputrace"; done
cp -r "$root/root/fputrace" "$root/root/plain"

command_of_readme() { awk -v want="$1" '/^```/ { inside = /^```sh$/ && ++seen == want; next } inside' README.md; }
analyze=$(command_of_readme 1)
tests=$(command_of_readme 2)

expect_findings() {
    # 5.2.1 has findings: exit status 1.
    local status=0
    inside bash -c "cd /root/$1 && $2" > "$root/out" 2> "$root/err" || status=$?
    [ $status = 1 ] && grep -q FPU101 "$root/out" || {
        cat "$root/out" "$root/err" >&2
        say "the first command ($1): exit status $status, expected 1 and FPU101"
        exit 1
    }
}

say "the first command, no compiler"
SECONDS=0
# The command brings a compiler where it has to call apt; this run is the user who does not want one.
expect_findings plain "${analyze// gcc/}"
grep -q 'apt install gcc' "$root/err" || { say "does not say what to install"; exit 1; }
say "took $SECONDS s"

say "the first command, as it stands"
SECONDS=0
inside bash -c 'apt-get -qq purge -y "python3.*-venv" > /dev/null 2>&1; rm -rf /root/.cache'
expect_findings fputrace "$analyze"
! grep -q 'apt install gcc' "$root/err" || { say "was not compiled"; exit 1; }
say "took $SECONDS s"

say "the second command"
SECONDS=0
inside bash -c "cd /root/fputrace && $tests" < /dev/null
say "took $SECONDS s"
