#!/bin/sh
# Copies the example into a folder of its own and makes it a git repository, so that an agent may change it.
set -eu
target=$1
[ -d "$target/.git" ] && exit 0
mkdir -p "$target"
cp -R "$(dirname "$0")/inventory/." "$target/"
cd "$target"
git init --quiet --initial-branch=main 2>/dev/null || git init --quiet
git add --all
git -c user.name="KAT Pilot example" -c user.email=example@localhost -c commit.gpgsign=false commit --quiet -m "The example"
