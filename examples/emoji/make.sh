#!/bin/sh
# Writes the emoji dataset to data/: installs the pinned npm packages, composites
# their pictures onto white and writes COCO caption files.
set -eu
cd "$(dirname "$0")"
npm ci --ignore-scripts --no-audit --no-fund
go run ./prepare -packages node_modules -out data
