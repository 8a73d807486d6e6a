"""Pages in a real browser; `make test-browser` runs what needs one."""
