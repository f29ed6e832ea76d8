#!/bin/sh
# Prints the Python that sets up: $PYTHON, else the one in .venv, else the first that is new enough.
# torch has builds for 3.11 to 3.14.
good='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))'

if [ -n "$PYTHON" ]; then
    "$PYTHON" -c "$good" 2>/dev/null && echo "$PYTHON" && exit
    echo "PYTHON=$PYTHON: not a Python 3.11 to 3.14" >&2
    exit 1
fi
[ -x .venv/bin/python ] && echo .venv/bin/python && exit
for python in python3 python3.13 python3.12 python3.14 python3.11; do
    "$python" -c "$good; import ensurepip" 2>/dev/null && echo "$python" && exit
done
# One without ensurepip (Debian splits it off) is still good enough to say what to install.
for python in python3 python3.13 python3.12 python3.14 python3.11; do
    "$python" -c "$good" 2>/dev/null && echo "$python" && exit
done
[ "$(id -u)" -eq 0 ] || sudo='sudo '
echo "Python 3.11 to 3.14 is needed, and none is found. Install it: ${sudo}apt install python3 python3-venv" >&2
exit 1
