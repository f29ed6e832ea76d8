"""Does the search find what people mean? A meme set of its own, queries of many kinds, and the figures.

    python -m benchmarks.search                              # make eval-search adds --sweep
    python -m benchmarks.search --home DIR                   # keep pictures and index: nothing is read twice
    python -m benchmarks.search --again --sweep              # other constants, on what the last run was told
    python -m benchmarks.search --again --misses "quote"     # what fails, of the half to choose constants on

Nothing here is needed at run time. `memes.py` says what the pictures are, `drawing.py` draws them, `queries.py` asks
and, with `answers.py`, knows what is right, `asking.py` asks the real daemon, `figures.py` counts, `fusion.py` tries
other constants, `report.py` writes results.md.
"""
