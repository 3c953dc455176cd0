"""The papers' evaluation, run on the machine at hand: `neat paper`.

Read first: `plan.py`, which figures there are and in which order. A figure says what it measures (commands of
`neat bench` and `neat drill`, so that anybody can repeat a number) and how that is shown; `runs.py` runs the
commands and keeps what they said; `published.py` has the papers' own numbers; `chart.py` draws, `page.py`
writes the report."""
