"""How good a detector is: annotations in, average precision, coverage and false positives out. Knows no Beam."""
