#!/usr/bin/env bash
# Try a recipe of your own beside fp32, and write a report of the run.
set -euo pipefail
python "$(dirname "$0")/digits.py"

cat > recipe.toml <<'RECIPE'
name = "int8-percentile"

[[technique]]
name = "quantize"
method = "percentile"
percentile = 99.9
RECIPE

compress optimize digits.pt2 --data val.npz --recipe recipe.toml --seconds 0.2 --out build
compress report build --html report.html
