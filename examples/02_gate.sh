#!/usr/bin/env bash
# Record a baseline, gate a good build (exit status 0) and a bad one (exit status 1).
set -euo pipefail
python "$(dirname "$0")/digits.py"

# The baseline: the network in fp32, with the outcome of every sample.
compress quantize digits.pt2 --data val.npz --out good.onnx
compress profile good.onnx --data val.npz --out main.json --seconds 0.2

cat > gate.toml <<'POLICY'
checks = ["accuracy", "churn", "size"]
max_drop_points = 1.0
POLICY

compress gate good.onnx --baseline main.json --data val.npz --policy gate.toml

# A build that is worse: ranges that cut off most values.
compress quantize digits.pt2 --data val.npz --method percentile --percentile 55 --out bad.onnx
if compress gate bad.onnx --baseline main.json --data val.npz --policy gate.toml; then
    echo "the gate passed a bad build" >&2
    exit 1
fi
echo "the bad build was rejected"
