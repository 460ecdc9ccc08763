"""The store -> a static site: no clock, no network, no server. The same store gives the same bytes.

    build        which pages there are, and which must be made; workers: by which processes
    ledger       what the site in a folder was made of; sources: all that a page is made of, as a hash
    serve        the site on this machine alone, following the results
    measured     what the pages know of a cell
    front        the leaderboard; dataset_page, compare_page, detector_page, cell_page, methods: one module a page
    places       where pages lie; pages: templates -> bytes; tables: rows -> CSV and JSON
    figures/     altair charts -> SVG

Numbers are compared inside one trial list only: a dataset whose cells have several digests has a ranking for each.
The look is in `reports/`; the modules decide what is said, the templates where.
"""

from bench.report.build import Written, write

__all__ = ["Written", "write"]
