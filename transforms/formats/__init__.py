"""What lies in files: TFRecords, Examples and their features, annotated boxes, the audit trail."""

BOX_FILES = (".csv", ".parquet", ".json")
"""What files of annotated boxes end in; here, so that options are checked without loading their readers."""

BOX_SIDES = ("xmin", "ymin", "xmax", "ymax")
"""What the sides of a box are called, as columns and as the last part of a feature's name."""
