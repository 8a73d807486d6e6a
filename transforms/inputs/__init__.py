"""Which files a job reads, and which shard each goes into."""
