# Read by scripts/lipexp and scripts/test, which set `here` to this folder: makes .venv ready.
# POSIX sh only, and where .venv is ready no Python is started.

root=$(CDPATH='' cd -P -- "$here/.." && pwd -P)
venv=$root/.venv
stamp=$venv/setup.stamp           # what .venv was set up for; written last
unfinished=$venv/setup.unfinished # there until the first set-up of a .venv made here has ended
log=$venv/setup.log

# The folder is a part of it: a .venv that was moved or copied would run the code it was made for.
wanted="$(cksum <"$root/pyproject.toml") $root"

say() {
    printf 'lipexp: %s\n' "$1" >&2
}

fail() {
    say "$1"
    exit 1
}

fail_with_log() {
    case $(cat "$log") in
    *'No space left on device'*)
        fail "setting up .venv failed: the disk is full; it takes 6 GB, and 3 GB more in \
${TMPDIR:-/tmp} while packages arrive ($log); the next call tries again"
        ;;
    esac
    cat "$log" >&2
    fail "setting up .venv failed, see above or $log; the next call tries again"
}

fail_without_python() {
    fail 'Python 3.11, 3.12 or 3.13 is needed, as python3.13, python3.12, python3.11 or python3'
}

# ready EXTRA: whether .venv holds this clone and EXTRA (base, or test, which implies base).
ready() {
    [ -x "$venv/bin/python" ] && [ -x "$venv/bin/lipexp" ] && [ -f "$stamp" ] || return 1
    IFS= read -r held <"$stamp" || return 1
    [ "$held" = "$wanted $1" ] || [ "$held" = "$wanted test" ]
}

# first_python MODULES PYTHON...: prints the first of a right version that has the modules.
first_python() {
    check="import sys, $1; sys.exit(not (3, 11) <= sys.version_info < (3, 14))"
    shift
    for python in "$@"; do
        if "$python" -I -c "$check" >/dev/null 2>&1; then
            printf '%s\n' "$python"
            return
        fi
    done
    return 1
}

# make_venv PYTHON...: an empty .venv, of the first Python that can make one.
make_venv() {
    if ! maker=$(first_python venv,ensurepip "$@"); then
        maker=$(first_python sys "$@") || fail_without_python
        name=$("$maker" -I -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
        fail "$name has no ensurepip; Debian and Ubuntu have it in a package: apt install $name-venv"
    fi
    say 'setting up .venv (first time, a few minutes)'
    # The contents and not the folder, which may be a link to a disk with more room.
    mkdir -p "$venv"
    rm -rf "${venv:?}"/* "$venv"/.[!.]*
    : >"$unfinished"
    "$maker" -I -m venv "$venv" >"$log" 2>&1 || fail_with_log
}

# install EXTRA: puts this clone and EXTRA into .venv, which is made anew where it does not work
# or was left half-made.  -I: nothing of PYTHONPATH counts as installed already.
install() {
    cd "$root"
    if [ -e "$unfinished" ] || ! first_python sys "$venv/bin/python" >/dev/null; then
        make_venv python3.13 python3.12 python3.11 python3
    else
        say 'bringing .venv up to date'
        rm -f "$stamp"
    fi
    case $1 in
    base) clone=. ;;
    *) clone=".[$1]" ;;
    esac
    {
        "$venv/bin/python" -I -c 'import pip' || "$venv/bin/python" -I -m ensurepip
        "$venv/bin/python" -I -m pip install --no-input -e "$clone"
    } >"$log" 2>&1 || fail_with_log
    rm -f "$unfinished"
    printf '%s\n' "$wanted $1" >"$stamp.new"
    mv "$stamp.new" "$stamp"
}

# Holds file 9 locked for this shell and all it starts: where the script alone is killed, its pip
# keeps the lock until it has ended.
lock='
import fcntl, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("lipexp: waiting for another call, which is setting up .venv", file=sys.stderr)
    fcntl.flock(9, fcntl.LOCK_EX)
except OSError:
    pass  # a file system without locks'

# set_up EXTRA: returns when .venv is ready for it; ends the script, status 1, where it cannot be.
set_up() {
    if ready "$1"; then return; fi
    (
        trap 'exit 130' INT # after the child has ended, and not "setting up .venv failed"
        python=$(first_python fcntl "$venv/bin/python" python3.13 python3.12 python3.11 python3) ||
            fail_without_python
        "$python" -I -c "$lock"
        ready "$1" || install "$1"
    ) 9<>"$here/setup.sh"
}
