#!/usr/bin/env bash
# Checks every shell script of the repository, which are the files whose first line says that they are one.
set -euo pipefail
cd "$(dirname "$0")/../.."

scripts=()
while IFS= read -r file; do
  if head -n 1 "$file" | grep -qE '^#!/usr/bin/env bash|^# shellcheck shell=bash'; then scripts+=("$file"); fi
done < <(git ls-files --cached --others --exclude-standard)
shellcheck "${scripts[@]}"
