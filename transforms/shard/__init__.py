"""One shard, in the order in which data flow: read, decode, detect, anonymize, write."""
