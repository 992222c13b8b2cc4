"""Trained networks with many builds each, and what all of them answer: material for judging builds without labels.

    python -m benchmarks run judging.prepare                # everything, from nothing; resumes where it was stopped
    python -m benchmarks run judging.prepare --only spoken  # one network
    python -m benchmarks run judging.table                  # what there is

A judge without labels sees the outputs of the original and of a build. Here lie both, beside the labels that tell how
well the judge did: for each network below the cache's directory

    original.npz        y, labels, metric, metric_2 and info (JSON): see :mod:`benchmarks.studies.judging.cache`
    builds/NAME.npz     the same of a build, without labels
    skipped.json        builds that could not be made, and why
    epochs/, network.pt what training left; data.npz what it learned from, where that was made here
"""
