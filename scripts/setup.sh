#!/bin/sh
# Makes ready what the Makefile's targets need; does nothing where all is there.
#
#   setup.sh NEED...   with NEED one of
#     make wget nginx tmux   a program of the system
#     venv                   .venv with wgetpool and what it runs on
#     dev                    the same with the tools for tests and checks
#
# Programs that are missing are installed when this runs as root; else the command that
# installs them is printed, and the exit code is 2. PYTHON names the Python to use.
set -eu
cd "$(dirname "$0")/.."

say() { echo "setup: $*" >&2; }

fail() {
    say "$@"
    exit 2
}

# ---------------------------------------------------------------- the system

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if new_enough "$candidate"; then
            echo "$candidate"
            return
        fi
    done
}

has() {
    case $1 in
        wget) # busybox and wget2 have the same name and are of no use here
            for candidate in "${WGETPOOL_WGET:-wget}" wget1; do
                "$candidate" --version 2>/dev/null | grep -q '^GNU Wget 1\.' && return
            done
            return 1
            ;;
        python3) [ -n "$(find_python)" ] ;;
        venv) "$(find_python)" -c 'import ensurepip, venv' >/dev/null 2>&1 ;;
        *) command -v "$1" >/dev/null 2>&1 ;;
    esac
}

find_manager() {
    for manager in apt-get dnf apk pacman zypper brew; do
        if command -v "$manager" >/dev/null 2>&1; then
            echo "$manager"
            return
        fi
    done
}

# What a package manager calls a program.
package() {
    case $1:$2 in
        apt-get:wget) echo wget ca-certificates ;;
        apt-get:venv)
            python=$(find_python)
            basename "${python:-python3}-venv"
            ;;
        dnf:wget) dnf -q info wget1 >/dev/null 2>&1 && echo wget1 || echo wget ;;
        *:venv) echo python3 ;;
        pacman:python3) echo python ;;
        zypper:python3) echo python311 ;;
        *) echo "$2" ;;
    esac
}

install_command() {
    case $1 in
        apt-get) echo apt-get install -y --no-install-recommends ;;
        dnf) echo dnf install -y ;;
        apk) echo apk add ;;
        pacman) echo pacman -S --noconfirm --needed ;;
        zypper) echo zypper --non-interactive install ;;
        brew) echo brew install ;;
    esac
}

# Run a package manager, which has much to say, and show its words only when it fails.
quietly() {
    log=$(mktemp)
    if ! "$@" >"$log" 2>&1 </dev/null; then
        cat "$log" >&2
        rm -f "$log"
        fail "this failed: $*"
    fi
    rm -f "$log"
}

# A web server that a test needs must not start to serve the machine it is installed on.
without_services() {
    policy=/usr/sbin/policy-rc.d
    if [ -e "$policy" ] || [ ! -d /usr/sbin ]; then
        "$@"
        return
    fi
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    "$@"
    rm -f "$policy"
    trap - EXIT
}

install() {
    manager=$(find_manager)
    [ -n "$manager" ] || fail "please install: $* (no package manager that I know is here)."
    packages=
    for need in "$@"; do
        packages="$packages $(package "$manager" "$need")"
    done
    command="$(install_command "$manager")$packages"
    if [ "$(id -u)" != 0 ] || [ "$manager" = brew ]; then
        [ "$manager" = brew ] || command="sudo $command"
        fail "missing: $*. This installs it: $command"
    fi
    say "missing: $*. Installing it: $command"
    # shellcheck disable=SC2086 # a command and its words
    case $manager in
        apt-get)
            export DEBIAN_FRONTEND=noninteractive
            quietly apt-get update
            without_services quietly $command
            ;;
        pacman) quietly pacman -Sy && quietly $command ;;
        *) quietly $command ;;
    esac
    for need in "$@"; do
        has "$need" || fail "$need is still missing; please install it by hand."
    done
}

# ---------------------------------------------------------------- .venv

# What a .venv was made from. It holds paths of its own, so a moved checkout needs a new one.
origin() {
    pwd
    cksum <pyproject.toml
}

is_ready() {
    [ -x .venv/bin/python ] && [ "$(cat ".venv/$1.stamp" 2>/dev/null)" = "$(origin)" ]
}

# Networks fail: pip gets three tries, and says what it has to say when the last one fails.
pip_install() {
    for try in 1 2 3; do
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --retries 5 "$@" \
            >.venv/pip.log 2>&1 </dev/null && return
        [ "$try" = 3 ] || sleep 5
    done
    cat .venv/pip.log >&2
    fail "pip could not install what is needed; its words are above."
}

# What is missing of Python itself, in words for `install`.
missing_python() {
    wanted=${PYTHON:-python3}
    if is_ready venv; then
        return
    elif [ -n "$(find_python)" ]; then
        has venv || echo venv
    elif command -v "$wanted" >/dev/null 2>&1; then
        fail "wgetpool needs Python 3.11 or later, and $wanted is $("$wanted" --version 2>&1)" \
            "(PYTHON=... names another)."
    else
        echo python3 venv
    fi
}

make_venv() {
    is_ready venv && return
    say "making .venv (once)"
    "$(find_python)" -m venv --clear .venv
    pip_install --editable .
    origin >.venv/venv.stamp
}

add_dev() {
    is_ready dev && return
    say "adding the tools for tests and checks to .venv (once)"
    pip_install --editable '.[dev]'
    origin >.venv/dev.stamp
}

# ---------------------------------------------------------------- what is asked for

missing=
steps=
for need in "$@"; do
    case $need in
        make | wget | nginx | tmux) has "$need" || missing="$missing $need" ;;
        venv) steps=make_venv ;;
        dev) steps='make_venv add_dev' ;;
        *) fail "unknown need: $need" ;;
    esac
done
if [ -n "$steps" ]; then
    python_needs=$(missing_python)
    missing="$missing $python_needs"
fi
# Words without blanks, meant to be split.
# shellcheck disable=SC2086
[ -z "${missing# }" ] || install $missing
for step in $steps; do
    "$step"
done
