#!/bin/sh
# Installs what the tests need and this machine lacks: Debian packages, a Python environment in .venv,
# and packages of Node.js beside tests/node/package.json. Does nothing, and needs no network, when all of it is there.
#
#   tests/install.sh test     for `make test`
#   tests/install.sh judges   for `make judges` as well
#   tests/install.sh bench    for `make bench`
#   tests/install.sh fuzz     for `make fuzz`
#   tests/install.sh deny     for `make deny`
#   tests/install.sh disks    for `make disks`
set -eu
cd "$(dirname "$0")/.."
level=${1:-judges}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

missing=
# need COMMAND PACKAGE...: the packages, unless the command is there.
need() {
    command -v "$1" >/dev/null 2>&1 && return
    shift
    missing="$missing $*"
}
# need_file PATTERN PACKAGE...: the packages, unless a file of that name is there.
need_file() {
    for found in $1; do
        [ -e "$found" ] && return
    done
    shift
    missing="$missing $*"
}

PATH=$PATH:/usr/sbin:/sbin
need cc build-essential
need pkg-config pkg-config
need curl curl
need openssl openssl
case $level in
disks)
    need ffmpeg ffmpeg
    need mkfs.ext4 e2fsprogs
    need fsfreeze util-linux
    need mount mount
    ;;
test | judges)
    need ffmpeg ffmpeg
    need nginx nginx
    need chromium chromium
    need python3 python3 python3-venv
    need node nodejs
    need npm npm
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
    ;;
esac
case $level in
judges | bench)
    need nginx nginx libnginx-mod-rtmp
    need_file '/usr/lib/nginx/modules/ngx_rtmp_module.so' libnginx-mod-rtmp
    ;;
esac
if [ "$level" = judges ]; then
    need rtmpdump rtmpdump
    need cvlc vlc-bin vlc-plugin-base
    need_file '/usr/lib/*/vlc/plugins/access/libavio_plugin.so' vlc-plugin-base
    need gst-launch-1.0 gstreamer1.0-tools
    need_file '/usr/lib/*/gstreamer-1.0/libgstflv.so' gstreamer1.0-plugins-good
    need_file '/usr/lib/*/gstreamer-1.0/libgstrtmp2.so' gstreamer1.0-plugins-bad
    need_file '/usr/lib/*/gstreamer-1.0/libgsthls.so' gstreamer1.0-plugins-bad
    need_file '/usr/lib/*/gstreamer-1.0/libgstadaptivedemux2.so' gstreamer1.0-plugins-good
    need tshark tshark
    need setpriv util-linux
    need haproxy haproxy
    need_file '/usr/lib/nginx/modules/ngx_stream_module.so' libnginx-mod-stream
fi

if [ -n "$missing" ]; then
    echo "tests/install.sh: installing$missing"
    # A package that brings a service (nginx) must not start it on a developer's machine.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
        trap 'as_root rm -f "$policy"' EXIT
    fi
    as_root apt-get update -q
    # shellcheck disable=SC2086 # a list of words
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
fi

case $level in
test | judges)
    for component in fmt clippy; do
        if ! cargo $component --version >/dev/null 2>&1; then
            echo "tests/install.sh: adding cargo $component"
            rustup component add rustfmt clippy
        fi
    done
    stamp=.venv/requirements.txt
    if ! cmp -s tests/requirements.txt "$stamp" || ! .venv/bin/python -c '' 2>/dev/null; then
        echo "tests/install.sh: making .venv"
        rm -rf .venv
        python3 -m venv .venv
        .venv/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
        cp tests/requirements.txt "$stamp"
    fi
    stamp=tests/node/node_modules/package.json
    if ! cmp -s tests/node/package.json "$stamp"; then
        echo "tests/install.sh: installing $(dirname "$stamp")"
        npm install --prefix tests/node --silent --no-package-lock --ignore-scripts --no-audit --no-fund
        cp tests/node/package.json "$stamp"
    fi
    ;;
fuzz)
    cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz
    ;;
deny)
    cargo deny --version >/dev/null 2>&1 || cargo install --locked cargo-deny
    ;;
esac
