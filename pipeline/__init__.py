"""One faceveil job: its options, its graph, launching it and what it reports. Knows no pixels."""
