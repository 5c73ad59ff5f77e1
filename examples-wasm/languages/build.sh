#!/bin/sh
# Builds the guests in C and Python into the folder that is given. A language whose tools are not there is
# reported and left out; the tools are clang with lld and wasi-libc (packages `clang lld wasi-libc
# libclang-rt-dev-wasm32` in Debian) and componentize-py (from PyPI).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:?usage: build.sh FOLDER}
mkdir -p "$out"
out=$(cd "$out" && pwd)

if command -v clang >/dev/null && command -v wasm-ld >/dev/null; then
    clang --target=wasm32-wasi -Oz -o "$out/words.wasm" "$here/c/words.c"
    echo "c: built"
else
    echo "c: NOT BUILT: clang or wasm-ld is missing"
fi

if command -v componentize-py >/dev/null; then
    cd "$here/python"
    componentize-py -d "$here/../../sdk-guest/wit/guest" -w executor componentize app -o "$out/reverse.wasm"
    echo "python: built"
else
    echo "python: NOT BUILT: componentize-py is missing"
fi
