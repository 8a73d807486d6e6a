"""Looking at an output again: what is wrong with a record, which faces lie outside its masks, one shard at a time."""
