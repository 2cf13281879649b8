#!/usr/bin/env bash
# Prints CHANGELOG.md from changelog/VERSION/: NOTES.md, DATE, and a file for each change.
set -euo pipefail
cd "$(dirname "$0")"
export LC_ALL=C.UTF-8

# section KIND VERSION prints the changes whose first line begins with it, as a list.
section() {
  local files=()
  while IFS= read -r file; do files+=("$file"); done < <(
    for file in "$2"/*; do
      case "$file" in */NOTES.md | */DATE) continue ;; esac
      if head -1 "$file" | grep -q "^$1: "; then echo "$file"; fi
    done)
  if [ "${#files[@]}" -eq 0 ]; then return; fi
  printf '\n### %s\n' "$1"
  for file in "${files[@]}"; do
    printf '\n**%s**\n' "$(head -1 "$file" | sed "s/^$1: //; s/^./\U&/")"
    tail -n +2 "$file"
  done
}

for file in */*; do
  case "$file" in */NOTES.md | */DATE) continue ;; esac
  head -1 "$file" | grep -Eq '^(New|Changed|Fixed): ' || {
    echo "changelog/$file begins with no New:, Changed: or Fixed:" >&2
    exit 1
  }
done

echo '# Changelog'
echo
echo 'Made by changelog/build.sh from the files in changelog/; what is not released yet is in changelog/unreleased/.'
for version in $(find . -mindepth 1 -maxdepth 1 -type d -name '[0-9]*' -printf '%f\n' | sort -rV); do
  printf '\n## %s (%s)\n\n' "$version" "$(cat "$version/DATE")"
  cat "$version/NOTES.md"
  for kind in New Changed Fixed; do section "$kind" "$version"; done
done
