#!/bin/sh
# Points of your own, without code: train, sample and score from the command line.
#
#     sh examples/own_dataset_cli.sh runs/own 1000
#
# The file is an .npy, .npz or .csv with one point a row. Points on a sphere, a torus and so on say so
# with --manifold; latitudes and longitudes in degrees need --degrees too.
set -eu

output=${1:-runs/own}
steps=${2:-1000}
mkdir -p "$output"

# Yours is there already; this one is made up: three clusters of earthquakes along a fault.
python - "$output/quakes.npy" <<'END'
import sys
import numpy as np

rng = np.random.default_rng(0)
centres = np.array([[36.0, -120.0], [40.0, -124.0], [33.0, -116.0]])
quakes = centres[rng.integers(3, size=1500)] + rng.normal(size=(1500, 2))
np.save(sys.argv[1], quakes)
END

flowatlas train --data "$output/quakes.npy" --manifold sphere --degrees \
  --preset demo --set "steps=$steps" max_seconds=none "scales=1,0.3,0.1,0.03" --output "$output/flow" --quiet
flowatlas sample "$output/flow" --count 1000 --output "$output/samples.csv" \
  --plot "$output/samples.png"
flowatlas score "$output/flow" --data "$output/quakes.npy" --degrees --output "$output/scores.csv"
