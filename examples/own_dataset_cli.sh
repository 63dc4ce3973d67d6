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

# Yours is there already; this one is made up: earthquakes along a line around the Earth.
python - "$output/quakes.npy" <<'END'
import sys
import numpy as np

rng = np.random.default_rng(0)
longitude = rng.uniform(-180, 180, size=1500)
latitude = 40 * np.sin(np.deg2rad(longitude)) + rng.normal(scale=4, size=1500)
np.save(sys.argv[1], np.stack([latitude, longitude], axis=1))
END

flowatlas train --data "$output/quakes.npy" --manifold sphere --degrees \
  --preset demo --set "steps=$steps" max_seconds=none "scales=1,0.3,0.1" --output "$output/flow" \
  --overwrite --quiet
flowatlas sample "$output/flow" --count 1000 --output "$output/samples.csv" \
  --plot "$output/samples.png"
flowatlas score "$output/flow" --data "$output/quakes.npy" --degrees --output "$output/scores.csv"
