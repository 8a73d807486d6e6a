"""What lies in files: TFRecords, Examples and their features, the audit trail."""
