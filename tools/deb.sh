#!/usr/bin/env bash
# Builds the Debian packages from the tree as it is (also what is not committed) into build-deb/, and says
# where they are. The version is that of meson.build, the date that of the last commit, the maintainer that of
# DEBFULLNAME and DEBEMAIL.
#
#   tools/deb.sh [FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(realpath -m "${1:-build-deb}")
tools/deps.sh deb
version=$(sed -n "s/^ *version: '\(.*\)',$/\1/p" meson.build | head -n 1)
tree=$folder/posthorn-$version
maintainer="${DEBFULLNAME:-Posthorn developers} <${DEBEMAIL:-posthorn@localhost}>"

# What git knows or would take; outside of git all that is no build folder.
files() {
    if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
        git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
            [ ! -e "$file" ] || printf '%s\0' "$file"
        done
    else
        find . -path './build*' -prune -o -type f -print0
    fi
}

changelog() {
    local when
    when=$(git log -1 --format=%cD 2>/dev/null || date -R -r CHANGES.md)
    printf 'posthorn (%s) unstable; urgency=medium\n\n  * See CHANGES.md.\n\n' "$version"
    printf ' -- %s  %s\n' "$maintainer" "$when"
}

rm -rf "$folder"
mkdir -p "$tree"
files | tar --null --files-from=- -cf - | tar -C "$tree" -xf -
cp -r packaging/debian "$tree/debian"
MAINTAINER=$maintainer awk '/^Maintainer:/ { print "Maintainer: " ENVIRON["MAINTAINER"]; next } 1' \
    packaging/debian/control >"$tree/debian/control"
changelog >"$tree/debian/changelog"
log=$folder/build.log
if ! (cd "$tree" && dpkg-buildpackage --build=binary --no-sign) >"$log" 2>&1; then
    tail -n 25 "$log" | cut -c 1-300 >&2
    printf 'tools/deb.sh: the packages could not be built; all that was said is in %s\n' "$log" >&2
    exit 70
fi
rm -rf "$tree"
printf 'the packages are in %s:\n' "$folder"
(cd "$folder" && ls ./*.deb | sed 's#^./#  #')
