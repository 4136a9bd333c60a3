#!/bin/sh
# Provides a Python that can import the trace-cmd bindings and numpy; prints its path.
#
#   tests/bindings/provide.sh            prints the path of a wrapper to call like python3
#
# Debian 12's trace-cmd has no Python bindings and Debian 13's package lacks the module, so they
# come from Debian testing (else sid) of the mirror that apt is configured with, together with the
# Python they were built for: downloaded, verified and resolved by apt under directories of its own,
# unpacked (not installed) into the cache and run with their own dynamic linker.  Needs neither
# root nor a chroot and leaves the system's apt and dpkg alone.  31 MB of packages (and 11 MB of
# package lists), 120 MB on disk, about ten seconds, once; remove the folder to have it renewed.
#
# Exit status: 0 done (or already there), 77 the packages cannot be had here (the reason is on
# stderr), anything else: they were had but do not work.
set -eu

cache=${XDG_CACHE_HOME:-$HOME/.cache}/fputrace/trace-cmd-bindings
python=$cache/python
packages="python3-trace-cmd python3-numpy"

say() { echo "provide.sh: $*" >&2; }
cannot() { say "$*"; exit 77; }

# One provider at a time: test processes may run side by side.
mkdir -p "$cache"
exec 9>"$cache.lock"
flock 9
if [ -x "$python" ]; then
    echo "$python"
    exit 0
fi

for tool in apt-get dpkg-deb tar; do
    command -v $tool >/dev/null || cannot "$tool is missing: the bindings come as Debian packages"
done
mirrors=$(apt-get indextargets --format '$(LABEL)|$(COMPONENT)|$(REPO_URI)' |
    sed -n 's/^Debian|main|//p' | sort -u)
[ -n "$mirrors" ] || cannot "apt knows no Debian archive (is this Debian? try apt-get update)"

# Next to the final place, so that finishing is one rename.
work=$(mktemp -d "$cache/new.XXXXXX")
trap 'rm -rf "$work"' EXIT

mkdir -p "$work/apt/lists/partial" "$work/apt/archives/partial"
: >"$work/apt/status"
own_apt() {
    apt-get -q \
        -o Dir::Etc::SourceList="$work/apt/archive.sources" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State="$work/apt" -o Dir::State::Status="$work/apt/status" \
        -o Dir::Cache="$work/apt" -o Debug::NoLocking=1 \
        -o APT::Sandbox::User="$(id -un)" -o APT::Get::List-Cleanup=0 \
        -o APT::Install-Recommends=0 -o APT::Update::Error-Mode=any \
        -o Acquire::Retries=2 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 \
        -o Acquire::Languages=none "$@" >&2
}

download() {
    for mirror in $mirrors; do
        for suite in testing sid; do
            cat >"$work/apt/archive.sources" <<EOF
Types: deb
URIs: $mirror
Suites: $suite
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
EOF
            say "$packages of Debian $suite, from $mirror"
            # shellcheck disable=SC2086 # a list of packages
            own_apt update && own_apt install --yes --download-only $packages && return
        done
    done
    return 1
}
download || cannot "$packages cannot be downloaded from: $mirrors"

# A merged /usr, as base-files would have made it; documentation and locales are not needed.
root=$work/root
for directory in bin lib lib64 sbin; do
    mkdir -p "$root/usr/$directory"
    ln -s usr/$directory "$root/$directory"
done
for package in "$work"/apt/archives/*.deb; do
    dpkg-deb --fsys-tarfile "$package" |
        tar -x -C "$root" --no-same-owner --keep-directory-symlink --exclude='./usr/share/*'
done

linker=$(cd "$root" && ls usr/lib*/ld-linux*.so.* | head -n 1)
libraries=$(cd "$root" && ls -d usr/lib/*-linux-gnu* | head -n 1)
interpreter=$(cd "$root" && readlink -f usr/bin/python3)
cat >"$work/python" <<EOF
#!/bin/sh
# Python with the trace-cmd bindings, made by tests/bindings/provide.sh.
root=\$(cd "\$(dirname "\$0")" && pwd)/root
libraries=\$root/$libraries
# What update-alternatives would have linked: blas and lapack.
path=\$libraries:\$libraries/blas:\$libraries/lapack
export PYTHONHOME=\$root/usr PYTHONPYCACHEPREFIX=\$root/pycache
exec "\$root/$linker" --library-path "\$path" "\$root/usr/bin/$(basename "$interpreter")" "\$@"
EOF
chmod +x "$work/python"

"$work/python" -c 'import ctracecmd, numpy, tracecmd' >&2
rm -rf "$cache/root"
mv "$root" "$cache/root"
mv "$work/python" "$python"
say "ready: $python"
echo "$python"
