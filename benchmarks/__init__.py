"""What a job costs and finds, measured so that it can be measured again. Not installed."""
